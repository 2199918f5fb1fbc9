"""Absences in arrays decide, and keep, what `watches` does: on every path between the two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_world import START, event, law, playbook

from streams.choose import absences, absent, kernel, waking, watches
from streams.choose.absences import Absences, Wait
from streams.choose.features.layout import TENANT
from streams.choose.losing import take_lost
from streams.choose.program import NO_NAMES, NOTHING_TOLD, Program
from streams.choose.tables import Tables
from streams.choose.triggers import Person, nameless, on_event, on_watermark
from streams.engine.hashing import signed_hash
from streams.engine.rows import Rows
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.playbooks.model import Trigger

W = 30 * MINUTE_MS
PLAYBOOKS = (playbook(Trigger("absence", "cart_add", "purchase", W, "cart_id"), "cart"),
             playbook(Trigger("absence", "cart_add", "purchase", W, "item_id"), "item"),
             playbook(Trigger("absence", "cart_add", "cart_drop", 3 * W), "anything"))
NOBODY = Person(lambda name: None, lambda name: False)
COLUMNS = {"event_id": 0, "item_id": 1, "lines_json": 2, "cart_id": 3}

times = st.builds(lambda days, n: days * DAY_MS + n * 5 * MINUTE_MS,
                  st.sampled_from([0, 0, 0, 0, 1, 2]), st.integers(-20, 60))
told = st.tuples(
    st.sampled_from(["cart_add", "cart_add", "cart_add", "purchase", "cart_drop", "view"]),
    times, st.sampled_from(["", "x", "ÿ" * 9]),
    st.sampled_from(["", "i", "j"]), st.integers(0, 11).map(lambda n: n == 0))
looked = st.tuples(st.just("look"), times)
stored = st.tuples(st.just("store"), st.just(0))


class Store:
    """One row under the arrays, driven as the walk drives it."""

    def __init__(self) -> None:
        self.rows = Rows(row_bytes=8, layout=1)
        self.absences = Absences(self.rows)
        self.slot = self.rows.slot(b"p")
        self.waits = absences.compile_waits(
            absences.waits_of("t", PLAYBOOKS),
            [COLUMNS[name] for name in ("event_id", "item_id", "lines_json")], COLUMNS)
        self.in_force = self.absences.in_force(p.name for p in PLAYBOOKS)
        self.held = 0
        self.lost, self.nameless = set[tuple[str, int]](), set[tuple[str, int]]()

    @property
    def kept(self) -> dict[str, Any]:
        return self.rows.tail(self.slot).setdefault("w", {})

    def take(self, fields: dict[str, Any], items: tuple[str, ...]) -> None:
        batch = batch_of(fields)
        self.absences.reserve_for(self.waits, batch)
        due = absent.take(self.absences.arrays, self.waits, batch, 0, self.slot, signed_hash("t"),
                          signed_hash(fields["event_type"]), fields["event_ms"])
        if due == absent.HELD:
            self.held += 1
            self.absences.thaw(self.slot, self.kept, [p.name for p in PLAYBOOKS])
            on_event(PLAYBOOKS, self.kept, fields, items, NOBODY)
            self.lost.update((name, day_of(fields)) for name in take_lost(self.kept))
            self.nameless.update((each.name, day_of(fields))
                                 for each in nameless(PLAYBOOKS, fields, items))
            self.absences.freeze(self.slot, self.kept)
        elif due:
            assert due == self.absences.next_deadline_ms(self.slot)

    def look(self, now_ms: int) -> list[tuple[str, absences.Ripe]]:
        if self.absences.arrays.aside[self.slot]:
            self.absences.thaw(self.slot, self.kept, [p.name for p in PLAYBOOKS])
            found = ripe_of(self.kept, now_ms)
            self.absences.freeze(self.slot, self.kept)
            return found
        ripe = np.zeros((absent.NODES_MAX, absent.RIPE_WORDS), np.int64)
        count = absent.settle(self.absences.arrays, self.slot, now_ms, self.in_force, ripe, 0)
        found = [self.absences.ripe(row) for row in ripe[:count].tolist()]
        waking.give_back(self.absences.arrays, ripe, count)
        return found

    def stored(self) -> Store:
        """The same row as its next owner reads it."""
        other, value = Store(), self.rows.encode(b"p")
        other.rows.apply(b"p", value)
        assert other.rows.encode(b"p") == value
        return other

    def everything(self) -> dict[str, Any]:
        kept = dict(self.kept)
        self.absences.thaw(self.slot, kept, [p.name for p in PLAYBOOKS])
        return kept


def batch_of(fields: dict[str, Any]) -> kernel.Batch:
    texts = [str(fields.get(name, "")).encode() for name in COLUMNS]
    sizes = np.array([[len(text) for text in texts]], np.int32)
    starts = np.cumsum([0, *sizes[0, :-1]])[None, :].astype(np.int64)
    none = np.zeros(1, np.int64)
    return kernel.Batch(np.frombuffer(b"".join(texts) + b"\0", np.uint8), starts,
                        starts.view(np.float64), sizes, np.ones(1, np.bool_), none,
                        none.view(np.uint64), none, none, NO_NAMES, 0, NOTHING_TOLD)


def ripe_of(kept: dict[str, Any], now_ms: int) -> list[tuple[str, absences.Ripe]]:
    moments = on_watermark(PLAYBOOKS, kept, now_ms, 0)
    return [(m.playbook.name, absences.Ripe(m.object_id, m.evidence["at_ms"], m.moment_ms,
                                            m.event_id, m.items)) for m in moments]


def in_words(kept: dict[str, Any]) -> Any:
    """What is kept, whatever order it lies in."""
    return {name: {part: sorted(map(repr, told.items())) if isinstance(told, dict) else told
                   for part, told in own.items()} for name, own in kept.items()}


def day_of(fields: dict[str, Any]) -> int:
    return int(fields["event_ms"]) // DAY_MS


def test_a_flood_of_events_without_their_object_is_told_once_a_day_and_stays_in_arrays() -> None:
    store = Store()
    for number in range(500):
        at_ms = START + number * 2 * HOUR_MS
        store.take(event(number, "cart_add", at_ms, item_id="i"), ("i",))
        store.look(at_ms + 2 * W)
    days = {(START + number * 2 * HOUR_MS) // DAY_MS for number in range(500)}
    assert store.held == len(days) and store.nameless == {("cart", day) for day in days}


def test_another_day_without_objects_is_told_whichever_was_told_last() -> None:
    """Two playbooks miss theirs on each: what differs must not cancel out."""
    first = START // DAY_MS
    for day in range(first + 1, first + 200):
        for other in (day - 1, day - 2, first):
            store = Store()
            for number, at in enumerate((other, day)):
                store.take(event(number, "cart_add", at * DAY_MS), ())
            assert store.nameless == {(name, at) for name in ("cart", "item")
                                      for at in (other, day)}


def order(found: list[tuple[str, absences.Ripe]]) -> list[Any]:
    return sorted((name, r.deadline_ms, r.object_id, r.anchor_ms, r.event_id, r.items)
                  for name, r in found)


@law(600)
@given(story=st.lists(st.one_of(told, told, told, looked, stored), max_size=60))
def test_arrays_and_dicts_decide_and_keep_the_same(story: list[tuple[Any, ...]]) -> None:
    store, twin = Store(), dict[str, Any]()
    told, lost = set[tuple[str, int]](), set[tuple[str, int]]()
    for number, (kind, ms, *rest) in enumerate(story):
        if kind == "look":
            assert order(store.look(START + ms)) == order(ripe_of(twin, START + ms))
        elif kind == "store":
            told |= store.lost | store.nameless
            store = store.stored()
        else:
            cart, item, several = rest
            items = ("k", "l") if several else (item,) if item else ()
            fields = event(number, kind, START + ms, cart_id=cart, item_id=item,
                           lines_json='[["k",2,3],["l",1,1]]' if several else "")
            on_event(PLAYBOOKS, twin, fields, items, NOBODY)
            lost.update((name, day_of(fields)) for name in take_lost(twin))
            lost.update((each.name, day_of(fields)) for each in nameless(PLAYBOOKS, fields, items))
            store.take(fields, items)
    assert in_words(store.everything()) == in_words(twin)
    assert told | store.lost | store.nameless == lost, "arrays tell each day of each loss, too"


@pytest.mark.parametrize("first", [-1, 0, 1, 2])
@pytest.mark.parametrize("second", [-1, 0, 1, 2])
def test_the_edges_of_what_is_too_late_are_the_same(first: int, second: int) -> None:
    """A purchase more than a day later ends what was kept of the first: and what comes from before
    then is no longer taken."""
    store, twin = Store(), dict[str, Any]()
    story = [("purchase", 0), ("purchase", watches.LATE_MS + first), ("cart_add", second - 1),
             ("cart_add", 5 * W), ("look", second), ("cart_add", second)]
    for number, (kind, ms) in enumerate(story):
        if kind == "look":
            assert order(store.look(START + ms)) == order(ripe_of(twin, START + ms))
        else:
            fields = event(number, kind, START + ms, cart_id="x", item_id="i")
            on_event(PLAYBOOKS, twin, fields, ("i",), NOBODY)
            take_lost(twin)
            store.take(fields, ("i",))
        assert in_words(store.stored().everything()) == in_words(twin)
    assert (store.held > 0) == bool(store.lost)


def test_what_fits_is_kept_in_arrays_and_what_does_not_comes_back_when_it_does() -> None:
    store = Store()
    for number in range(30):
        store.take(event(number, "cart_add", START + number, cart_id="x", item_id="i"), ("i",))
    assert store.held > 0 and store.kept and store.absences.arrays.heads[store.slot] < 0
    assert len(store.look(START + DAY_MS)) == 3
    store.take(event(99, "cart_add", START + 2 * DAY_MS, cart_id="x", item_id="i"), ("i",))
    assert not store.kept and absent.count_of(store.absences.arrays, store.slot) == 3


def test_room_that_was_given_back_is_used_again() -> None:
    store = Store()
    for number in range(5_000):
        store.take(event(number, "cart_add", START + number * HOUR_MS, cart_id="x",
                         item_id="i"), ("i",))
        store.look(START + number * HOUR_MS + 2 * W)
    assert len(store.absences.arrays.nodes) < 500 and len(store.absences.arrays.texts) < 20_000


def crowd(count: int) -> tuple[Program, Tables, np.ndarray]:
    """People who each wait with one cart, armed as the kernel arms them."""
    program = Program((), ())
    found = program.tables()
    found.knows("t")
    waits = absences.compile_waits([Wait("t", "cart", "cart_add", "purchase", "", W)], [0, 1, 2],
                                   COLUMNS)
    for number in range(count):
        slot = found.people.slot(b"p%d" % number)
        found.people.views.i64[slot, TENANT] = signed_hash("t")
        batch = batch_of(event(number, "cart_add", START + number))
        found.absences.reserve_for(waits, batch)
        due = absent.take(found.absences.arrays, waits, batch, 0, slot, signed_hash("t"),
                          signed_hash("cart_add"), START + number)
        found.timers("t").arm(slot, int(due))
    return program, found, found.absences.in_force(["cart"])


def woken(program: Program, found: Tables, in_force: np.ndarray, limit_ms: int,
          stamp: int) -> list[waking.Woken]:
    return list(waking.woken(program, found, "t", in_force, limit_ms=limit_ms,
                             unseen_below=stamp, stamp=stamp))


def test_pending_timers_are_one_entry_each_and_nobody_looks_at_them_before_their_time() -> None:
    program, found, in_force = crowd(2_000)
    assert len(found.timers("t")) == 2_000
    assert woken(program, found, in_force, START + W - 1, 1) == []
    assert len(found.timers("t")) == 2_000 and not found.people.views.dirty.any()
    last = woken(program, found, in_force, START + W + 1_999, 2)
    assert [each.moment_ms for each in last] == [START + W + n for n in range(2_000)]
    assert len(found.timers("t")) == 0


def test_after_an_outage_whoever_bought_in_time_is_settled_without_a_word() -> None:
    program, found, in_force = crowd(50)
    waits = absences.compile_waits([Wait("t", "cart", "cart_add", "purchase", "", W)], [0, 1, 2],
                                   COLUMNS)
    for number in range(0, 50, 2):
        batch = batch_of(event(number, "purchase", START + W))
        found.absences.reserve_for(waits, batch)
        absent.take(found.absences.arrays, waits, batch, 0, found.people.slot(b"p%d" % number),
                    signed_hash("t"), signed_hash("purchase"), START + W)
    ripe = woken(program, found, in_force, START + 5 * HOUR_MS, 1)
    assert sorted(found.people.key(each.slot) for each in ripe) == sorted(
        b"p%d" % number for number in range(1, 50, 2))
    assert woken(program, found, in_force, START + 9 * HOUR_MS, 2) == []


def test_what_a_playbook_kept_goes_when_nobody_asks_for_it_any_more() -> None:
    program, found, _ = crowd(3)
    assert woken(program, found, found.absences.in_force([]), START + DAY_MS, 1) == []
    assert (found.absences.arrays.heads[:3] < 0).all()


def test_people_of_one_moment_come_in_the_order_of_their_keys() -> None:
    program, found, in_force = crowd(0)
    waits = absences.compile_waits([Wait("t", "cart", "cart_add", "purchase", "", W)], [0, 1, 2],
                                   COLUMNS)
    for key in (b"c", b"a", b"b"):
        slot, batch = found.people.slot(key), batch_of(event(1, "cart_add", START))
        found.people.views.i64[slot, TENANT] = signed_hash("t")
        found.absences.reserve_for(waits, batch)
        due = absent.take(found.absences.arrays, waits, batch, 0, slot, signed_hash("t"),
                          signed_hash("cart_add"), START)
        found.timers("t").arm(slot, int(due))
    assert [found.people.key(each.slot) for each in
            woken(program, found, in_force, START + W, 1)] == [b"a", b"b", b"c"]
