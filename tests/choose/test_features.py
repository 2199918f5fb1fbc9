"""Features agree with a count over the whole history, in any order of arrival, for every kind."""

from __future__ import annotations

import random

import numpy as np
import pytest
from feature_twin import Fast, Heard, obvious
from hypothesis import given
from hypothesis import strategies as st

from streams.choose.definitions import compiled
from streams.choose.features.changing import next_change
from streams.choose.features.layout import EVER_MS
from streams.choose.features.rules import compile_rules, members_mask
from streams.choose.features.spec import EXACT_DISTINCT_MAX, FeatureSpec, tile_ms_of
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.playbooks.conditions import COMPARES
from streams.playbooks.model import Condition

START = 1_700_000_000_000
SPECS = (
    FeatureSpec("views_1h", "view", "count", HOUR_MS),
    FeatureSpec("all_7d", "*", "count", 7 * DAY_MS),
    FeatureSpec("spend_30d", "purchase", "sum", 30 * DAY_MS, of=("value",)),
    FeatureSpec("units_30d", "purchase", "sum", 30 * DAY_MS, of=("quantity",)),
    FeatureSpec("basket", "purchase", "mean", 30 * DAY_MS, of=("value",)),
    FeatureSpec("spread", "purchase", "variance", 90 * DAY_MS, of=("value",)),
    FeatureSpec("units_spread", "purchase", "variance", 30 * DAY_MS, of=("quantity",)),
    FeatureSpec("cheapest", "purchase", "min", 30 * DAY_MS, of=("value",)),
    FeatureSpec("dearest", "purchase", "max", 30 * DAY_MS, of=("value",)),
    FeatureSpec("pace", "view", "rate", DAY_MS),
    FeatureSpec("items_7d", "*", "distinct", 7 * DAY_MS),
    FeatureSpec("types_4d", "view", "distinct", 4 * DAY_MS, of=("category",)),
    FeatureSpec("sizes_7d", "*", "distinct", 7 * DAY_MS, of=("property.size",)),
    FeatureSpec("warm", "view", "decay", half_life_ms=DAY_MS),
    FeatureSpec("warm_spend", "purchase", "decay", half_life_ms=7 * DAY_MS, of=("value",)),
    FeatureSpec("orders", "purchase", "lifetime"),
    FeatureSpec("since", "purchase", "since", 0, 400 * DAY_MS),
    FeatureSpec("first_spend", "purchase", "first", of=("value",)),
    FeatureSpec("last_spend", "purchase", "last", of=("value",)),
    FeatureSpec("gap", "purchase", "mean_gap"),
    FeatureSpec("shoe_views", "view", "count", 30 * DAY_MS, where=("category", "shoes")),
    FeatureSpec("favourite", "view", "most_frequent", 7 * DAY_MS, of=("category",), most=1),
    FeatureSpec("top_items", "*", "top_k", 4 * DAY_MS, of=("item_id",), most=3),
    FeatureSpec("last_items", "*", "unique_list", 2 * DAY_MS, of=("item_id",), most=5),
    FeatureSpec("last_types", "purchase", "unique_list", 30 * DAY_MS, of=("category",), most=2),
    FeatureSpec("big", "view", "count", 30 * DAY_MS, where=("property.size", "XL")),
    FeatureSpec("gifts", "*", "lifetime", where=("property.gift", "true")),
    FeatureSpec("tips", "purchase", "sum", 30 * DAY_MS, of=("property.tip",)),
    FeatureSpec("mean_tip", "*", "mean", 7 * DAY_MS, of=("property.tip",)),
    FeatureSpec("tip_spread", "*", "variance", 30 * DAY_MS, of=("property.tip",)),
    FeatureSpec("least_tip", "*", "min", 30 * DAY_MS, of=("property.tip",),
                where=("property.size", "XL")),
    FeatureSpec("last_tip", "purchase", "last", of=("property.tip",), where=("category", "hats")),
    FeatureSpec("size", "*", "most_frequent", 7 * DAY_MS, of=("property.size",), most=1),
    FeatureSpec("visits_7d", "*", "sessions", 7 * DAY_MS, gap_ms=HOUR_MS),
    FeatureSpec("visits_1h", "view", "sessions", HOUR_MS, gap_ms=90_001),
    FeatureSpec("stay", "*", "session", gap_ms=4 * HOUR_MS, of=("length",)),
    FeatureSpec("steps", "*", "session", gap_ms=4 * HOUR_MS, of=("events",)),
    FeatureSpec("cart", "purchase", "session", gap_ms=DAY_MS, of=("value",)),
    FeatureSpec("units", "purchase", "session", gap_ms=DAY_MS, of=("quantity",)),
    FeatureSpec("rfm", "purchase", "rfm", 7 * DAY_MS, of=("value",), cuts=(
        (HOUR_MS, DAY_MS, 3 * DAY_MS, 9 * DAY_MS), (2, 5, 9, 14),
        (100_000_000, 400_000_000, 900_000_000, 1_500_000_000))),
    FeatureSpec("per_order", "purchase", "ratio", of=("spend_30d", "orders")),
    # Of what is made of texts only events that have one are the feature's own, and keep it fresh.
    FeatureSpec("fresh_size", "*", "most_frequent", 7 * DAY_MS, DAY_MS, of=("property.size",),
                most=1),
    FeatureSpec("fresh_types", "view", "unique_list", 9 * DAY_MS, DAY_MS, of=("category",), most=3),
    FeatureSpec("fresh_items", "search", "distinct", 9 * DAY_MS, DAY_MS),
    FeatureSpec("fresh_kinds", "purchase", "distinct", 9 * DAY_MS, DAY_MS, of=("category",)),
)
PROPERTIES = ("", '{"size":"XL"}', '{"size":"XL","tip":2.25}', '{"size":42,"tip":-1}',
              '{"gift":true,"tip":"3"}', '{"gift":false,"tip":true,"size":null}',
              '{"size":"M","tip":1e13,"gift":"true"}', '{"size":{"a":1},"tip":0.75}')
