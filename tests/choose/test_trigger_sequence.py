"""Sequences: the same matches in any order, at any pace of the watermark, as the obvious twin."""

from __future__ import annotations

import random
from itertools import combinations, pairwise
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_world import START, World, event, facts, items_of, law, playbook, shuffled

from streams.choose.losing import take_lost
from streams.choose.triggers import sequence
from streams.choose.triggers.moment import OBJECTS_MAX
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.playbooks.model import Step, Trigger

W, LATE = 100, 60
SHAPES = {
    "a b": (Step("a"), Step("b")),
    "a a": (Step("a"), Step("a")),
    "a b !c d": (Step("a"), Step("b"), Step("c", True), Step("d")),
    "a !c b": (Step("a"), Step("c", True), Step("b")),
    "a !a b": (Step("a"), Step("a", True), Step("b")),
    "a b !c": (Step("a"), Step("b"), Step("c", True)),
    "a !c !d": (Step("a"), Step("c", True), Step("d", True)),
    "a b !c b !d": (Step("a"), Step("b"), Step("c", True), Step("b"), Step("d", True)),
}


def trigger_of(steps: tuple[Step, ...], per: Any = "", within_ms: int = W) -> Trigger:
    return Trigger("sequence", "b", within_ms=within_ms, per=per, steps=steps)


def obvious(steps: tuple[Step, ...], heard: list[tuple[int, str, str]]) -> set[tuple[int, str]]:
    """Twin: try every choice of events. `heard`: (ms, id, type). -> {(due_ms, id of the last)}"""
    wanted = [step.event for step in steps if not step.absent]
    forbidden: list[set[str]] = [set()]
    for step in steps:
        if step.absent:
            forbidden[-1].add(step.event)
        else:
            forbidden.append(set())
    closing, heard, found, used = forbidden[-1], sorted(heard), set(), (-1, "")

    def clean(a: tuple[int, str, str], b: tuple[int, str, str], stage: set[str]) -> bool:
        return not any(a < x < b and x[2] in stage for x in heard)

    while True:
        fresh = [each for each in heard if each[:2] > used]
        matches = [choice for choice in combinations(fresh, len(wanted))
                   if [each[2] for each in choice] == wanted
                   and choice[-1][0] <= choice[0][0] + W
                   and all(clean(a, b, forbidden[n + 1])
                           for n, (a, b) in enumerate(pairwise(choice)))]
        if not closing:
            due = [(choice[-1][0], choice[-1]) for choice in matches]
        else:                    # what is neither forbidden nor overtaken until its window is over
            due = [(choice[0][0] + W, choice[-1]) for choice in matches
                   if not any(x > choice[-1] and x[0] <= choice[0][0] + W and x[2] in closing
                              for x in heard)
                   and not any(other[-1] > choice[-1] and other[-1][0] <= choice[0][0] + W
                               for other in matches)
                   and not any(other[-1] == choice[-1] and other[0] > choice[0]
                               for other in matches)]
        if not due:
            return found
        due_ms, last = min(due)
        found.add((due_ms, last[1]))
        used = last[:2]


TIMES = st.integers(0, 40).map(lambda n: 10 * n)      # coarse: limits are met exactly
stories = st.lists(st.tuples(TIMES, st.sampled_from("aabbccd")), max_size=12)


@pytest.mark.parametrize("name", SHAPES)
@law(150)
@given(story=stories, seed=st.integers(0, 10**6))
def test_matches_are_those_of_the_obvious_twin_in_any_order(
        name: str, story: list[tuple[int, str]], seed: int) -> None:
    events = [event(n, kind, START + ms) for n, (ms, kind) in enumerate(story)]
    world = World(playbook(trigger_of(SHAPES[name])))
    shuffled(world, events, random.Random(seed), LATE, START + DAY_MS)
    twin = obvious(SHAPES[name], [(e["event_ms"], e["event_id"], e["event_type"])
                                  for e in events])
    assert {(m.moment_ms, m.event_id) for m in world.moments} == twin
    assert len(world.moments) == len(twin)


long_stories = st.lists(st.tuples(st.integers(0, 600).map(lambda n: 10 * n),
                                  st.sampled_from("aabbccd")), max_size=20)


@pytest.mark.parametrize("name", SHAPES)
@law(150)
@given(story=long_stories, seed=st.integers(0, 10**6))
def test_somebody_of_whom_much_is_told_before_the_watermark_comes_loses_no_match(
        name: str, story: list[tuple[int, str]], seed: int) -> None:
    events = [event(n, kind, START + ms) for n, (ms, kind) in enumerate(story)]
    world = World(playbook(trigger_of(SHAPES[name])))
    with patch.object(sequence, "LATE_MS", LATE):
        shuffled(world, events, random.Random(seed), LATE, START + DAY_MS, behind_ms=8000)
    twin = obvious(SHAPES[name], [(e["event_ms"], e["event_id"], e["event_type"])
                                  for e in events])
    assert {(m.moment_ms, m.event_id) for m in world.moments} == twin
    assert len(world.moments) == len(twin) and "r" not in world.kept.get("p", {})


def test_a_history_that_is_weeks_ahead_of_the_watermark_has_all_its_moments() -> None:
    steps = (Step("checkout_start"), Step("purchase", True))
    world = World(playbook(trigger_of(steps, within_ms=20 * MINUTE_MS)))
    for day in range(40):
        world.tell(event(day, "checkout_start", START + day * DAY_MS))
    found = world.reach(START + 50 * DAY_MS)
    assert [m.event_id for m in found] == [f"e{day}" for day in range(40)]


objects = st.lists(st.tuples(TIMES, st.sampled_from("aabbcc"),
                             st.lists(st.sampled_from("xyz"), max_size=2, unique=True)),
                   max_size=14)


