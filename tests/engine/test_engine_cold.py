"""Rows that leave memory and come back are the rows they were, to everybody who asks."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streams.adapters.spilling import SpillFile
from streams.engine.cold import Cold
from streams.engine.deadlines import Deadlines, pop
from streams.engine.room import Room
from streams.engine.rows import Rows

ROW_BYTES, OWNER = 2 * 8 * 70, 1         # more words than one bit map has bits
TENANTS = (11, -22)


class Memory:
    """An arena that can be looked into."""

    def __init__(self) -> None:
        self.held = np.zeros(0, np.uint8)

    def grow(self, size: int) -> npt.NDArray[np.uint8]:
        grown = np.zeros(size, np.uint8)
        grown[:len(self.held)] = self.held
        self.held = grown
        return grown


def rows(memory_rows: int = 0, arena: Any = None) -> Rows:
    room = None
    if memory_rows:
        arena = Memory() if arena is None else arena
        room = Room(memory_rows * (ROW_BYTES + 112), lambda: arena)
    return Rows(row_bytes=ROW_BYTES, layout=7, room=room, owner=OWNER)


def timers_of(some: Rows, tenants: Sequence[int] = TENANTS) -> dict[int, Deadlines]:
    timers = {tenant: Deadlines(some, tenant) for tenant in tenants}

    def back(slots: npt.NDArray[np.int64]) -> None:
        for slot in slots.tolist():
            if some.views.armed[slot]:
                timers[int(some.views.i64[slot, OWNER])].push(
                    some.views.armed[[slot]], np.array([slot]))

    some._back = back
    return timers


def due(some: Rows, timers: Deadlines, limit_ms: int) -> Iterator[tuple[int, int]]:
    """(moment, slot) of what is due by `limit_ms`, by moment and then by key; the caller arms a row
    again before it takes the next. Choose wakes people like this, in compiled code."""
    timers.bring(limit_ms)
    while timers.count and timers.heap[0, 0] <= limit_ms:
        moment, slots = int(timers.heap[0, 0]), list[int]()
        while timers.count and timers.heap[0, 0] == moment:
            slot = int(timers.heap[0, 1])
            pop(timers.heap, timers.count)
            timers.count -= 1
            if (some.views.armed[slot] == moment
                    and some.views.i64[slot, OWNER] == timers.owner):
                some.views.armed[slot] = 0
                slots.append(slot)
        for slot in sorted(slots, key=some.key):
            yield moment, slot


class Life:
    """Some people's rows; `dice` of the same seed do the same to rows with any memory."""

    def __init__(self, some: Rows, seed: int) -> None:
        self.rows, self.timers, self.dice = some, timers_of(some), random.Random(seed)
        self.told: list[Any] = []
        self.now_ms = 1_600_000_000_000

    def step(self) -> None:
        dice, key = self.dice, b"person-%d" % self.dice.randrange(40) * self.dice.choice((1, 1, 4))
        what = dice.randrange(9)
        if what < 4:
            self._change(key)
        elif what == 4:
            self.rows.drop(key)
        elif what == 5:
            self.told.append((key, self.rows.encode(key), key in self.rows, len(self.rows)))
        elif what == 6:
            self._wake()
        elif what == 7:
            changed = sorted(self.rows.take_dirty())      # in memory they lie otherwise
            self.told.append([(each, self.rows.encode(each)) for each in changed])
            self.rows.make_room()
        else:
            raw = np.frombuffer(key, np.uint8)
            self.rows.bring(raw, np.array([0]), np.array([len(raw)]))

    def _change(self, key: bytes) -> None:
        slot = self.rows.slot(key)
        words = self.rows.views.i64[slot]
        for _ in range(self.dice.randrange(6)):
            words[2 + self.dice.randrange(len(words) - 2)] = self.dice.choice((0, -1, 2**62))
        if not words[OWNER]:
            words[OWNER] = self.dice.choice(TENANTS)
        tail = self.rows.tail(slot)
        tail["n"] = tail.get("n", 0) + 1
        if self.dice.random() < 0.5:
            self.rows.tails.pop(slot)
        self.rows.stamp(slot, self.dice.randrange(99))
        if self.dice.random() < 0.5:
            self.timers[int(words[OWNER])].arm(slot, self.now_ms + self.dice.randrange(1, 90_000))

    def _wake(self) -> None:
        self.now_ms += self.dice.randrange(30_000)
        for moment, slot in due(
                self.rows, self.timers[self.dice.choice(TENANTS)], self.now_ms):
            self.told.append((moment, self.rows.key(slot)))
            if self.dice.random() < 0.3:
                self.timers[int(self.rows.views.i64[slot, OWNER])].arm(slot, moment + 7_000)

    def all(self) -> dict[bytes, bytes | None]:
        return {key: self.rows.encode(key) for key in self.rows}


