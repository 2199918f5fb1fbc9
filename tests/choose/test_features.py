"""Rolling features agree with a count over the whole history, in any order of arrival."""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.choose.definitions import layout
from streams.choose.features import DISTINCT_MAX, FeatureSpec, Layout, tile_ms_of
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS

START = 1_700_000_000_000
SPECS = Layout((
    FeatureSpec("views_1h", "view", "count", HOUR_MS),
    FeatureSpec("spend_30d", "purchase", "sum", 30 * DAY_MS),
    FeatureSpec("items_7d", "*", "distinct", 7 * DAY_MS),
    FeatureSpec("since", "purchase", "since", 0, 400 * DAY_MS),
    FeatureSpec("orders", "purchase", "lifetime"),
    FeatureSpec("gap", "purchase", "mean_gap"),
), 1)


def history(seed: int, count: int = 120) -> list[tuple[int, str, int, str]]:
    dice = random.Random(seed)
    return [(START + dice.randrange(20 * DAY_MS), dice.choice(["view", "purchase"]),
             dice.randrange(1, 50) * 1_000_000, f"i{dice.randrange(12)}") for _ in range(count)]


def row_of(events: list[tuple[int, str, int, str]], compiled: Layout = SPECS,
           ) -> tuple[array[float], dict[str, Any]]:
    words, tail = array("d", bytes(8 * compiled.width)), dict[str, Any]()
    for event_ms, kind, value, item in events:
        compiled.update(words, 0, tail, event_type=kind, event_ms=event_ms, value_micros=value,
                        items=(item,))
    return words, tail


def naive(events: list[tuple[int, str, int, str]], name: str, at_ms: int) -> float | None:
    """The obvious twin: filter the whole history by hand, tile edges included."""
    purchases = sorted(ms for ms, kind, _, _ in events if kind == "purchase")

    def inside(ms: int, window_ms: int) -> bool:
        tile = tile_ms_of(window_ms)
        return at_ms // tile - window_ms // tile <= ms // tile <= at_ms // tile

    if name == "views_1h":
        return sum(kind == "view" and inside(ms, HOUR_MS) for ms, kind, _, _ in events)
    if name == "spend_30d":
        return sum(v / 1e6 for ms, kind, v, _ in events
                   if kind == "purchase" and inside(ms, 30 * DAY_MS))
    if name == "items_7d":
        newest: dict[str, int] = {}
        for ms, _, _, item in events:
            newest[item] = max(ms, newest.get(item, 0))
        return sum(at_ms - 7 * DAY_MS < ms <= at_ms for ms in newest.values())
    if name == "since":
        return (at_ms - purchases[-1]) / DAY_MS if purchases else None
    if name == "orders":
        return len(purchases)
    return ((purchases[-1] - purchases[0]) / (len(purchases) - 1) / DAY_MS
            if len(purchases) > 1 else None)


@pytest.mark.parametrize("seed", range(20))
def test_every_feature_agrees_with_its_obvious_twin(seed: int) -> None:
    events = history(seed)
    words, tail = row_of(events)
    at_ms = max(ms for ms, *_ in events) + random.Random(seed).randrange(3 * DAY_MS)
    for spec in SPECS.specs:
        got = SPECS.read(spec.name, words, 0, tail, at_ms).value
        expected = naive(events, spec.name, at_ms)
        assert got == pytest.approx(expected), f"{seed=} {spec.name}"


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(seed: int, dice: random.Random) -> None:
    events = history(seed, 40)
    shuffled = events[:]
    dice.shuffle(shuffled)
    in_order, shuffled_row = row_of(sorted(events)), row_of(shuffled)
    assert in_order[0] == shuffled_row[0]
    assert in_order[1] == shuffled_row[1]


def test_a_person_without_events_has_zeros_for_counts_and_nothing_for_times() -> None:
    words, tail = row_of([])
    values = {s.name: SPECS.read(s.name, words, 0, tail, START).value for s in SPECS.specs}
    assert values == {"views_1h": 0.0, "spend_30d": 0.0, "items_7d": 0.0, "since": None,
                      "orders": 0.0, "gap": None}


def test_a_value_older_than_its_max_age_is_refused_not_served() -> None:
    words, tail = row_of([(START, "purchase", 1, "i")])
    fresh = SPECS.read("since", words, 0, tail, START + 400 * DAY_MS)
    stale = SPECS.read("since", words, 0, tail, START + 400 * DAY_MS + 1)
    assert (fresh.value, stale.value, stale.age_ms) == (400.0, None, 400 * DAY_MS + 1)


def test_the_window_covers_at_least_its_span_and_less_than_one_tile_more() -> None:
    words, tail = row_of([(START, "view", 1, "i")])
    tile = tile_ms_of(HOUR_MS)
    assert tile == 5 * MINUTE_MS
    assert SPECS.read("views_1h", words, 0, tail, START + HOUR_MS).value == 1
    assert SPECS.read("views_1h", words, 0, tail, START + HOUR_MS + tile).value == 0


def test_distinct_saturates_at_its_bound() -> None:
    words, tail = row_of([(START + i, "view", 1, f"item{i}") for i in range(DISTINCT_MAX + 20)])
    assert SPECS.read("items_7d", words, 0, tail, START + 1000).value == DISTINCT_MAX


@pytest.mark.parametrize("seed", range(10))
def test_time_alone_changes_a_rolling_feature_exactly_when_it_is_said_to(seed: int) -> None:
    events = history(seed, 15)
    words, tail = row_of(events)
    at_ms = max(ms for ms, *_ in events)
    said = SPECS.next_change_ms({"views_1h", "spend_30d"}, words, 0, at_ms, {})
    assert said is not None
    for name in ("views_1h", "spend_30d"):
        now = SPECS.read(name, words, 0, tail, at_ms).value
        assert SPECS.read(name, words, 0, tail, said - 1).value == now, f"{seed=} {name}"


def test_the_shipped_definitions_compile() -> None:
    assert {"purchases_30d", "spend_365d", "days_since_purchase"} <= set(layout().by_name)
    assert layout().width < 400
