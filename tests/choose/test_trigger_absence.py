"""Absence, by object: after an outage, at any pace, nobody who bought is told they forgot."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_world import START, World, event, facts, items_of, law, playbook, shuffled

from streams.choose import watches
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.playbooks.model import Trigger

W = 30 * MINUTE_MS
LATE = 20 * MINUTE_MS
FORGOT = Trigger("absence", "cart_add", "purchase", W, "cart_id")
FORGOT_ITEM = Trigger("absence", "cart_add", "purchase", W, "item_id")

visits = st.lists(st.tuples(st.integers(0, 36).map(lambda n: n * 5 * MINUTE_MS),
                            st.sampled_from(["cart_add", "cart_add", "purchase"]),
                            st.sampled_from(["", "x", "y", "z"])), max_size=14)


def events_of(story: list[tuple[int, str, str]]) -> list[dict[str, Any]]:
    return [event(n, kind, START + ms, cart_id=cart, item_id=f"i{n}")
            for n, (ms, kind, cart) in enumerate(story)]


def obvious(events: list[dict[str, Any]]) -> set[tuple[int, str]]:
    """Twin: a cart fires W after its last cart_add, unless it, or no cart at all, was bought."""
    found = set()
    for e in events:
        if e["event_type"] != "cart_add" or not e["cart_id"]:
            continue
        later = [o for o in events if e["event_ms"] <= o["event_ms"] <= e["event_ms"] + W
                 and o is not e]
        bought = any(o["event_type"] == "purchase" and o["cart_id"] in ("", e["cart_id"])
                     for o in later)
        again = any(o["event_type"] == "cart_add" and o["cart_id"] == e["cart_id"]
                    and (o["event_ms"], o["event_id"]) > (e["event_ms"], e["event_id"])
                    for o in later)
        if not bought and not again:
            found.add((e["event_ms"] + W, e["cart_id"]))
    return found


@law(200)
@given(story=visits, seed=st.integers(0, 10**6))
def test_an_absence_is_that_of_the_obvious_twin_in_any_order(
        story: list[tuple[int, str, str]], seed: int) -> None:
    events = events_of(story)
    world = World(playbook(FORGOT))
    shuffled(world, events, random.Random(seed), LATE, START + DAY_MS)
    assert {(m.moment_ms, m.object_id) for m in world.moments} == obvious(events)
    assert len(world.moments) == len(obvious(events))
    assert "a" not in world.kept.get("p", {})


@law(100)
@given(story=visits, seed=st.integers(0, 10**6), start=st.integers(0, 12))
def test_an_hour_of_outage_changes_nothing_but_when_it_is_noticed(
        story: list[tuple[int, str, str]], seed: int, start: int) -> None:
    """The stage stands still for an hour: what happened then comes at once, in any order that its
    partitions allow, before the watermark moves on."""
    events, dice = events_of(story), random.Random(seed)
    down = START + start * 10 * MINUTE_MS
    smooth, halting = World(playbook(FORGOT)), World(playbook(FORGOT))
    for each in sorted(events, key=lambda e: e["event_ms"]):
        smooth.reach(each["event_ms"] - 1)
        smooth.tell(each)
        if each["event_ms"] <= down:
            halting.reach(each["event_ms"] - 1)
            halting.tell(each)
    backlog = [e for e in events if down < e["event_ms"] <= down + HOUR_MS]
    for each in dice.sample(backlog, len(backlog)):
        halting.tell(each)
    for each in sorted(events, key=lambda e: e["event_ms"]):
        if each["event_ms"] > down + HOUR_MS:
            halting.reach(each["event_ms"] - 1)
            halting.tell(each)
    for world in (smooth, halting):
        world.reach(START + DAY_MS)
    assert facts(smooth.moments) == facts(halting.moments)
    assert {(m.moment_ms, m.object_id) for m in halting.moments} == obvious(events)


@pytest.mark.parametrize("trigger", [FORGOT, FORGOT_ITEM], ids=["cart", "item"])
@law(60)
@given(seed=st.integers(0, 10**9), count=st.sampled_from([3, 50, 150]),
       span=st.sampled_from([90, 600]),
       late=st.sampled_from([1, 10, 90, 3000]))
def test_nobody_who_bought_is_told_that_they_forgot_however_much_they_do(
        trigger: Trigger, seed: int, count: int, span: int, late: int) -> None:
    """Beyond every bound of what is kept: watches may be lost, none fires that was cancelled."""
    dice, events = random.Random(seed), []
    for n in range(300):
        things = tuple(f"o{dice.randrange(count)}" for _ in range(dice.choice([0, 1, 1, 1, 3])))
        events.append(event(n, dice.choice(["cart_add", "purchase", "purchase"]),
                            START + dice.randrange(span) * 10_000, items=things,
                            cart_id=things[0] if things else "",
                            item_id=things[0] if things else ""))
    world = World(playbook(trigger))
    shuffled(world, events, dice, late * MINUTE_MS, START + 3 * DAY_MS)
    for m in world.moments:
        bought = [e for e in events if e["event_type"] == "purchase"
                  and m.evidence["at_ms"] <= e["event_ms"] <= m.moment_ms
                  and (not items_of(e) or m.object_id == e["cart_id"]
                       or (trigger is FORGOT_ITEM and m.object_id in items_of(e)))]
        assert not bought, (m, bought)


def test_the_bounds_hold_and_do_not_lose_the_newest_watch() -> None:
    world = World(playbook(FORGOT))
    for n in range(200):
        world.tell(event(3 * n, "cart_add", START + 3 * n, cart_id=f"c{n}"))
        world.tell(event(3 * n + 1, "purchase", START + 3 * n + 1, cart_id=f"d{n}"))
        world.tell(event(3 * n + 2, "purchase", START + 3 * n + 2, cart_id="d"))
    own = world.kept["p"]
    assert len(own["a"]) <= watches.OBJECTS_MAX and len(own["x"]) <= watches.OBJECTS_MAX
    assert all(len(times) <= watches.ANCHORS_MAX for times in own["x"].values())
    assert "c199" in {m.object_id for m in world.reach(START + DAY_MS)}


def test_purchases_alone_are_not_kept_for_ever() -> None:
    world = World(playbook(FORGOT))
    for n in range(100):
        world.tell(event(n, "purchase", START + n * HOUR_MS, cart_id=f"c{n}"))
    assert len(world.kept["p"]["x"]) <= 25


def test_a_purchase_of_several_items_ends_the_wait_for_each() -> None:
    world = World(playbook(FORGOT_ITEM))
    for n, item in enumerate(["mug", "cup", "pot"]):
        world.tell(event(n, "cart_add", START + n, item_id=item))
    world.tell(event(9, "purchase", START + 9, items=("mug", "cup")))
    assert [m.object_id for m in world.reach(START + DAY_MS)] == ["pot"]


@pytest.mark.parametrize(("after", "due_ms"), [("product_view", 4 * HOUR_MS),
                                               ("purchase", 3 * DAY_MS)])
def test_a_rhythm_is_that_of_the_event_it_counts_from_whatever_its_features_are_called(
        after: str, due_ms: int) -> None:
    world = World(playbook(Trigger("recency", after, times=1.0, events_min=3)))
    for n in range(4):
        for kind, gap_ms in (("product_view", 4 * HOUR_MS), ("purchase", 3 * DAY_MS)):
            world.tell(event(10 * n + len(kind), kind, START + n * gap_ms))
    assert [m.moment_ms for m in world.reach(START + 30 * DAY_MS)] == [START + 3 * due_ms + due_ms]


def test_nobody_is_due_where_no_feature_says_how_often_they_do_it() -> None:
    world = World(playbook(Trigger("recency", "refund", times=1.0)))
    for n in range(5):
        world.tell(event(n, "refund", START + n * DAY_MS))
    assert world.reach(START + 30 * DAY_MS) == []


crowds = st.lists(st.tuples(st.integers(0, 900).map(lambda n: n * HOUR_MS // 2),
                            st.sampled_from(["cart_add", "cart_add", "purchase"]),
                            st.sampled_from(["", "x", "y", "z"])), min_size=20, max_size=90)


@law(60)
@given(story=crowds, seed=st.integers(0, 10**6))
def test_somebody_of_whom_weeks_are_told_before_the_watermark_comes_loses_no_absence(
        story: list[tuple[int, str, str]], seed: int) -> None:
    events = events_of(story)
    per_cart, of_anything = World(playbook(FORGOT)), World(playbook(replace(FORGOT, per="")))
    for world in (per_cart, of_anything):
        shuffled(world, events, random.Random(seed), LATE, START + 60 * DAY_MS,
                 behind_ms=60 * DAY_MS)
    assert {(m.moment_ms, m.object_id) for m in per_cart.moments} == obvious(events)
    assert {m.moment_ms for m in of_anything.moments} == {
        due_ms for due_ms, _ in obvious([{**e, "cart_id": "one"} for e in events])}


def test_an_open_cart_is_not_forgotten_over_what_was_bought_weeks_later() -> None:
    world = World(playbook(FORGOT))
    world.tell(event(0, "cart_add", START, cart_id="x"))
    for day in range(2, 40):
        world.tell(event(day, "purchase", START + day * DAY_MS))
    assert [m.moment_ms for m in world.reach(START + 60 * DAY_MS)] == [START + W]
    assert "r" not in world.kept["p"]


def test_what_waits_decided_ends_with_a_purchase_under_the_other_id() -> None:
    mine: dict[str, Any] = {}
    for day in range(2 * watches.ANCHORS_MAX):
        watches.anchor(mine, object_id="x", event_ms=day * DAY_MS, within_ms=W,
                       event_id=f"e{day}", items=())
    assert [r[1] for r in mine["r"][:2]] == [0, DAY_MS]
    theirs: dict[str, Any] = {}
    watches.cancel(theirs, object_id="", event_ms=1)
    watches.merge(mine, theirs)
    assert len(watches.take_ripe(mine, 10**12)) == 2 * watches.ANCHORS_MAX - 1