@pytest.mark.parametrize("seed", range(30))
def test_with_little_memory_everything_is_as_with_enough(seed: int) -> None:
    small, large = Life(rows(3), seed), Life(rows(), seed)
    cold = 0
    for _ in range(400):
        small.step()
        large.step()
        cold = max(cold, small.rows.cold_count)
    assert small.told == large.told and small.all() == large.all()
    assert len(small.rows) == len(large.rows) and cold > 10


def fill(some: Rows, count: int, prefix: bytes = b"key-") -> None:
    for n in range(count):
        slot = some.slot(prefix + b"%d" % n)
        some.views.i64[slot, 3:9] = 0x5ECCE7_5ECCE7
        some.stamp(slot, n)


def test_what_is_due_for_the_changelog_stays_in_memory() -> None:
    some = rows(3)
    fill(some, 50)
    some.make_room()
    assert some.cold_count == 0 and sorted(some.take_dirty()) == sorted(some)
    fill(some, 2)
    some.make_room()
    assert some.cold_count == 48 - 1 and set(some.take_dirty()) == {b"key-0", b"key-1"}


def test_a_row_that_is_dropped_is_not_found_in_the_arena_and_does_not_come_back() -> None:
    arena = Memory()
    some = rows(1, arena)
    fill(some, 20)
    some.take_dirty()
    some.make_room()
    assert some.cold_count == 19 and b"key-7" in arena.held.tobytes()
    for key in list(some):
        some.drop(key)
    assert some.encode(b"key-7") is None and some.find(b"key-7") is None and len(some) == 0
    assert len(some.take_dirty()) == 20 and b"key-" not in arena.held.tobytes()
    assert (0x5ECCE7_5ECCE7).to_bytes(8, "little") not in arena.held.tobytes()


def test_the_changelog_s_word_replaces_a_row_that_is_out_of_memory() -> None:
    some, other = rows(1), rows()
    fill(some, 20)
    some.take_dirty()
    some.make_room()
    other.views.i64[other.slot(b"key-7"), 5] = 1
    some.apply(b"key-7", other.encode(b"key-7"))
    assert some.encode(b"key-7") == other.encode(b"key-7") and len(some) == 20
    some.apply(b"key-8", None)
    assert some.encode(b"key-8") is None and not some.dirty


def test_more_rows_than_memory_holds_are_recovered() -> None:
    source, some = rows(), rows(10)
    fill(source, 500)
    for key in source:
        some.apply(key, source.encode(key))
        assert len(some.index) <= 11
    assert {key: some.encode(key) for key in some} == {key: source.encode(key) for key in source}


