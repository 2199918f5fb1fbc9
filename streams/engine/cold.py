"""Cold: rows that nobody touched for long, in the blocks of an arena (a file), see `packing`.

    hash of the key -> place -> block -> record

The arena is a cache, and empty at the start: the truth is the changelog. In memory stand, per row,
hash, block, whose row it is and when its timer comes up: 18 bytes a place, a quarter to two thirds
of the places used. Keys are compared in the arena. What a row leaves is wiped, so that an erased
person's bytes are not found there either, and used again for a record of as many blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.engine.compiling import compiled
from streams.engine.hashing import hash64, joined
from streams.engine.index import find
from streams.engine.packing import (
    ARMED,
    BLOCK,
    BLOCKS,
    HEADER_BYTES,
    KEY,
    blocks_of,
    load_all,
    read_all,
    store_all,
    views,
)
from streams.engine.ports import ArenaPort

_EMPTY, _GONE, _FIRST_BLOCK = 0, 1, 2
_PLACES_FIRST, _GROUP_BITS = 1024, 10
_ARENA_FIRST, _ARENA_STEP_MAX = 1 << 20, 1 << 26
_TICK_BITS = 10                                # timers are known to a second, exactly in the arena
_NEVER = 2**32 - 1
_OWNERS_MAX = 500

Slots = npt.NDArray[np.int64]
Words = npt.NDArray[np.int64]


class Places(NamedTuple):
    """Per place: the key's hash, its block (_EMPTY, _GONE), when it is due (0: never), of whom."""

    hashes: npt.NDArray[np.uint64]
    blocks: npt.NDArray[np.uint32]
    dues: npt.NDArray[np.uint32]
    owners: npt.NDArray[np.uint16]


@compiled
def _wipe_all(t, arena, heads, places):
    """Forget records: their blocks are zeros, in the list of those of their size."""
    for n in range(len(places)):
        block = np.int64(t.blocks[places[n]])
        base = block * BLOCK
        count = arena.u32[(base >> 2) + BLOCKS]
        for k in range(base >> 3, (base + count * BLOCK) >> 3):
            arena.i64[k] = 0
        arena.u32[base >> 2] = heads[count]
        heads[count] = block
        t.blocks[places[n]], t.dues[places[n]] = _GONE, 0


@compiled
def _place_of(t, arena, raw, start, size, h):
    """The place of a key, or -1."""
    mask = len(t.blocks) - 1
    place = np.int64(uint64(h) & uint64(mask))
    while t.blocks[place] != _EMPTY:
        if t.blocks[place] != _GONE and t.hashes[place] == uint64(h):
            base = np.int64(t.blocks[place]) * BLOCK
            if arena.u32[(base >> 2) + KEY] == size:
                same, at = True, base + HEADER_BYTES
                for i in range(size):
                    if arena.u8[at + i] != raw[start + i]:
                        same = False
                        break
                if same:
                    return place
        place = (place + 1) & mask
    return np.int64(-1)


@compiled
def _places_of(t, arena, raw, starts, sizes, places):
    for n in range(len(starts)):
        places[n] = _place_of(t, arena, raw, starts[n], sizes[n],
                              hash64(raw, starts[n], sizes[n]))


@compiled
def _missing(t, arena, ix, raw, starts, sizes, found):
    """Places of the keys that are here and not in the index; returns how many."""
    count = 0
    for n in range(len(starts)):
        h = hash64(raw, starts[n], sizes[n])
        if find(ix, raw, starts[n], sizes[n], h) < 0:
            place = _place_of(t, arena, raw, starts[n], sizes[n], h)
            if place >= 0:
                found[count] = place
                count += 1
    return count


@compiled
def _put(t, least, h, block, due, owner):
    """Returns True when a place was used that held something before."""
    mask = len(t.blocks) - 1
    place = np.int64(uint64(h) & uint64(mask))
    while t.blocks[place] > _GONE:
        place = (place + 1) & mask
    was_gone = t.blocks[place] == _GONE
    t.hashes[place], t.blocks[place] = h, block
    t.dues[place], t.owners[place] = due, owner
    if due:
        group = place >> _GROUP_BITS
        least[owner, group] = min(least[owner, group], due)
    return was_gone


@compiled
def _put_all(t, least, hashes, blocks, dues, owners):
    reused = 0
    for n in range(len(blocks)):
        if _put(t, least, hashes[n], blocks[n], dues[n], owners[n]):
            reused += 1
    return reused


