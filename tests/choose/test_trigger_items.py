"""Back in stock and price drops: as of the change, in any order, once."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_world import START, event, items_of, law, playbook

from streams.choose import triggers
from streams.choose.losing import take_lost
from streams.choose.triggers import ItemChange, Moment, items
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.playbooks.model import Trigger

WITHIN = 10 * HOUR_MS
LATE = 3 * HOUR_MS
CARES = ("product_view", "cart_add")
BACK = Trigger("back_in_stock", without="purchase", within_ms=WITHIN, events=CARES)
DROP = Trigger("price_drop", without="purchase", within_ms=WITHIN, events=CARES, at_least=0.1)
NOBODY = triggers.Person(lambda name: None, lambda name: False)


def change(item: str, as_of_ms: int, before: int = 100, after: int = 80,
           stock: tuple[bool, bool] = (True, True)) -> ItemChange:
    return ItemChange(item, as_of_ms, before, after, "EUR", *stock)


def tell(kept: dict[str, Any], trigger: Trigger, happened: dict[str, Any],
         reached_ms: int = -1) -> dict[str, Any]:
    person = replace(NOBODY, reached_ms=reached_ms)
    assert triggers.on_event([playbook(trigger)], kept, happened, items_of(happened), person) == []
    return orjson.loads(orjson.dumps(kept))          # type: ignore[no-any-return]


def told(trigger: Trigger, *events: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for happened in events:
        kept = tell(kept, trigger, happened)
    return kept


stories = st.lists(st.tuples(st.integers(0, 20), st.sampled_from([*CARES, "purchase", "search"]),
                             st.sampled_from("xy")), max_size=8)
changes = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("xy"),
                             st.sampled_from([100, 91, 90, 50, 120, 0])), max_size=5)


@law(200)
@given(story=stories, changed=changes, seed=st.integers(0, 10**6))
def test_a_price_drop_is_that_of_the_obvious_twin_in_any_order(
        story: list[tuple[int, str, str]], changed: list[tuple[int, str, int]], seed: int) -> None:
    """Events late by less than LATE; a change is looked at once the watermark has passed it."""
    dice, kept, found = random.Random(seed), dict[str, Any](), list[Moment]()
    events = [event(n, kind, START + hour * HOUR_MS, item_id=item)
              for n, (hour, kind, item) in enumerate(story)]
    arriving = [(e["event_ms"] + dice.randrange(LATE), 0, n, e) for n, e in enumerate(events)]
    changing = [(START + hour * HOUR_MS + LATE, 1, n, change(item, START + hour * HOUR_MS, 100, to))
                for n, (hour, item, to) in enumerate(changed)]
    for *_, thing in sorted([*arriving, *changing], key=lambda each: each[:3]):
        if isinstance(thing, ItemChange):
            found += triggers.on_item([playbook(DROP)], kept, thing, 0)
        else:
            kept = tell(kept, DROP, thing)
    expected = set()
    for hour, item, to in changed:
        as_of_ms = START + hour * HOUR_MS
        before = sorted((e["event_ms"], e["event_id"], e["event_type"]) for e in events
                        if e["item_id"] == item and e["event_ms"] <= as_of_ms
                        and e["event_type"] != "search")
        if (before and before[-1][2] in CARES and as_of_ms - before[-1][0] <= WITHIN
                and 0 < to <= 90):
            expected.add((as_of_ms, item, before[-1][1]))
    assert {(m.moment_ms, m.object_id, m.evidence["event_id"]) for m in found} == expected
    assert len(found) == len(expected)


days = st.integers(0, 120).map(lambda n: n * 3 * HOUR_MS)
weeks = st.lists(st.tuples(days, st.sampled_from([*CARES, "purchase"]), st.sampled_from("wxyz")),
                 max_size=20)


def obvious_drops(events: list[dict[str, Any]], changed: list[ItemChange],
                  items_max: int) -> list[tuple[int, str, str]]:
    """Twin: from everything that was ever heard."""
    found = []
    for each in changed:
        last: dict[str, tuple[int, str, str]] = {}
        for e in sorted(events, key=lambda e: (e["event_ms"], e["event_id"])):
            if e["event_ms"] <= each.as_of_ms:
                last[e["item_id"]] = e["event_ms"], e["event_id"], e["event_type"]
        newest = sorted(last, key=lambda item: (last[item][0], item))[-items_max:]
        if each.item_id in newest:
            at_ms, event_id, kind = last[each.item_id]
            if kind in CARES and each.as_of_ms - at_ms <= WITHIN:
                found.append((each.as_of_ms, each.item_id, event_id))
    return sorted(found)


@law(200)
@given(story=weeks, changed=st.sets(st.tuples(days, st.sampled_from("wxyz")), max_size=8),
       seed=st.integers(0, 10**6), split=st.booleans())
def test_a_history_that_is_read_far_ahead_of_the_watermark_has_all_its_moments(
        story: list[tuple[int, str, str]], changed: set[tuple[int, str]], seed: int,
        split: bool) -> None:
    """Events late by less than LATE, the watermark anywhere behind them, two ids of one person."""
    dice, found, reached_ms = random.Random(seed), list[Moment](), -1
    events = [event(n, kind, START + ms, item_id=item)
              for n, (ms, kind, item) in enumerate(story)]
    waiting = [change(item, START + ms) for ms, item in sorted(changed)]
    arriving = sorted((e["event_ms"] + dice.randrange(LATE), e["event_id"], e) for e in events)
    ids: list[dict[str, Any]] = [{}, {}]
    told = [*waiting]
    with patch.object(items, "ITEMS_MAX", 2):
        for arrived_ms, _, happened in [*arriving, (START + 999 * DAY_MS, "", None)]:
            if dice.random() < 0.3 or happened is None:
                reached_ms = max(reached_ms, arrived_ms - LATE)
                if ids[1] and waiting and waiting[0].as_of_ms <= reached_ms:
                    triggers.merge(ids[0], ids[1])      # changes find the person under one id
                    ids[1] = {}
                while waiting and waiting[0].as_of_ms <= reached_ms:
                    found += triggers.on_item([playbook(DROP)], ids[0], waiting.pop(0), 0)
            if happened is not None:
                n = int(split and dice.random() < 0.5)
                ids[n] = tell(ids[n], DROP, happened, reached_ms)
        expected = obvious_drops(events, told, 2)
    assert sorted((m.moment_ms, m.object_id, m.evidence["event_id"]) for m in found) == expected


@pytest.mark.parametrize(("trigger", "changed", "fires"), [
    (BACK, change("mug", START + 1, stock=(False, True)), True),
    (BACK, change("mug", START + 1, stock=(True, True)), False),
    (BACK, change("mug", START + 1, stock=(False, False)), False),
    (BACK, change("cup", START + 1, stock=(False, True)), False),
    (DROP, change("mug", START + 1, 100, 90), True),
    (DROP, change("mug", START + 1, 100, 91), False),
    (DROP, change("mug", START + 1, 0, 90), False),
    (DROP, change("mug", START + 1, 100, 0), False),
    (DROP, change("mug", START + 1, 100, 50, stock=(True, False)), False),
    (DROP, change("mug", START - 1, 100, 50), False),
    (DROP, change("mug", START + WITHIN, 100, 50), True),
    (DROP, change("mug", START + WITHIN + 1, 100, 50), False),
])
def test_which_changes_make_a_moment(trigger: Trigger, changed: ItemChange, fires: bool) -> None:
    kept = told(trigger, event(1, "product_view", START, item_id="mug"))
    assert bool(triggers.on_item([playbook(trigger)], kept, changed, 0)) is fires


def test_a_change_that_is_told_twice_makes_one_moment_and_names_its_reasons() -> None:
    kept = told(BACK, event(1, "cart_add", START, item_id="mug"))
    back = change("mug", START + 5, 100, 80, (False, True))
    (found,) = triggers.on_item([playbook(BACK)], kept, back, 7)
    assert triggers.on_item([playbook(BACK)], orjson.loads(orjson.dumps(kept)), back, 8) == []
    assert (found.moment_ms, found.object_id, found.items, found.appended_ms) == (
        START + 5, "mug", ("mug",), 7)
    assert found.evidence == {
        "item": "mug", "as_of_ms": START + 5, "price_before_micros": 100, "price_micros": 80,
        "currency": "EUR", "was_in_stock": False, "in_stock": True, "event": "cart_add",
        "event_id": "e1", "at_ms": START}
    again = triggers.on_item([playbook(BACK)], told(BACK, event(1, "cart_add", START,
                                                               item_id="mug")), back, 9)
    assert again[0].event_id == found.event_id


def test_a_purchase_of_several_items_ends_the_interest_in_each() -> None:
    kept = told(DROP, event(1, "product_view", START, item_id="mug"),
                event(2, "product_view", START, item_id="pot"),
                event(3, "purchase", START + 1, items=("cup", "mug")))
    found = [triggers.on_item([playbook(DROP)], kept, change(item, START + 2), 0)
             for item in ("mug", "cup", "pot")]
    assert [len(each) for each in found] == [0, 0, 1]


def test_memory_is_bounded_and_the_newest_interests_stay() -> None:
    kept: dict[str, Any] = {}
    for n in range(500):
        kept = tell(kept, DROP, event(n, "product_view", START + n, item_id=f"i{n}"))
        kept = tell(kept, DROP, event(n, "product_view", START + n, item_id="same"))
    assert sum(map(len, kept["p"]["i"].values())) == items.MARKS_MAX
    assert set(triggers.cared_for(kept)) >= {"i499"}
    assert take_lost(kept) == {"p": 1000 - items.MARKS_MAX}
    kept = tell(kept, DROP, event(501, "product_view", START + 2 * DAY_MS, item_id="new"),
                START + 500 + items.LATE_MS)
    assert set(triggers.cared_for(kept)) == {"new", "same", *(f"i{n}" for n in range(469, 500))}
    kept = tell(kept, DROP, event(502, "product_view", START + 4 * DAY_MS, item_id="new"),
                START + 3 * DAY_MS)
    assert list(triggers.cared_for(kept)) == ["new"] and take_lost(kept) == {}
    assert triggers.next_deadline_ms(kept) is None


def test_another_kind_of_playbook_pays_no_attention() -> None:
    kept = told(DROP, event(1, "product_view", START, item_id="mug"))
    assert triggers.on_item([playbook(BACK)], kept, change("mug", START + 1, 9, 1), 0) == []
    assert triggers.on_item([], kept, change("mug", START + 1), 0) == []
