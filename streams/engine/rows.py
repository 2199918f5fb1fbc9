"""Rows: the profiles of one partition as fixed-layout binary rows that compiled code works on.

    key -> slot (`Index`) -> row of `row_bytes`         numbers, by offset
                          -> tails[slot]                a small dict, only for rows that need one

With `room`, rows that were not touched for long leave memory between checkpoints (`cold`), and come
back when somebody asks for them: one by one, a whole batch's, or those whose timers are due. In
memory or not, a row is the same bytes to the changelog, to snapshots and to whoever reads it.

The first eight bytes of a row are its *stamp*: the next input offset it has not seen, below which
nothing is taken into it. Recovery does not rest on it: rows come back exactly as of the committed
offsets, see `versions`. The bytes of a row are its changelog value and its snapshot record: a
header, the row without its zero words, the tail as JSON (`framed`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from streams.engine import framed
from streams.engine.cold import Cold, Slots, idle
from streams.engine.ground import ground
from streams.engine.index import Index
from streams.engine.room import Beside, Block, Room, view_of
from streams.kernel.errors import StateError

log = logging.getLogger(__name__)

_ROWS_FIRST = 256
_SLOT_BYTES, _TAIL_BYTES = 112, 1024       # of index and views; of a tail as Python objects
_KEY_BYTES = 32                            # of a profile id
_AT_ONCE = 4096                            # rows that are moved or looked at together

Migrate = Callable[[int, bytes, dict[str, Any]], tuple[bytes, dict[str, Any]] | None]


class Rows:
    """Rows of one partition. `layout` names what the bytes mean; `migrate` brings rows of another
    layout over (see `choose/features/migrating.py`), or answers None.

    room     limits what is in memory; None: everything is
    owner    index of the word that says by whose clock a row's timers go
    back     told of the slots of rows that are in memory again, to arm their timers
    """

    def __init__(self, *, row_bytes: int, layout: int, migrate: Migrate | None = None,
                 room: Room | None = None, owner: int = 0,
                 back: Callable[[Slots], None] = lambda slots: None) -> None:
        assert row_bytes % 8 == 0 and row_bytes >= 8
        self.row_bytes, self.layout, self._migrate = row_bytes, layout, migrate
        self._room, self.owner, self._back = room, owner, back
        self.cold: Cold | None = None
        self._is_full = False
        # Taken from the start: to grow means to copy, and for that moment to need twice as much.
        # What is not touched costs no memory.
        self.index = Index(_ROWS_FIRST, aim=0 if room is None else self._limit(room.memory_bytes))
        self.tails: dict[int, dict[str, Any]] = {}
        self.beside: Beside | None = None
        self._dropped: set[bytes] = set()
        self._ground = np.zeros((0, row_bytes), np.uint8)
        self._bytes = self._ground
        self.views = view_of(self._bytes, *(np.zeros(0, kind) for kind in (
            np.uint8, np.int64, np.uint8)))
        self._recent = np.zeros(0, np.uint8)
        self._hand = self._came = 0
        self._grow()

    def __len__(self) -> int:
        return len(self.index) + self.cold_count

    def __iter__(self) -> Iterator[bytes]:
        yield from map(self.index.key, self.index)
        if self.cold is not None:
            yield from self.cold.keys(self.cold.places())

    def __contains__(self, key: bytes) -> bool:
        return self.index.find(key) >= 0 or self._cold_place(key) >= 0

    @property
    def cold_count(self) -> int:
        """Rows that are not in memory."""
        return 0 if self.cold is None else len(self.cold)

    def reserve(self, rows: int, key_bytes: int) -> None:
        """Make room for so many more rows, before compiled code runs."""
        if self.index.reserve(rows, key_bytes):
            self._grow()

    def find(self, key: bytes) -> int | None:
        """The slot of `key`, or None."""
        self._bring_one(key)
        slot = self.index.find(key)
        return None if slot < 0 else slot

    def slot(self, key: bytes) -> int:
        """The slot of `key`; a row of zeros when it is new."""
        self._bring_one(key)
        slot = self.index.add(key)
        if self.index.capacity > len(self._bytes):
            self._grow()
        return slot

    def key(self, slot: int) -> bytes:
        return self.index.key(slot)

    def tail(self, slot: int) -> dict[str, Any]:
        """The tail of a row, to read or change."""
        return self.tails.setdefault(slot, {})

    def stamp(self, slot: int, offset: int) -> None:
        """The row now includes input `offset`; it is due for the changelog."""
        self.views.i64[slot, 0] = offset + 1
        self.views.dirty[slot] = 1

    def has_seen(self, slot: int, offset: int) -> bool:
        return bool(offset < self.views.i64[slot, 0])

    def drop(self, key: bytes) -> None:
        """Forget a row; a tombstone goes to the changelog."""
        slot = self.index.find(key)
        if slot >= 0:
            self._bytes[slot] = 0
            self.views.dirty[slot] = self.views.armed[slot] = self.views.waits[slot] = 0
            self._forget(np.array([slot]))
            self.index.remove(slot)
            self._dropped.add(key)
        elif self._forget_cold(key):
            self._dropped.add(key)

    def encode(self, key: bytes) -> bytes | None:
        """The row's bytes, or None when it was dropped (a tombstone)."""
        return self.encode_all([key])[0]

    def encode_all(self, keys: Sequence[bytes], front: bytes = b"") -> list[bytes | None]:
        """`encode` of each key; the bytes of a row behind `front`, which is whole words."""
        slots = self.index.find_all(keys)
        here = np.nonzero(slots >= 0)[0]
        rows = framed.frame_all(self.layout, self.views.i64, own := slots[here], self._said(own),
                                front)
        if len(rows) == len(keys):
            return [*rows]
        found: list[bytes | None] = [None] * len(keys)
        for n, row in zip(here.tolist(), rows, strict=True):
            found[n] = row
        if self.cold_count:
            assert self.cold is not None
            others = np.nonzero(slots < 0)[0]
            places = self.cold.find_all([keys[n] for n in others.tolist()])
            others, places = others[places >= 0], places[places >= 0]
            words, said = self.cold.read(places, self.row_bytes // 8)
            rows = framed.frame_all(self.layout, words, np.arange(len(words)), said, front)
            for n, row in zip(others.tolist(), rows, strict=True):
                found[n] = row
        return found

    def _said(self, slots: Slots) -> dict[int, bytes]:
        """The tails of those rows that have one, as they are written; by number."""
        more = {} if self.beside is None else self.beside.told(slots)
        if not self.tails and not more:
            return {}
        tails = ((n, self.tails.get(slot), more.get(slot)) for n, slot in enumerate(slots.tolist()))
        return {n: orjson.dumps({**tail, **told} if tail and told else tail or told)
                for n, tail, told in tails if tail or told}

    def _hear(self, slot: int, tail: dict[str, Any]) -> None:
        """A row was read back with this tail."""
        if self.beside is not None:
            self.beside.taken(slot, tail)
        if tail:
            self.tails[slot] = tail

    def _forget(self, slots: Slots) -> None:
        """Nothing is left of what varies in these rows."""
        if self.tails:
            for slot in slots.tolist():
                self.tails.pop(slot, None)
        if self.beside is not None:
            self.beside.forget(slots)

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take a row from the changelog; None is a tombstone.

        Raises StateError when the bytes are no row, or of a layout that cannot be brought over.
        """
        if value is None:
            self.drop(key)
            self._dropped.discard(key)
            return
        row, tail = self.read(value)
        (slot,) = self._take([key]).tolist()
        self._bytes[slot] = np.frombuffer(row, np.uint8)
        if tail:
            self._hear(slot, tail)

    def expect(self, rows: int) -> None:
        """Make room for so many rows, as far as they may be in memory: to grow is to copy."""
        if self._room is not None:
            rows = min(rows, self._limit(self._room.memory_bytes))
        self.reserve(rows, _KEY_BYTES * rows)

    def apply_plain(self, rows: Mapping[bytes, bytes], behind: int = 0) -> dict[bytes, bytes]:
        """Take rows of this layout without tails, `behind` so many bytes; returns the others."""
        keys, words, starts = framed.plain(rows, self.layout, self.row_bytes, behind)
        room = len(keys) if self._room is None else max(
            self._limit(self._room.memory_bytes) // 4, 1)
        for at in range(0, len(keys), room or 1):
            slots = self._take(keys[at:at + room])
            framed.unpack_all(words, starts[at:at + room], self.views.i64, slots)
        taken = set(keys) if len(keys) < len(rows) else rows.keys()
        return {key: value for key, value in rows.items() if key not in taken}

    def _take(self, keys: Sequence[bytes]) -> Slots:
        """Slots for rows as the changelog has them; what varies in what was here is forgotten."""
        if self._room is not None and (len(self.index) + len(keys)
                                       > self._limit(self._room.memory_bytes)):
            self.make_room(max(len(keys), _AT_ONCE))
        if self.cold is not None:      # afterwards: what they replace may have left memory just now
            places = self.cold.find_all(keys)      # not brought back: rows are taken whole
            self.cold.remove(places[places >= 0])
        new = [keys[n] for n in np.nonzero(self.index.find_all(keys) < 0)[0].tolist()]
        self.reserve(len(new), sum(map(len, new)))
        slots = self.index.add_all(keys)
        self._forget(slots)
        return slots

    def read(self, value: bytes) -> tuple[bytes, dict[str, Any]]:
        """(row, tail) of what `encode` gave, brought over to this layout. Raises StateError."""
        layout, row, tail = framed.split(value)
        if row is not None:
            if layout == self.layout and len(row) == self.row_bytes:
                return row, tail
            moved = self._migrate(layout, row, tail) if self._migrate else None
            if moved is not None:
                return moved
        raise StateError(
            f"a changelog row has layout {layout} and {len(row or b'')} bytes; this build reads "
            f"layout {self.layout} and {self.row_bytes} bytes, and the changelog does not say how "
            "the other one is laid out",
            "replay from events.admitted with an empty changelog: kairos clean --state")

    @property
    def dirty(self) -> bool:
        """True while something is due for the changelog."""
        return bool(self._dropped) or bool(self.views.dirty.any())

    def forget_dirty(self) -> None:
        """Nothing is due: rows are as the changelog has them."""
        self.views.dirty[:] = 0
        self._dropped.clear()

    def take_dirty(self) -> list[bytes]:
        """The keys due for the changelog, as their rows lie in memory, then those that are gone;
        nothing is dirty afterwards."""
        slots = np.nonzero(self.views.dirty.view(np.bool_))[0]    # of bytes it would take ten times
        due = self.index.keys(slots)
        gone = sorted(self._dropped.difference(due)) if self._dropped else []
        self._recent[slots] = 1
        self.views.dirty[slots] = 0
        self._dropped.clear()
        return due + gone

    def _grow(self) -> None:
        """As many rows as the index has slots; what there is keeps its place."""
        more = self.index.capacity - len(self._bytes)
        if more <= 0:
            return
        if self.index.capacity > len(self._ground):
            self._ground = ground(self.index.capacity, self.row_bytes)
            self._ground[:len(self._bytes)] = self._bytes
        self._bytes = self._ground[:self.index.capacity]
        self._recent = np.concatenate([self._recent, np.zeros(more, np.uint8)])
        self.views = view_of(self._bytes, *(
            np.concatenate([old, np.zeros(more, old.dtype)])
            for old in (self.views.dirty, self.views.armed, self.views.waits)))

    def bring(self, raw: npt.NDArray[np.uint8], starts: Slots, sizes: Slots) -> None:
        """Have the rows of these keys in memory, as far as there are any."""
        if self.cold_count:
            assert self.cold is not None
            self._load(self.cold, self.cold.missing(self.index.arrays, raw, starts, sizes))

    def bring_due(self, owner: int, limit_ms: int) -> None:
        """Have an owner's rows in memory whose timers come up by `limit_ms`."""
        while self.cold_count:
            assert self.cold is not None
            places = self.cold.due(owner, limit_ms, _AT_ONCE)
            if not len(places):
                return
            self._load(self.cold, places)

    def _cold_place(self, key: bytes) -> int:
        return -1 if self.cold is None else self.cold.find(key)

    def _bring_one(self, key: bytes) -> None:
        if self.cold is not None and (place := self.cold.find(key)) >= 0:
            self._load(self.cold, np.array([place], np.int64))

    def _forget_cold(self, key: bytes) -> bool:
        """True when the row was out of memory; nothing of it is left there."""
        if self.cold is None or (place := self.cold.find(key)) < 0:
            return False
        self.cold.remove(np.array([place], np.int64))
        return True

    def _load(self, cold: Cold, places: Slots) -> None:
        if not len(places):
            return
        self.reserve(len(places), cold.keys_bytes(places))
        slots, tails = cold.load(places, self.index.arrays, self.views.i64)
        for slot, tail in tails.items():
            self._hear(slot, orjson.loads(tail))
        self.views.armed[slots] = cold.armed(places)
        self._recent[slots] = 1
        cold.remove(places)
        self._came += len(places)
        self._back(slots)

    def _limit(self, memory_bytes: int) -> int:
        """How many rows may be in memory; what stands there for the others is counted as well, but
        takes no more than three quarters."""
        outside = 0 if self.cold is None else self.cold.memory_bytes
        return max(max(memory_bytes - outside, memory_bytes // 4)
                   // (self.row_bytes + _SLOT_BYTES), 1)

    def make_room(self, spare: int = 0) -> None:
        """Move rows out of memory that were not touched for long, until the rest is within what is
        allowed, and as many more as came back since the last time, or `spare`.

        Never what is due for the changelog. Nobody may hold slots meanwhile.
        """
        if self._room is None:
            return
        # What varies goes with its row: on average, each has as much.
        plain = self.row_bytes + _SLOT_BYTES
        more = len(self.tails) * _TAIL_BYTES + (self.beside.memory_bytes if self.beside else 0)
        limit = self._limit(self._room.memory_bytes)
        limit = max(limit * plain // (plain + more // max(len(self.index), 1)), 1)
        surplus = len(self.index) - limit + min(max(self._came, spare), limit // 2)
        self._came = 0
        if surplus <= 0:
            return
        found = np.zeros(min(surplus, len(self.index)), np.int64)
        self._hand, count = idle(self.index.arrays.sizes, self.views.dirty, self.views.waits,
                                 self._recent, self._hand, found)
        for start in range(0, count, _AT_ONCE):
            if not self._move_out(self._room, found[start:min(start + _AT_ONCE, count)]):
                return

    def _move_out(self, room: Room, slots: Slots) -> bool:
        tails = self._said(slots)
        said = [tails.get(n, b"") for n in range(len(slots))]
        try:
            if self.cold is None:
                self.cold = Cold(room.arena())
            self.cold.store(self.views.i64, self.index.arrays, slots, said,
                            self.views.armed[slots], self.views.i64[slots, self.owner])
        except OSError as fault:
            if not self._is_full:
                log.warning("rows stay in memory beyond what KAIROS_PROFILE_MEMORY_MB allows: the "
                            "file for those that were not touched for long cannot grow (%s); make "
                            "room on the disk of KAIROS_HOME, or in memory (ulimit -v) if that is "
                            "what it lacks", fault)
            self._is_full = True
            return False
        self._is_full = False
        self._forget(slots)
        self.index.remove_all(slots)
        self._bytes[slots] = 0
        self.views.armed[slots] = self._recent[slots] = 0
        return True

    def blocks(self) -> Iterator[Block]:
        """All rows: those in memory, then copies of the others, some at a time. `views.armed` may
        be set and counts."""
        yield Block(self.views, np.fromiter(self.index, np.int64), self.tails, True, self.index.key)
        if self.cold is None:
            return
        places = self.cold.places()
        for start in range(0, len(places), _AT_ONCE):
            block = self._copies(self.cold, some := places[start:start + _AT_ONCE])
            yield block
            self.cold.rearm(some, block.views.armed)

    def _copies(self, cold: Cold, places: Slots) -> Block:
        words, said = cold.read(places, self.row_bytes // 8)
        count, keys = len(places), cold.keys(places)
        views = view_of(words.view(np.uint8), np.zeros(count, np.uint8), cold.armed(places),
                      np.zeros(count, np.uint8))
        return Block(views, np.arange(count), {n: orjson.loads(tail) for n, tail in said.items()},
                     False, keys.__getitem__)