@compiled
def _due(t, least, owner, limit, found):
    """Places of an owner's rows that are due by `limit`, as many as fit; group by group, so that
    groups in which nothing is due are not looked at."""
    count = 0
    for group in range(least.shape[1]):
        if least[owner, group] > limit:
            continue
        rest = np.int64(_NEVER)
        for place in range(group << _GROUP_BITS, (group + 1) << _GROUP_BITS):
            due = np.int64(t.dues[place])
            if t.blocks[place] > _GONE and t.owners[place] == owner and due:
                if due > limit:
                    rest = min(rest, due)
                elif count == len(found):
                    return count
                else:
                    found[count] = place
                    count += 1
        least[owner, group] = rest
    return count


@compiled
def idle(sizes, dirty, waits, recent, hand, found):
    """Second chance (Corbato 1968): pass over what is due or was touched since the hand was here.
    Returns (where the hand is, rows found)."""
    count, looked = 0, 0
    while count < len(found) and looked < 2 * len(sizes):
        if sizes[hand] >= 0 and not dirty[hand] and not waits[hand]:
            if recent[hand]:
                recent[hand] = 0
            else:
                found[count], recent[hand] = hand, 1        # not once more in the second round
                count += 1
        hand, looked = (hand + 1) % len(sizes), looked + 1
    return hand, count