@law(150)
@given(story=objects, seed=st.integers(0, 10**6), closing=st.booleans())
def test_objects_do_not_mix_and_what_names_none_forbids_for_all(
        story: list[tuple[int, str, list[str]]], seed: int, closing: bool) -> None:
    steps = SHAPES["a b !c" if closing else "a !c b"]
    events = [event(n, kind, START + ms, items=tuple(items))
              for n, (ms, kind, items) in enumerate(story)]
    world = World(playbook(trigger_of(steps, "item_id")))
    shuffled(world, events, random.Random(seed), LATE, START + DAY_MS)
    for item in "xyz":
        own = [(e["event_ms"], e["event_id"], e["event_type"]) for e in events
               if item in items_of(e) or (e["event_type"] == "c" and not items_of(e))]
        assert {(m.moment_ms, m.event_id) for m in world.moments if m.object_id == item} == (
            obvious(steps, own)), item


@law(50)
@given(story=objects, seeds=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_evidence_and_items_are_the_same_in_any_order(
        story: list[tuple[int, str, list[str]]], seeds: tuple[int, int]) -> None:
    events = [event(n, kind, START + ms, items=tuple(items))
              for n, (ms, kind, items) in enumerate(story)]
    found = [facts(shuffled(World(playbook(trigger_of(SHAPES["a b !c"]))), events,
                            random.Random(seed), LATE, START + DAY_MS)) for seed in seeds]
    assert found[0] == found[1]


def test_a_match_names_its_events_and_its_items() -> None:
    steps = (Step("product_view"), Step("product_view"), Step("purchase", True), Step("cart_add"))
    world = World(playbook(trigger_of(steps, "item_id", HOUR_MS)))
    for number, kind in enumerate(["product_view", "product_view", "cart_add"]):
        world.tell(event(number, kind, START + number * MINUTE_MS, item_id="mug"))
    assert world.reach(START + 2 * MINUTE_MS - 1) == []
    (found,) = world.reach(START + 2 * MINUTE_MS)
    assert (found.moment_ms, found.event_id, found.object_id, found.items) == (
        START + 2 * MINUTE_MS, "e2", "mug", ("mug",))
    assert [step["event_id"] for step in found.evidence["steps"]] == ["e0", "e1", "e2"]
    assert found.evidence["without"] == ["purchase"] and world.kept == {}


def test_a_purchase_of_several_items_forbids_for_each_of_them() -> None:
    world = World(playbook(trigger_of((Step("cart_add"), Step("purchase", True)), "item_id")))
    for number, item in enumerate(["mug", "cup", "pot"]):
        world.tell(event(number, "cart_add", START + number, item_id=item))
    world.tell(event(4, "purchase", START + 9, item_id="mug", items=("mug", "cup")))
    assert [m.object_id for m in world.reach(START + DAY_MS)] == ["pot"]


@given(st.lists(st.tuples(st.integers(0, 90), st.sampled_from("aabbc"), st.integers(0, 40)),
                min_size=100, max_size=300), st.integers(0, 10**6), st.sampled_from([2, 40]))
@law(40)
def test_a_stranger_who_does_a_great_deal_is_bounded_and_nothing_is_invented(
        story: list[tuple[int, str, int]], seed: int, count: int) -> None:
    steps = SHAPES["a !c b"]
    events = [event(n, kind, START + ms, item_id=f"i{item % count}" if item < 40 else "")
              for n, (ms, kind, item) in enumerate(story)]
    world = World(playbook(trigger_of(steps, "item_id")))
    shuffled(world, events, random.Random(seed), 200, START - 1)
    kept = world.kept.get("p", {}).get("e", {})
    assert len(kept) <= OBJECTS_MAX + 1
    assert all(len(each) <= sequence.EVENTS_MAX for each in kept.values())
    world.reach(START + DAY_MS)
    for m in world.moments:
        first, last = (s["at_ms"] for s in m.evidence["steps"])
        between = [e for e in events if (first, m.evidence["steps"][0]["event_id"])
                   < (e["event_ms"], e["event_id"]) < (last, m.event_id)]
        assert not any(e["event_type"] == "c" and e["item_id"] in ("", m.object_id)
                       for e in between)


@pytest.mark.parametrize("name", SHAPES)
@law(60)
@given(story=objects, seed=st.integers(0, 10**6))
def test_what_a_bound_loses_is_told(name: str, story: list[tuple[int, str, list[str]]],
                                    seed: int) -> None:
    def play() -> World:
        world = World(playbook(trigger_of(SHAPES[name], "item_id")))
        shuffled(world, [event(n, kind, START + ms, item_id="".join(items[:1]))
                         for n, (ms, kind, items) in enumerate(story)],
                 random.Random(seed), 200, START + DAY_MS)
        return world

    calm = play()
    with (patch.object(sequence, "EVENTS_MAX", 2), patch.object(sequence, "OBJECTS_MAX", 1),
          patch.object(sequence, "RIPE_MAX", 1)):
        tight = play()
    missed = {(m.moment_ms, m.object_id) for m in calm.moments} - {
        (m.moment_ms, m.object_id) for m in tight.moments}
    assert not take_lost(calm.kept)
    assert not missed or take_lost(tight.kept), f"nobody was told of {missed}"


def test_the_window_closes_with_its_last_millisecond() -> None:
    for last_ms, matches in ((W, 1), (W + 1, 0)):
        world = World(playbook(trigger_of(SHAPES["a b"])))
        world.tell(event(0, "a", START))
        world.tell(event(1, "b", START + last_ms))
        assert len(world.reach(START + DAY_MS)) == matches