BY_NAME = {spec.name: spec for spec in SPECS}


def history(seed: int, count: int = 120, items: int = 12) -> list[Heard]:
    dice = random.Random(seed)
    return [Heard(offset, dice.choice(["view", "purchase", "search"]),
                  START + dice.randrange(20 * DAY_MS), dice.randrange(-20, 500) / 4,
                  dice.randrange(1, 40) / 8, dice.choice(["", *(f"i{n}" for n in range(items))]),
                  dice.choice(["shoes", "hats", ""]), dice.choice(PROPERTIES))
            for offset in range(count)]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_every_kind_agrees_with_its_obvious_twin(seed: int, wide: bool) -> None:
    events, dice = history(seed), random.Random(seed)
    row = Fast(SPECS, wide=wide).take(*events)
    newest = max(e.event_ms for e in events)
    for at_ms in (newest, newest + dice.randrange(3 * DAY_MS), newest + dice.randrange(40 * DAY_MS),
                  newest - dice.randrange(2 * DAY_MS)):
        for spec in SPECS:
            if spec.kind == "distinct" and at_ms < newest:
                continue       # the past of a set that keeps newest times is not asked for
            if spec.name == "top_items" and not wide:
                continue       # more texts than a person's row has room for
            expected = obvious(spec, [e for e in events], at_ms, BY_NAME)
            if spec.kind in ("decay", "since") and at_ms < newest:
                continue       # what lies after the moment counts as now
            found = row.value(spec.name, at_ms)
            assert (found is None) == (expected is None), f"{seed=} {spec.name}"
            assert found == (expected if isinstance(expected, list | str | None) else
                             pytest.approx(expected, rel=1e-4, abs=1e-6)), (
                f"{seed=} {spec.name} {at_ms - newest}")


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(seed: int, dice: random.Random) -> None:
    events = history(seed, 60, items=40)
    shuffled = events[:]
    dice.shuffle(shuffled)
    assert Fast(SPECS).take(*events).bytes() == Fast(SPECS).take(*shuffled).bytes()


def test_a_person_without_events_has_zeros_for_counts_and_nothing_for_the_rest() -> None:
    row = Fast(SPECS)
    none = {s.name for s in SPECS if row.value(s.name, START) is None}
    assert none == {"basket", "spread", "units_spread", "cheapest", "dearest", "since",
                    "first_spend", "last_spend", "gap", "stay", "steps", "cart", "units", "rfm",
                    "favourite", "top_items", "last_items", "mean_tip", "tip_spread", "least_tip",
                    "last_tip", "size", "last_types", "per_order", "fresh_size", "fresh_types"}
    assert all(row.value(s.name, START) == 0.0 for s in SPECS if s.name not in none)
    assert row.age("views_1h", START) is None


