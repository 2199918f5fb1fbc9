"""A comparison with a ratio turns when it is said to, also where time moves both of its parts."""

from __future__ import annotations

import random

import numpy as np
import pytest
from feature_twin import Fast, Heard

from streams.choose.features.changing import next_change
from streams.choose.features.layout import EVER_MS
from streams.choose.features.rules import Rules, compile_rules, members_mask
from streams.choose.features.spec import FeatureSpec
from streams.kernel.moments import DAY_MS
from streams.playbooks.model import Condition

START = 1_600_000_000_000
PARTS = (
    FeatureSpec("orders", "purchase", "lifetime"),
    FeatureSpec("spend", "purchase", "sum", 30 * DAY_MS, of=("value",)),
    FeatureSpec("quiet", "purchase", "since"),
    FeatureSpec("unseen", "view", "since", max_age_ms=60 * DAY_MS),
    FeatureSpec("warm", "view", "decay", half_life_ms=DAY_MS),
    FeatureSpec("loyal", "purchase", "decay", half_life_ms=9 * DAY_MS),
    FeatureSpec("worth", "purchase", "decay", half_life_ms=3 * DAY_MS, of=("value",)),
)
NAMES = [spec.name for spec in PARTS]


def world(seed: int) -> tuple[Fast, str, Condition]:
    """A person of few events, and a rule about a ratio of two of the parts."""
    dice = random.Random(seed)
    above, below = dice.sample(NAMES, 2)
    ratio = FeatureSpec("ratio", "", "ratio", of=(above, below),
                        max_age_ms=dice.choice([0, 0, 5 * DAY_MS, 50 * DAY_MS]))
    row = Fast((*PARTS, ratio)).take(*(
        Heard(n, dice.choice(["view", "purchase"]), START + dice.randrange(10 * DAY_MS),
              dice.choice([-3.0, 5.0, 40.0])) for n in range(dice.randrange(2, 7))))
    reached = [value for days in (10, 11, 14, 25, 60)
               if (value := row.value("ratio", START + days * DAY_MS)) is not None]
    number = dice.choice([*reached, 1.0]) * dice.choice([1.0, 0.9, 1.1])
    return row, f"{seed=} {above}/{below}", Condition(
        "feature", name="ratio", compare=dice.choice(["at_least", "at_most", "above", "below"]),
        number=number)


def holds(row: Fast, rules: Rules, at_ms: int) -> bool:
    v = row.rows.views
    return bool(members_mask(rules.starts, rules.steps, rules.numbers, row.layout.reads, v.u8,
                             v.u16, v.i64, row.slot, at_ms, np.uint64(0)))


@pytest.mark.parametrize("part", range(6))
def test_a_comparison_with_a_ratio_turns_when_it_is_said_to(part: int) -> None:
    turned = 0
    for seed in range(40 * part, 40 * (part + 1)):
        row, named, rule = world(seed)
        v, layout = row.rows.views, row.layout
        rules = compile_rules([rule], layout, ["s"])

        dice, at_ms, end = random.Random(seed), START + 10 * DAY_MS, START + 500 * DAY_MS
        for _ in range(200):
            said = int(next_change(layout.reads, v.u8, v.u16, v.i64, row.slot, rules.watched,
                                   rules.crossings, at_ms))
            assert said > at_ms
            until, held = min(said, end), holds(row, rules, at_ms)
            for between in {until - 1, *(dice.randrange(at_ms, until) for _ in range(60))}:
                assert holds(row, rules, between) == held, f"{named} {between - at_ms}"
            turned += said < end and holds(row, rules, said) != held
            at_ms = said
            if at_ms == EVER_MS or at_ms >= end:
                break
        else:
            pytest.fail(f"{named}: woken without end")
    assert turned > 10