class Cold:
    """Packed rows of one partition in an arena that grows. Places are good until the next change.

    An *owner* is whose clock a row lives by: the hash of its tenant.
    """

    def __init__(self, arena: ArenaPort) -> None:
        self._port = arena
        self._table, self._owners = _empty(_PLACES_FIRST), dict[int, int]()
        self._least = np.full((1, _PLACES_FIRST >> _GROUP_BITS), _NEVER, np.uint32)
        self._heads = np.zeros(64, np.uint32)      # of the lists of free records, by blocks
        self._count = self._gone = 0
        self._next = _FIRST_BLOCK
        self._arena = views(np.zeros(0, np.uint8))

    def __len__(self) -> int:
        return self._count

    @property
    def disk_bytes(self) -> int:
        """How much of the arena was ever used."""
        return self._next * BLOCK

    @property
    def memory_bytes(self) -> int:
        """What stands in memory for the rows here."""
        return sum(array.nbytes for array in (*self._table, self._least, self._heads))

    def places(self) -> Slots:
        """All places, in the order of the arena."""
        used = np.nonzero(self._table.blocks > _GONE)[0]
        return used[np.argsort(self._table.blocks[used])]

    def find(self, key: bytes) -> int:
        """The place of a key, or -1."""
        if not self._count:
            return -1
        raw = np.frombuffer(key, np.uint8)
        return int(_place_of(self._table, self._arena, raw, 0, len(raw),
                             np.uint64(hash64(raw, 0, len(raw)))))

    def find_all(self, keys: Sequence[bytes]) -> Slots:
        """The place of each key, or -1."""
        places = np.zeros(len(keys), np.int64)
        _places_of(self._table, self._arena, *joined(keys), places)
        return places

    def missing(self, ix: Any, raw: npt.NDArray[np.uint8], starts: Slots, sizes: Slots) -> Slots:
        """Places of those keys that are here and not in the index `ix`; each once."""
        found = np.zeros(len(starts), np.int64)
        count = _missing(self._table, self._arena, ix, raw, starts, sizes, found)
        return np.unique(found[:count])

    def due(self, owner: int, limit_ms: int, at_most: int) -> Slots:
        """Places of an owner's rows whose timers come up by `limit_ms` (or up to a second later);
        the caller takes them out before asking for more."""
        number, found = self._owners.get(owner), np.zeros(at_most, np.int64)
        if number is None or limit_ms < 0:
            return found[:0]
        limit = min(limit_ms >> _TICK_BITS, _NEVER - 1)
        return found[:_due(self._table, self._least, number, limit, found)]

    def _base(self, places: Slots) -> Slots:
        return self._table.blocks[places].astype(np.int64) * BLOCK

    def armed(self, places: Slots) -> Slots:
        """When the rows' timers come up, in ms; 0: never."""
        return self._arena.i64[(self._base(places) >> 3) + ARMED]

    def rearm(self, places: Slots, armed: Slots) -> None:
        self._arena.i64[(self._base(places) >> 3) + ARMED] = armed
        dues, groups = _dues(armed), places >> _GROUP_BITS
        self._table.dues[places] = dues
        due = dues > 0
        np.minimum.at(self._least, (self._table.owners[places][due], groups[due]), dues[due])

    def keys(self, places: Slots) -> list[bytes]:
        bases = self._base(places)
        sizes = self._arena.u32[(bases >> 2) + KEY].tolist()
        return [self._arena.u8[at:at + size].tobytes()
                for at, size in zip((bases + HEADER_BYTES).tolist(), sizes, strict=True)]

    def keys_bytes(self, places: Slots) -> int:
        return int(self._arena.u32[(self._base(places) >> 2) + KEY].sum())

    def load(self, places: Slots, ix: Any, i64: Words) -> tuple[Slots, dict[int, bytes]]:
        """Put rows into an index that has none of them, and room. Returns (their slots, the tails
        of those that have one)."""
        slots = np.zeros(len(places), np.int64)
        at, sizes = np.zeros_like(slots), np.zeros_like(slots)
        load_all(self._arena, self._table.blocks[places], ix, i64, slots, at, sizes)
        return slots, self._tails(slots, at, sizes)

    def read(self, places: Slots, width: int) -> tuple[Words, dict[int, bytes]]:
        """Copies of rows of `width` words, and the tails of those that have one, by number."""
        rows = np.zeros((len(places), width), np.int64)
        at, sizes = np.zeros(len(places), np.int64), np.zeros(len(places), np.int64)
        read_all(self._arena, self._table.blocks[places], rows, at, sizes)
        return rows, self._tails(np.arange(len(places)), at, sizes)

    def _tails(self, names: Slots, at: Slots, sizes: Slots) -> dict[int, bytes]:
        return {int(names[n]): self._arena.u8[at[n]:at[n] + sizes[n]].tobytes()
                for n in np.nonzero(sizes)[0].tolist()}

    def remove(self, places: Slots) -> None:
        """Forget rows and wipe what they left."""
        _wipe_all(self._table, self._arena, self._heads, places)
        self._count -= len(places)
        self._gone += len(places)

    def store(self, i64: Words, ix: Any, slots: Slots, tails: Sequence[bytes], armed: Slots,
              owners: Slots) -> None:
        """Pack rows of an index. Raises OSError when the arena cannot grow: none is here then."""
        ends = np.cumsum(np.fromiter(map(len, tails), np.int64, len(tails)))
        blocks = np.zeros(len(slots), np.int64)
        total = int(blocks_of(i64, slots, ix.sizes, ends, blocks))
        self._reserve(total, len(slots), int(blocks.max()))
        at, numbers = np.zeros(len(slots), np.int64), self._numbers(owners)
        self._next = int(store_all(
            self._arena, self._heads, self._next, blocks, i64, ix, slots,
            np.frombuffer(b"".join(tails), np.uint8), ends, armed, at))
        self._gone -= int(_put_all(self._table, self._least, ix.hashes[slots], at, _dues(armed),
                                   numbers))
        self._count += len(slots)

    def _numbers(self, owners: Slots) -> npt.NDArray[np.uint16]:
        """Small numbers of owners. Beyond some hundred they share one: their rows may come back
        too early, by the clock of another."""
        different, which = np.unique(owners, return_inverse=True)
        own = [self._owners.setdefault(owner, min(len(self._owners), _OWNERS_MAX - 1))
               for owner in different.tolist()]
        if max(own) >= len(self._least):
            grown = np.full((2 * max(own), self._least.shape[1]), _NEVER, np.uint32)
            grown[:len(self._least)] = self._least
            self._least = grown
        return np.array(own, np.uint16)[which.reshape(-1)]

    def _reserve(self, blocks: int, rows: int, largest: int) -> None:
        end = (self._next + blocks) * BLOCK
        if end > len(self._arena.u8):
            step = min(max(len(self._arena.u8), _ARENA_FIRST), _ARENA_STEP_MAX)
            self._arena = views(self._port.grow(-(-end // step) * step))
        if largest >= len(self._heads):
            self._heads = np.concatenate([self._heads, np.zeros(2 * largest, np.uint32)])
        if 3 * (self._count + self._gone + rows) > 2 * len(self._table.blocks):
            old = self._table
            used = np.nonzero(old.blocks > _GONE)[0]
            size = max(_PLACES_FIRST, 1 << (2 * (self._count + rows) - 1).bit_length())
            self._table, self._gone = _empty(size), 0
            self._least = np.full((len(self._least), size >> _GROUP_BITS), _NEVER, np.uint32)
            _put_all(self._table, self._least, *(array[used] for array in old))


def _dues(armed: Slots) -> npt.NDArray[np.uint32]:
    return np.where(armed > 0, np.clip(armed >> _TICK_BITS, 1, _NEVER - 1), 0).astype(np.uint32)


def _empty(places: int) -> Places:
    return Places(np.zeros(places, np.uint64), np.zeros(places, np.uint32),
                  np.zeros(places, np.uint32), np.zeros(places, np.uint16))