@pytest.mark.parametrize("seed", range(10))
def test_the_changelog_is_taken_in_the_same_with_little_memory(seed: int) -> None:
    """Rows of a person again and again, tombstones between them; some together, some alone."""
    some, other, dice = rows(4), rows(), random.Random(seed)
    for _ in range(60):
        found = dict[bytes, bytes]()
        for _ in range(dice.randrange(1, 9)):
            source = rows()
            key = b"%d" % dice.randrange(20)
            source.views.i64[source.slot(key), 2:9] = dice.randrange(10**9)
            if dice.random() < 0.2:
                source.tail(source.slot(key))["n"] = dice.randrange(99)
            found[key] = source.encode(key) or b""
        gone = b"%d" % dice.randrange(20)
        for each in (some, other):
            for key, value in each.apply_plain(found).items():
                each.apply(key, value)
            each.apply(gone, None)
        assert {key: some.encode(key) for key in some} == {
            key: other.encode(key) for key in other}
        assert len(some) == len(list(some)) == len(other)
    assert some.cold_count > 0


def test_records_that_were_left_are_used_again() -> None:
    some = rows(2)
    fill(some, 200)
    some.take_dirty()
    some.make_room()
    assert some.cold is not None
    used = some.cold.disk_bytes
    for _ in range(20):
        for n in range(100):
            some.slot(b"key-%d" % n)
        some.make_room()
    assert some.cold.disk_bytes < 1.02 * used and len(some) == 200


def test_rows_touched_of_late_stay_and_others_go() -> None:
    some = rows(40)
    fill(some, 40)
    some.take_dirty()
    for n in range(200):
        for hot in range(5):
            some.stamp(some.slot(b"key-%d" % hot), n)
        some.stamp(some.slot(b"new-%d" % n), n)
        some.take_dirty()
        some.make_room()
    assert all(some.index.find(b"key-%d" % hot) >= 0 for hot in range(5)) and some.cold_count > 150


def test_many_timers_of_two_clocks_come_up_once_each_in_order() -> None:
    some, dice = rows(50), random.Random(1)
    timers = timers_of(some)
    pending: dict[int, list[tuple[int, bytes]]] = {tenant: [] for tenant in TENANTS}
    for n in range(5_000):
        key, tenant = b"%d" % n, dice.choice(TENANTS)
        slot, moment = some.slot(key), 1_600_000_000_000 + dice.randrange(10**9)
        some.views.i64[slot, OWNER] = tenant
        timers[tenant].arm(slot, moment)
        pending[tenant].append((moment, key))
        some.make_room()
    assert some.cold_count > 4_900
    for share in (0, 1, 10, 500, 10**9):
        for tenant in TENANTS:
            limit = 1_600_000_000_000 + share * 10**6
            expected = sorted(each for each in pending[tenant] if each[0] <= limit)
            found = [(moment, some.key(slot)) for moment, slot in due(some, timers[tenant], limit)]
            assert sorted(found) == expected and [m for m, _ in found] == [m for m, _ in expected]
            pending[tenant] = [each for each in pending[tenant] if each[0] > limit]
            some.make_room()
    assert len(timers[TENANTS[0]]) + len(timers[TENANTS[1]]) == 0


def test_of_more_tenants_than_are_told_apart_every_timer_comes_up() -> None:
    some = rows(5)
    tenants = list(range(1, 1_201))
    timers = timers_of(some, tenants)
    for tenant in tenants:
        slot = some.slot(b"%d" % tenant)
        some.views.i64[slot, OWNER] = tenant
        timers[tenant].arm(slot, 1_600_000_000_000 + tenant)
        some.make_room()
    assert some.cold_count > 1_190
    found = [some.key(slot) for tenant in tenants
             for _, slot in due(some, timers[tenant], 1_600_000_000_000 + tenant)]
    assert found == [b"%d" % tenant for tenant in tenants]


def test_a_slot_that_is_another_tenant_s_now_does_not_come_up_by_the_clock_before() -> None:
    """Both are up at the same moment, as windows end at the same for everybody."""
    some, moment, slots = rows(1), 1_600_000_000_000, list[int]()
    timers = timers_of(some)
    for tenant, key in zip(TENANTS, (b"one", b"other"), strict=True):
        slot = some.slot(key)
        some.views.i64[slot, OWNER] = tenant
        timers[tenant].arm(slot, moment)
        slots.append(slot)
        some.slot(b"a third")
        some.make_room()
    assert slots[0] == slots[1] and some.cold_count > 0
    found = {tenant: [some.key(slot) for _, slot in due(some, timers[tenant], moment)]
             for tenant in TENANTS}
    assert found == dict(zip(TENANTS, ([b"one"], [b"other"]), strict=True))


