"""Decisions: probabilities that add up, sticky hold-outs, a reason for every silence."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.choose import decision
from streams.choose.triggers import Moment, Person
from streams.kernel import ids
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.playbooks.model import Condition, Playbook, Trigger, Variant

PLAYBOOK = Playbook(
    name="p", trigger=Trigger("event", "product_view"), brief="b",
    variants=(Variant("a", "reminder"), Variant("b", "helpful"), Variant("c", "social_proof")),
    conversion="purchase", window_ms=3 * DAY_MS, expires_ms=DAY_MS, holdout=0.2, cap_messages=2,
    tenant="t")
NOBODY = Person(lambda name: None, lambda name: False)
ALL = 15


def moment(at_ms: int, playbook: Playbook = PLAYBOOK) -> Moment:
    return Moment(playbook, at_ms, "e", "", (), 0)


counts = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 5000).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(0, n))))


@given(counts)
def test_propensities_are_a_distribution_with_a_floor(counted: dict[str, tuple[int, int]]) -> None:
    shares = decision.propensities(["a", "b", "c"], counted)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(share >= decision.FLOOR - 1e-12 for share in shares.values())


def test_without_evidence_all_arms_are_alike_and_with_it_the_best_leads() -> None:
    assert set(decision.propensities(["a", "b"], {}).values()) == {0.5}
    learnt = decision.propensities(["a", "b", "c"], {"a": (500, 50), "b": (500, 150)})
    assert max(learnt, key=learnt.__getitem__) == "c"   # untried: mean 1/2, to be found out
    learnt = decision.propensities(["a", "b", "c"], {"a": (500, 50), "b": (500, 150),
                                                     "c": (500, 20)})
    assert learnt["b"] > 0.6 and learnt["c"] == pytest.approx(decision.FLOOR, abs=0.06)


def test_arms_are_drawn_as_often_as_the_propensity_says() -> None:
    shares = {"a": 0.7, "b": 0.25, "c": 0.05}
    drawn = Counter(decision.draw(shares, ids.unit_interval("arm", f"d{i}"))
                    for i in range(20_000))
    for arm, share in shares.items():
        assert drawn[arm] / 20_000 == pytest.approx(share, abs=0.012)


def test_the_hold_out_is_sticky_nested_and_of_its_size() -> None:
    people = [f"person{i}" for i in range(20_000)]
    small = {p for p in people if decision.holdout_number(PLAYBOOK.tenant, p) < PLAYBOOK.holdout}
    large = {p for p in people if decision.holdout_number(PLAYBOOK.tenant, p) < 0.5}
    assert small < large
    assert len(small) / len(people) == pytest.approx(0.2, abs=0.012)


@pytest.mark.parametrize(("said", "purposes", "audience", "at_ms", "reason"), [
    ({}, ALL, None, 0, ""),
    ({}, 3, None, 0, "no_purpose"),
    ({}, 4, None, 0, "no_purpose"),
    ({}, ALL, Condition("segment", name="vip"), 0, "not_in_audience"),
    ({"last": {"p": 0}}, ALL, None, DAY_MS - 1, "cooling_down"),
    ({"last": {"p": 0}}, ALL, None, DAY_MS, ""),
    ({"last": {"q": 0}, "times": [1, 2]}, ALL, None, DAY_MS, "capped"),
    ({"times": [1, 2]}, ALL, None, 7 * DAY_MS + 1, ""),
    ({"times": [[1, "q"], [2, "q"]]}, ALL, None, DAY_MS, "capped"),
    ({"times": [[1, "q"], [2, "q"]]}, ALL, None, 7 * DAY_MS + 1, ""),
    ({"times": [[9 * DAY_MS, "q"], [11 * DAY_MS, "q"]]}, ALL, None, 8 * DAY_MS, "capped"),
    ({"times": [[5 * DAY_MS, "q"], [11 * DAY_MS, "q"]]}, ALL, None, 8 * DAY_MS, "capped"),
    ({"times": [[4 * DAY_MS, "q"], [11 * DAY_MS, "q"]]}, ALL, None, 8 * DAY_MS, ""),
    ({"last": {"p": 9 * DAY_MS}, "times": [[5, "p"], [9 * DAY_MS, "p"]]}, ALL, None, 10,
     "cooling_down"),
])
def test_every_silence_has_its_reason(said: dict[str, object], purposes: int,
                                      audience: Condition | None, at_ms: int,
                                      reason: str) -> None:
    at = moment(at_ms, replace(PLAYBOOK, audience=audience))
    assert decision.why_not(at, NOBODY, said, purposes) == reason


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from("pqr")), max_size=40),
       st.integers(0, 40))
def test_no_span_holds_more_than_the_cap_in_whatever_order_moments_come(
        drawn: list[tuple[int, str]], cut: int) -> None:
    said: dict[str, object] = {}
    other: dict[str, object] = {}      # a visitor's, who turns out to be the same person
    spoken: list[tuple[int, str]] = []
    for number, (hours, name) in enumerate(drawn):
        playbook = replace(PLAYBOOK, name=name, cap_per_ms=12 * HOUR_MS, cooldown_ms=2 * HOUR_MS)
        at = moment(hours * HOUR_MS, playbook)
        if number == cut:
            decision.join(said, other)
        into = other if number < cut // 2 else said
        if not decision.why_not(at, NOBODY, into, ALL):
            decision.remember(into, at)
            if number >= cut:
                spoken.append((hours, name))
    for start, _ in spoken:
        assert sum(start <= hours < start + 12 for hours, _ in spoken) <= PLAYBOOK.cap_messages
    for hours, name in spoken:
        assert sum(name == other_name and abs(hours - at) < 2 for at, other_name in spoken) == 1


def test_a_cell_with_little_evidence_backs_off_to_everybody() -> None:
    few, many = {"a": (10, 9)}, {"a": (400, 4), "b": (400, 80), "c": (400, 4)}
    backed_off = decision.decide(moment(0), "x", cell="vip", in_cell=few, overall=many)
    own = decision.decide(moment(0), "x", cell="vip", in_cell={"a": (40, 30)}, overall=many)
    assert (backed_off.cell, backed_off.evidence_count) == ("*", 1200)
    assert (own.cell, own.evidence_count) == ("vip", 40)


def test_the_same_moment_gives_the_same_decision() -> None:
    first, again = (decision.decide(moment(5), "x", cell="c", in_cell={}, overall={})
                    for _ in range(2))
    assert first == again
    assert first.decision_id != decision.decide(moment(6), "x", cell="c", in_cell={},
                                                overall={}).decision_id
