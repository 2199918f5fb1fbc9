"""The statistics of the report, against scipy and against worlds whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sinks.report import statistics
from sinks.report.statistics import Units, lift, split, spread, welch


def units_of(treated: list[float], held_out: list[float]) -> Units:
    count = len(treated) + len(held_out)
    return Units(np.arange(count), np.zeros(count, np.int64),
                 np.arange(count) >= len(treated), np.array([*treated, *held_out], float))


def random_world(dice: np.random.Generator, people: int, *, effect: float) -> Units:
    """People in one or both of two playbooks with other base rates and shares of hold-out."""
    seen = dice.random((people, 2)) < (0.9, 0.5)
    person, playbook = np.nonzero(seen)
    bucket = dice.random(people)                     # sticky: the small hold-out is in the large
    held_out = bucket[person] < np.array([0.15, 0.4])[playbook]
    liking = dice.random(people) * 0.1               # makes one person's rows resemble each other
    rate = np.array([0.05, 0.25])[playbook] + liking[person] + effect * ~held_out
    return Units(person, playbook, held_out, (dice.random(len(person)) < rate).astype(float))


def test_one_playbook_gives_welchs_standard_error() -> None:
    dice = np.random.default_rng(3)
    treated, held_out = dice.normal(5, 2, 400), dice.normal(4, 3, 90)
    found = lift(units_of(list(treated), list(held_out)), binary=False)
    assert found is not None
    error = math.sqrt(treated.var(ddof=1) / 400 + held_out.var(ddof=1) / 90)
    assert found.estimate == pytest.approx(treated.mean() - held_out.mean())
    assert found.interval.high - found.estimate == pytest.approx(error * spread(490))
    oracle = stats.ttest_ind(treated, held_out, equal_var=False).confidence_interval(0.95)
    assert welch(treated, held_out).low == pytest.approx(oracle.low)
    assert found.fixed.low <= oracle.low and found.fixed.low == pytest.approx(oracle.low, abs=0.02)


def test_the_sequence_is_the_published_boundary() -> None:
    """The Hillstrom e-mail experiment, 42,613 people, as gbstats 0.8.0 (tuned for 5,000) has it."""
    welch_low, welch_high = 0.4851397, 1.0545146
    gbstats_low, gbstats_high = 0.3020656367286121, 1.2375886750604612
    error = (welch_high - welch_low) / 2 / stats.norm.ppf(0.975)
    half = error * spread(42_613, tuned_for=5000)
    assert half == pytest.approx((gbstats_high - gbstats_low) / 2, rel=1e-4)


def test_it_is_narrowest_in_the_mean_about_where_it_is_tuned() -> None:
    widths = {n: spread(n, tuned_for=2000) / math.sqrt(n) for n in (500, 2000, 8000)}
    for n, width in widths.items():
        assert width <= min(spread(n, tuned_for=other) / math.sqrt(n)
                            for other in (500, 2000, 8000)) * (1.0001 if n == 2000 else 9)


def test_peeking_at_any_time_errs_in_fewer_than_one_in_twenty_worlds() -> None:
    seed, worlds, peeks = 11, 250, range(200, 3001, 200)
    dice = np.random.default_rng(seed)
    wrong_sequence = wrong_fixed = 0
    for _ in range(worlds):
        world = random_world(dice, 3000, effect=0.0)
        looks = []
        for n in peeks:
            now = world.person < n
            found = lift(Units(world.person[now], world.playbook[now], world.held_out[now],
                               world.outcome[now]))
            assert found is not None
            looks.append(found)
        wrong_sequence += any(not look.interval.covers_zero for look in looks)
        wrong_fixed += any(not look.fixed.covers_zero for look in looks)
    assert wrong_sequence <= 0.05 * worlds, f"{seed=} {wrong_sequence=}"
    assert wrong_fixed > 0.10 * worlds, f"{seed=} {wrong_fixed=}: peeking must be shown to hurt"


def test_a_real_effect_is_covered_and_found() -> None:
    seed, worlds, effect = 12, 200, 0.08
    dice = np.random.default_rng(seed)
    found = [lift(random_world(dice, 4000, effect=effect)) for _ in range(worlds)]
    covered = sum(f is not None and f.interval.low <= effect <= f.interval.high for f in found)
    fixed = sum(f is not None and f.fixed.low <= effect <= f.fixed.high for f in found)
    helped = sum(f is not None and f.verdict.startswith("helps") for f in found)
    mean = np.mean([f.estimate for f in found if f is not None])
    assert covered >= 0.97 * worlds and fixed >= 0.90 * worlds, f"{seed=} {covered=} {fixed=}"
    assert helped >= 0.9 * worlds, f"{seed=} {helped=}"
    assert mean == pytest.approx(effect, abs=0.004), f"{seed=}"


def test_hold_outs_of_other_sizes_do_not_pass_for_an_effect() -> None:
    """Pooled, the playbook with many hold-outs and a high base rate would look like harm."""
    dice = np.random.default_rng(13)
    world = random_world(dice, 200_000, effect=0.0)
    pooled = (world.outcome[~world.held_out].mean() - world.outcome[world.held_out].mean())
    found = lift(world)
    assert found is not None
    assert pooled < -0.02 and abs(found.estimate) < 0.01


def test_hold_outs_without_a_conversion_prove_no_certainty() -> None:
    found = lift(units_of([1.0] * 4 + [0.0] * 96, [0.0] * 40))
    assert found is not None
    assert found.interval.covers_zero and "no effect shown" in found.verdict


@pytest.mark.parametrize(("treated", "held_out", "verdict"), [
    ([0.0] * 500, [0.0] * 200, "no effect shown: the interval covers zero"),
    ([1.0] * 300 + [0.0] * 300, [1.0] * 30 + [0.0] * 470,
     "helps: the whole interval is above zero"),
    ([1.0] * 30 + [0.0] * 470, [1.0] * 300 + [0.0] * 300,
     "harms: the whole interval is below zero"),
    ([1.0] * 20, [0.0] * 29, "not enough data yet"),
])
def test_the_verdict_in_plain_words(treated: list[float], held_out: list[float],
                                    verdict: str) -> None:
    found = lift(units_of(treated, held_out))
    assert found is not None and found.verdict == verdict


def test_a_playbook_without_hold_outs_is_left_out_by_name() -> None:
    one = units_of([1.0, 0.0] * 50, [0.0, 1.0] * 20)
    both = Units(np.append(one.person, 999), np.append(one.playbook, 1),
                 np.append(one.held_out, False), np.append(one.outcome, 1.0))
    found = lift(both, names={0: "cart", 1: "winback"})
    assert found is not None and found.left_out == ("winback",) and found.treated == 100
    assert lift(units_of([1.0], [])) is None


@pytest.mark.parametrize(("treated", "held_out", "expected", "holds"), [
    (9_000, 1_000, 1_000.0, True),
    (44_700, 45_489, 45_094.5, True),        # Cookie Cats: p = 0.0086 must not trip the gate
    (9_300, 700, 1_000.0, False),
    (0, 0, 0.0, True),
])
def test_the_split_is_checked_against_the_design(treated: int, held_out: int, expected: float,
                                                 holds: bool) -> None:
    found = split(treated=treated, held_out=held_out, held_out_expected=expected)
    assert found.holds is holds
    if treated:
        oracle = stats.chisquare([treated, held_out], [treated + held_out - expected, expected])
        assert found.p == pytest.approx(oracle.pvalue)
    assert statistics.SRM_P_MIN == 0.001
