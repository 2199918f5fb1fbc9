"""Absence is decided by event time: same answer in any order, for any pace of the watermark."""

from __future__ import annotations

import random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.choose import watches
from streams.choose.losing import take_lost

W = 100


def obvious(anchors: list[int], cancels: list[int]) -> set[int]:
    """The twin: an anchor fires when neither an anchor nor a cancellation follows within W."""
    return {a + W for a in anchors
            if not any(a < b <= a + W for b in anchors)
            and not any(a <= x <= a + W for x in cancels)}


@pytest.mark.parametrize("seed", range(300))
def test_a_watch_fires_exactly_where_the_obvious_twin_says(seed: int) -> None:
    dice = random.Random(seed)
    anchors = dice.sample(range(2000), dice.randrange(1, 12))
    cancels = dice.sample(range(2000), dice.randrange(0, 6))
    lateness = 50
    told = [(ms + dice.randrange(lateness), ms, kind)
            for kind, times in (("a", anchors), ("x", cancels)) for ms in times]
    kept: dict[str, Any] = {}
    fired: list[int] = []
    heard = 0
    for arrival, ms, kind in sorted(told):
        heard = max(heard, arrival)
        if kind == "a":
            watches.anchor(kept, object_id="c", event_ms=ms, within_ms=W, event_id=str(ms),
                           items=())
        else:
            watches.cancel(kept, object_id=dice.choice(["c", ""]), event_ms=ms)
        if dice.random() < 0.4:      # the watermark: nothing older than this is still to come
            fired += [r.deadline_ms for r in watches.take_ripe(kept, heard - lateness)]
    fired += [r.deadline_ms for r in watches.take_ripe(kept, 10_000)]
    assert sorted(fired) == sorted(obvious(anchors, cancels)), f"{seed=}"
    assert kept == {}


def test_what_happens_after_the_deadline_cannot_cancel() -> None:
    kept: dict[str, Any] = {}
    watches.anchor(kept, object_id="c", event_ms=0, within_ms=W, event_id="e", items=("i",))
    watches.cancel(kept, object_id="c", event_ms=W + 1)
    (ripe,) = watches.take_ripe(kept, 1000)
    assert (ripe.deadline_ms, ripe.items) == (W, ("i",))


def test_another_cart_is_not_cancelled() -> None:
    kept: dict[str, Any] = {}
    for cart in ("a", "b"):
        watches.anchor(kept, object_id=cart, event_ms=0, within_ms=W, event_id=cart, items=())
    watches.cancel(kept, object_id="a", event_ms=5)
    assert [r.object_id for r in watches.take_ripe(kept, 1000)] == ["b"]


def test_a_cancellation_without_an_object_cancels_all_of_the_person() -> None:
    kept: dict[str, Any] = {}
    for cart in ("a", "b"):
        watches.anchor(kept, object_id=cart, event_ms=0, within_ms=W, event_id=cart, items=())
    watches.cancel(kept, object_id="", event_ms=5)
    assert watches.take_ripe(kept, 1000) == []


def test_the_items_are_those_since_the_last_purchase_newest_first() -> None:
    kept: dict[str, Any] = {}
    for ms, item in ((0, "old"), (40, "first"), (60, "second")):
        watches.anchor(kept, object_id="c", event_ms=ms, within_ms=W, event_id=str(ms),
                       items=(item,))
    watches.cancel(kept, object_id="c", event_ms=20)
    (ripe,) = watches.take_ripe(kept, 1000)
    assert ripe.items == ("second", "first")


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from("xyz"), st.booleans()),
                max_size=30), st.integers(1, 4))
def test_what_a_bound_loses_is_told(story: list[tuple[int, str, bool]], bound: int) -> None:
    def play() -> tuple[set[tuple[str, int]], dict[str, int]]:
        kept: dict[str, Any] = {}
        now_ms = 0
        for step_ms, item, bought in story:
            now_ms += step_ms
            if bought:
                watches.cancel(kept, object_id=item, event_ms=now_ms)
            else:
                watches.anchor(kept, object_id=item, event_ms=now_ms, within_ms=W,
                               event_id=str(now_ms), items=())
        ripe = {(r.object_id, r.deadline_ms) for r in watches.take_ripe(kept, now_ms + 9 * W)}
        return ripe, take_lost({"p": kept})

    calm, told = play()
    with (patch.object(watches, "ANCHORS_MAX", bound), patch.object(watches, "OBJECTS_MAX", bound),
          patch.object(watches, "RIPE_MAX", bound)):
        tight, lost = play()
    assert tight <= calm and not told
    assert tight == calm or lost, f"nobody was told of {calm - tight}"


def test_memory_is_bounded_however_many_carts_a_stranger_opens() -> None:
    kept: dict[str, Any] = {}
    for i in range(500):
        watches.anchor(kept, object_id=f"c{i}", event_ms=i, within_ms=10**6, event_id="e",
                       items=("x",))
        watches.cancel(kept, object_id=f"d{i}", event_ms=i)
    assert len(kept["a"]) <= watches.OBJECTS_MAX
    assert len(kept["x"]) <= watches.OBJECTS_MAX