@contextmanager
def at_most(size: int, what: int) -> Iterator[None]:
    before = resource.getrlimit(what)
    resource.setrlimit(what, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


def test_with_a_full_disk_rows_stay_in_memory_and_it_is_said_once(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    some = rows(2, SpillFile(tmp_path))
    fill(some, 100)
    some.take_dirty()
    with at_most(4096, resource.RLIMIT_FSIZE):
        some.make_room()
        some.make_room()
    assert some.cold_count == 0 and len(some.index) == 100
    (said,) = [record.getMessage() for record in caplog.records]
    assert "KAIROS_PROFILE_MEMORY_MB" in said and "make room on the disk" in said
    some.make_room()
    some.make_room()
    assert some.cold_count > 90 and len(some) == 100


def test_a_file_that_could_not_be_mapped_is_asked_again_and_loses_nothing(tmp_path: Path) -> None:
    file, large = SpillFile(tmp_path), 1 << 28
    file.grow(4096)[:] = 7
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    with at_most(mapped + large // 2, resource.RLIMIT_AS):
        for _ in range(2):
            with pytest.raises(OSError, match="Cannot allocate memory"):
                file.grow(large)
    held = file.grow(large)
    assert len(held) == large and held[:4096].min() == 7 and not held[4096:].any()


def test_a_file_that_grows_keeps_what_it_holds_and_has_no_name(tmp_path: Path) -> None:
    some, twin = rows(2, SpillFile(tmp_path / "state")), rows()
    for each in (some, twin):
        fill(each, 20_000)
    some.take_dirty()
    some.make_room()
    assert some.cold is not None and some.cold.disk_bytes > 2 << 20
    assert [some.encode(b"key-%d" % n) for n in range(0, 20_000, 997)] == [
        twin.encode(b"key-%d" % n) for n in range(0, 20_000, 997)]
    assert list((tmp_path / "state").iterdir()) == []


def test_rows_of_a_few_events_take_a_fraction_of_their_size() -> None:
    some = rows(1)
    fill(some, 1000)
    some.take_dirty()
    some.make_room()
    assert isinstance(some.cold, Cold) and some.cold.disk_bytes / 999 < 0.25 * ROW_BYTES
    assert some.cold.memory_bytes / 999 < 100


def test_rows_come_behind_what_is_asked_for_wherever_they_are() -> None:
    some, front = rows(3), b"8 bytes!"
    fill(some, 20)
    for n in (2, 19):
        some.tail(some.slot(b"key-%d" % n))["n"] = n
    some.take_dirty()
    some.make_room()
    some.slot(b"key-19")
    assert 0 < some.cold_count < 20
    keys = [b"nobody", *some, b"nobody else"]
    alone = [some.encode(key) for key in keys]
    assert some.encode_all(keys) == alone and alone[0] is None
    assert some.encode_all(keys, front) == [None if row is None else front + row for row in alone]
    assert sum(row is not None and row.endswith(b"}") for row in alone) == 2


def test_what_is_due_is_told_once_and_what_is_gone_last() -> None:
    some = rows()
    fill(some, 6)
    for key in (b"key-4", b"key-1", b"key-2"):
        some.drop(key)
    some.stamp(some.slot(b"key-2"), 7)                   # it is back
    due = some.take_dirty()
    assert sorted(due) == sorted({*some, b"key-4", b"key-1"})
    assert due[-2:] == [b"key-1", b"key-4"] and some.encode(b"key-1") is None
    assert some.take_dirty() == []