def test_a_value_older_than_its_max_age_is_refused_not_served() -> None:
    row = Fast(SPECS).take(Heard(0, "purchase", START))
    assert row.value("since", START + 400 * DAY_MS) == 400.0
    assert row.value("since", START + 400 * DAY_MS + 1) is None
    assert row.age("since", START + 400 * DAY_MS + 1) == 400 * DAY_MS + 1


def test_the_window_covers_at_least_its_span_and_less_than_one_tile_more() -> None:
    row = Fast(SPECS).take(Heard(0, "view", START))
    tile = tile_ms_of(HOUR_MS)
    assert tile == 5 * MINUTE_MS
    assert row.value("views_1h", START + HOUR_MS) == 1
    assert row.value("views_1h", START + HOUR_MS + tile) == 0


@pytest.mark.parametrize("items", [EXACT_DISTINCT_MAX, 60, 400, 3000])
def test_distinct_is_exact_when_small_and_within_its_error_beyond(items: int) -> None:
    row = Fast(SPECS).take(*(
        Heard(2 * i + again, "view", START + i, item=f"item{i}", category=f"a {i}" + "long" * 12,
              properties=f'{{"size":{i}}}') for i in range(items) for again in range(2)))
    for name in ("items_7d", "types_4d", "sizes_7d"):
        found = row.value(name, START + items)
        assert found is not None
        # 64 registers: a standard error of 13 %; three of them.
        assert abs(found - items) <= (0 if items <= EXACT_DISTINCT_MAX else 0.39 * items), name


def test_distinct_items_are_kept_once_whether_they_are_named_or_not() -> None:
    plain, named, other = (Fast((FeatureSpec("n", "*", "distinct", DAY_MS, of=of),)).layout
                           for of in ((), ("item_id",), ("category",)))
    assert plain.description == named.description != other.description
    assert (plain.text_fields, named.text_fields, other.text_fields) == ((), (), ("category",))


def test_a_tile_of_counts_saturates_and_never_wraps() -> None:
    row = Fast(SPECS[:1]).take(*[Heard(0, "view", START)] * 70_000)
    assert row.value("views_1h", START) == 65_535
    assert Fast(SPECS[:1], wide=True).take(*[Heard(0, "view", START)] * 70_000).value(
        "views_1h", START) == 70_000


def test_the_greatest_amounts_fill_what_adds_them_up_and_never_turn_it_negative() -> None:
    """An event's money is at most 1e12; some currencies have such numbers."""
    specs = tuple(spec for spec in SPECS if spec.name in (
        "spend_30d", "basket", "spread", "warm_spend", "cart", "units_30d", "units", "rfm"))
    end = 14 * 16 * DAY_MS * 7                     # events weigh most at the end of a tile
    most = (2**63 - 1) / 1e6
    for amount in (1.5e8, 1e12):
        told = [Heard(n, "purchase", end - 1 - n * HOUR_MS, amount, amount)
                for n in reversed(range(20 * 24))]
        for wide in (False, True):
            row = Fast(specs, wide=wide).take(*told)
            found = {spec.name: row.value(spec.name, end) for spec in specs}
            assert found["spend_30d"] == pytest.approx(min(480 * amount, most))
            assert found["basket"] == pytest.approx(min(amount, most / 480))
            assert found["cart"] == pytest.approx(min(384 * amount, most))
            assert found["units_30d"] == pytest.approx(min(480 * amount, most * 1000))
            assert found["spread"] >= 0 and found["rfm"] == 555
            # What fills the tile before its end weighs the less, the later it is looked at.
            assert found["warm_spend"] == pytest.approx(most / 2**16)
        low = Fast(specs[:1]).take(*(Heard(e.offset, "purchase", e.event_ms, -amount)
                                     for e in told))
        assert low.value("spend_30d", end) == pytest.approx(-min(480 * amount, most))


WATCHED = ("views_1h", "spend_30d", "items_7d", "basket", "cheapest", "visits_7d", "rfm",
           "favourite", "top_items", "last_items")


