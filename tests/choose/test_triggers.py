"""Triggers at events: edges with hysteresis, scores, segments; and which events may be left out."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_world import FEATURES, NOBODY, START, World, event, facts, law, playbook

from streams.choose import triggers
from streams.choose.triggers import Change, Person
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.playbooks.model import Condition, Trigger


def feature(name: str, compare: str, number: float) -> Condition:
    return Condition("feature", name=name, compare=compare, number=number)  # type: ignore[arg-type]


def never(condition: Condition) -> Condition:
    return Condition("not", (condition,))


KEEN = feature("product_views_1h", "at_least", 3)
QUIET = feature("product_views_1h", "at_most", 0)
RICH = feature("spend_30d", "at_least", 200)
CONDITIONS = [
    KEEN, RICH, Condition("all", (KEEN, RICH)), Condition("any", (KEEN, RICH)),
    never(never(KEEN)), feature("orders_lifetime", "equals", 2),
    feature("orders_lifetime", "at_least", 2), feature("mean_gap_days", "below", 2),
    feature("days_since_purchase", "at_most", 1), feature("distinct_items_30d", "above", 2),
    never(QUIET), QUIET,
]
TRIGGERS = [
    *(Trigger("edge", when=when) for when in CONDITIONS), Trigger("edge", when=KEEN, rearm=QUIET),
    Trigger("score", weights=(("product_views_1h", 1.0), ("cart_adds_24h", 3.0)), at_least=5.0,
            rearm_below=2.0),
    Trigger("score", weights=(("product_views_1h", 1.0), ("spend_30d", -0.01)), at_least=2.0,
            rearm_below=2.0),
    Trigger("event", "search", when=KEEN), Trigger("absence", "cart_add", "purchase", HOUR_MS),
]
STORIES = st.lists(st.tuples(
    st.sampled_from(["product_view", "product_view", "cart_add", "purchase", "search"]),
    st.sampled_from([MINUTE_MS, 20 * MINUTE_MS, 3 * HOUR_MS, 2 * DAY_MS, 40 * DAY_MS, -HOUR_MS]),
    st.integers(0, 300)), max_size=40)


def events_of(story: list[tuple[str, int, int]]) -> list[dict[str, object]]:
    at_ms, found = START, []
    for number, (kind, gap_ms, value) in enumerate(story):
        at_ms += gap_ms
        found.append(event(number, kind, at_ms, item_id=f"i{value % 4}",
                           value_micros=value * 1_000_000))
    return found


@pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)
@law(30)
@given(story=STORIES)
def test_events_outside_the_interests_can_be_left_out(
        trigger: Trigger, story: list[tuple[str, int, int]]) -> None:
    every, some = World(playbook(trigger)), World(playbook(trigger))
    for happened in events_of(story):
        every.tell(happened)
        some.tell(happened, filtered=True)
    assert facts(every.moments) == facts(some.moments)
    assert every.kept == some.kept


@pytest.mark.parametrize(("trigger", "types"), [
    (TRIGGERS[0], {"product_view"}), (TRIGGERS[2], {"product_view", "purchase"}),
    (Trigger("edge", when=feature("days_since_purchase", "at_least", 60)), None),
    (Trigger("edge", when=feature("days_since_purchase", "at_most", 1)), {"purchase"}),
    (Trigger("edge", when=feature("days_since_view", "at_most", 1)), None),
    (Trigger("edge", when=QUIET), None), (Trigger("edge", when=never(KEEN)), None),
    (Trigger("edge", when=feature("distinct_items_30d", "above", 2)), None),
    (Trigger("edge", when=Condition("segment", name="vip")), None),
    (Trigger("edge", when=feature("no_such_feature", "above", 2)), None),
    (Trigger("event", "search"), {"search"}), (Trigger("segment", segment="vip"), set()),
    (Trigger("absence", "cart_add", "purchase", HOUR_MS), {"cart_add", "purchase"}),
    (Trigger("recency", "purchase", within_ms=HOUR_MS), {"purchase"}),
])
def test_the_interests_of_a_trigger(trigger: Trigger, types: set[str] | None) -> None:
    assert triggers.interests([playbook(trigger)], FEATURES) == types
    both = triggers.interests([playbook(trigger), playbook(Trigger("event", "signup"), "q")],
                              FEATURES)
    assert both == (None if types is None else types | {"signup"})


@law(100)
@given(st.lists(st.integers(0, 10), max_size=60), st.integers(1, 9), st.integers(0, 9))
def test_an_edge_fires_where_the_obvious_twin_says(values: list[int], high: int, low: int) -> None:
    trigger = Trigger("edge", when=feature("orders_lifetime", "at_least", high),
                      rearm=feature("orders_lifetime", "at_most", low))
    fired, armed, expected, kept = [], True, [], dict[str, object]()
    for number, value in enumerate(values):
        person = Person(lambda name, value=value: float(value), lambda name: False)
        fired += [m.event_id for m in triggers.on_event(
            [playbook(trigger)], kept, event(number, "purchase", number), (), person)]
        if armed and value >= high:
            expected.append(f"e{number}")
            armed = False
        elif not armed and value < high and value <= low:
            armed = True
    assert fired == expected


@law(100)
@given(st.lists(st.integers(0, 10), max_size=60), st.integers(1, 9), st.integers(0, 9))
def test_a_score_that_trembles_fires_once(values: list[int], high: int, low: int) -> None:
    low = min(low, high)
    trigger = Trigger("score", weights=(("orders_lifetime", 2.0), ("mean_gap_days", 7.0)),
                      at_least=2.0 * high, rearm_below=2.0 * low)
    fired, kept = [], dict[str, object]()
    for number, value in enumerate(values):
        person = Person({"orders_lifetime": float(value), "mean_gap_days": None}.get,
                        lambda name: False)
        fired += triggers.on_event([playbook(trigger)], kept, event(number, "purchase", number),
                                   (), person)
    assert all(m.evidence["score"] == 2.0 * m.evidence["values"]["orders_lifetime"] for m in fired)
    found = [int(m.event_id[1:]) for m in fired]
    assert found[:1] == [i for i, value in enumerate(values) if value >= high][:1]
    for last, again in pairwise(found):
        assert min(values[last:again]) < low
        assert values[again] >= high


def test_the_evidence_of_an_edge_names_the_event_and_the_values() -> None:
    world = World(playbook(Trigger("edge", when=Condition("all", (KEEN, never(RICH))))))
    for number in range(3):
        world.tell(event(number, "product_view", START + number))
    (found,) = world.moments
    assert found.evidence == {"event": "product_view", "event_id": "e2", "at_ms": START + 2,
                              "values": {"product_views_1h": 3.0, "spend_30d": 0.0}}
    assert found.useful_until_ms == START + 2 + DAY_MS


def test_segments_make_a_moment_each_way_and_say_what_caused_it() -> None:
    comes = playbook(Trigger("segment", segment="vip"), "comes")
    goes = playbook(Trigger("segment", segment="vip", enters=False), "goes")
    happened = event(1, "purchase", START, item_id="i")
    (found,) = triggers.on_segments([comes, goes], [Change("vip", True, "c1"),
                                                    Change("new", False, "c2")],
                                    START, START, happened, ("i",))
    assert (found.playbook, found.event_id, found.items) == (comes, "e1", ("i",))
    assert found.evidence == {"segment": "vip", "entered": True, "at_ms": START, "change_id": "c1",
                              "cause": "event", "event": "purchase", "event_id": "e1"}
    (found,) = triggers.on_segments([comes, goes], [Change("vip", False, "c3")], START, START)
    assert (found.playbook, found.event_id, found.evidence["cause"]) == (goes, "c3", "lapse")


def test_state_of_a_withdrawn_playbook_goes_when_it_comes_up() -> None:
    world = World(playbook(Trigger("absence", "cart_add", "purchase", HOUR_MS)))
    world.tell(event(1, "cart_add", START))
    world.playbooks = ()
    assert world.reach(START + DAY_MS) == [] and world.kept == {}


def test_a_playbook_whose_trigger_changed_starts_afresh() -> None:
    world = World(playbook(Trigger("absence", "cart_add", "purchase", HOUR_MS)))
    world.tell(event(1, "cart_add", START))
    world.playbooks = (playbook(Trigger("edge", when=KEEN)),)
    world.tell(event(2, "search", START + 1))
    assert world.kept == {} and world.reach(START + DAY_MS) == []
    assert orjson.dumps(world.kept) == b"{}"


def test_nobody_without_features_has_a_moment() -> None:
    found = triggers.on_event([playbook(t) for t in TRIGGERS[:5]], {}, event(1, "search", START),
                              (), NOBODY)
    assert found == []