@pytest.mark.parametrize("seed", range(12))
def test_time_alone_changes_a_watched_feature_not_before_it_is_said_to(seed: int) -> None:
    events = history(seed, 15)
    row, at_ms = Fast(SPECS).take(*events), max(e.event_ms for e in events)
    v, layout = row.rows.views, row.layout
    watched = np.array([layout.by_name[name] for name in WATCHED], np.int64)
    for _ in range(60):
        said = int(next_change(layout.reads, v.u8, v.u16, v.i64, row.slot, watched,
                               np.zeros((0, 2)), at_ms))
        if said == EVER_MS:
            assert row.value("spend_30d", at_ms) == 0
            return
        for name in WATCHED:
            assert row.value(name, said - 1) == row.value(name, at_ms), f"{seed=} {name}"
        assert said > at_ms
        at_ms = said
    pytest.fail("the windows never ran empty")


def test_decay_and_times_cross_a_number_when_it_is_said() -> None:
    row = Fast(SPECS).take(*(Heard(i, "view", START) for i in range(8)),
                           Heard(9, "purchase", START))
    v, layout = row.rows.views, row.layout
    crossings = np.array([(layout.by_name["warm"], 2.0), (layout.by_name["since"], 5.0)])
    watched = np.zeros(0, np.int64)

    def after(at_ms: int) -> int:
        return int(next_change(layout.reads, v.u8, v.u16, v.i64, row.slot, watched, crossings,
                               at_ms))

    halved_twice = after(START)
    assert abs(halved_twice - (START + 2 * DAY_MS)) < 1000
    before, later = row.value("warm", halved_twice - 1000), row.value("warm", halved_twice)
    assert before is not None and later is not None and before > 2.0 > later
    assert after(halved_twice) == START + 5 * DAY_MS


@pytest.mark.parametrize("compare", COMPARES[:-1])
@pytest.mark.parametrize("number", [7.0, 0.0, 0.7, 0.0104166, 1 / 3, 0.0416667, 399.12345, -1.0])
def test_a_comparison_with_a_time_since_turns_when_it_is_said_to(
        compare: str, number: float) -> None:
    """Also one that turns a millisecond after it is reached: seven days are `at_most: 7`."""
    since = FeatureSpec("since", "purchase", "since")
    row = Fast((since,)).take(Heard(9, "purchase", START))
    v, layout = row.rows.views, row.layout
    rules = compile_rules([Condition("feature", name="since", compare=compare, number=number)],
                          layout, ["s"])

    def holds(at_ms: int) -> bool:
        return bool(members_mask(rules.starts, rules.steps, rules.numbers, layout.reads, v.u8,
                                 v.u16, v.i64, row.slot, at_ms, np.uint64(0)))

    at_ms, turned = START, [START]
    while at_ms != EVER_MS:
        said = int(next_change(layout.reads, v.u8, v.u16, v.i64, row.slot, rules.watched,
                               rules.crossings, at_ms))
        for between in {at_ms, said - 1, min(said, START + 500 * DAY_MS) - 1}:
            assert holds(between) == holds(at_ms)
        if said != EVER_MS and holds(said) != holds(at_ms):
            turned.append(said)
        at_ms = said
    exact = [START + n for n in range(max(int(number * DAY_MS) - 3, 1), int(number * DAY_MS) + 4)
             if n > 0 and _compared(compare, n / DAY_MS, number)
             != _compared(compare, (n - 1) / DAY_MS, number)]
    assert turned[1:] == exact


def _compared(compare: str, value: float, number: float) -> bool:
    return {"at_least": value >= number, "at_most": value <= number, "above": value > number,
            "below": value < number, "equals": value == number}[compare]


def test_a_changed_where_or_window_is_another_cell_and_equal_ones_are_shared() -> None:
    one = Fast((FeatureSpec("a", "view", "count", HOUR_MS),
                FeatureSpec("b", "view", "rate", HOUR_MS),
                FeatureSpec("c", "view", "sum", HOUR_MS, of=("value",)))).layout
    assert len(one.cells) == 3            # times, counts, sums
    other = Fast((FeatureSpec("a", "view", "count", HOUR_MS),
                  FeatureSpec("b", "view", "count", DAY_MS))).layout
    assert len(other.cells) == 3


def test_the_shipped_definitions_compile() -> None:
    people = compiled().people
    assert {"purchases_30d", "spend_365d", "days_since_purchase"} <= set(people.by_name)
    assert people.row_bytes < 2500
