"""Index: from a key's bytes to its slot, for compiled loops. Keys are compared, not only hashed.

    hash -> places[hash & mask] -> slot -> arena[starts[slot] : starts[slot] + sizes[slot]]

Open addressing with linear probing (Knuth, TAOCP 3, 6.4). Nothing grows inside compiled code:
`reserve` makes room for a batch before it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.engine.compiling import compiled
from streams.engine.hashing import hash64, joined
from streams.engine.touching import AHEAD, touch

_EMPTY, _GONE = -1, -2
COUNT, USED, FREE, GONE = 0, 1, 2, 3        # slots in use, arena bytes, free slots, dead places


class Places(NamedTuple):
    """The arrays that compiled code works on. `meta` holds the counters named above."""

    places: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    arena: npt.NDArray[np.uint8]
    free: npt.NDArray[np.int32]
    meta: npt.NDArray[np.int64]


@compiled
def find(ix, raw, start, size, h):
    """The slot of the key `raw[start:start + size]` with hash `h`, or -1."""
    mask = len(ix.places) - 1
    place = np.int64(uint64(h) & uint64(mask))
    while True:
        slot = ix.places[place]
        if slot == _EMPTY:
            return -1
        if slot >= 0 and ix.hashes[slot] == uint64(h) and ix.sizes[slot] == size:
            at, same = ix.starts[slot], True
            for i in range(size):
                if ix.arena[at + i] != raw[start + i]:
                    same = False
                    break
            if same:
                return slot
        place = (place + 1) & mask


@compiled
def insert(ix, raw, start, size, h):
    """A slot for a key that `find` does not know. `reserve` has made room."""
    mask = len(ix.places) - 1
    place = np.int64(uint64(h) & uint64(mask))
    while ix.places[place] >= 0:
        place = (place + 1) & mask
    if ix.places[place] == _GONE:
        ix.meta[GONE] -= 1
    ix.meta[FREE] -= 1
    slot = ix.free[ix.meta[FREE]]
    at = ix.meta[USED]
    for i in range(size):
        ix.arena[at + i] = raw[start + i]
    ix.meta[USED] = at + size
    ix.places[place] = slot
    ix.hashes[slot], ix.starts[slot], ix.sizes[slot] = h, at, size
    ix.meta[COUNT] += 1
    return slot


@compiled
def _first_place(ix, h):
    return np.int64(uint64(h) & uint64(len(ix.places) - 1))


@compiled
def look(ix, h):
    """Touch where a key with hash `h` is looked for first."""
    touch(ix.places, 4 * _first_place(ix, h))


@compiled
def look_at_slot(ix, h):
    """After `look`: touch what is known of the slot there; returns it, or a number below 0."""
    slot = np.int64(ix.places[_first_place(ix, h)])
    if slot >= 0:
        touch(ix.hashes, 8 * slot)
        touch(ix.sizes, 4 * slot)
        touch(ix.starts, 8 * slot)
    return slot


@compiled
def look_at_key(ix, h):
    """After `look_at_slot`: touch the key that is there."""
    slot = ix.places[_first_place(ix, h)]
    if slot >= 0:
        touch(ix.arena, ix.starts[slot])


@compiled
def _find_all(ix, raw, starts, sizes, slots):
    for first in range(0, len(starts), AHEAD):
        end = min(first + AHEAD, len(starts))
        for n in range(first, end):
            slots[n] = np.int64(hash64(raw, starts[n], sizes[n]))
            look(ix, slots[n])
        for n in range(first, end):
            look_at_slot(ix, slots[n])
        for n in range(first, end):
            look_at_key(ix, slots[n])
        for n in range(first, end):
            slots[n] = find(ix, raw, starts[n], sizes[n], uint64(slots[n]))


@compiled
def _add_all(ix, raw, starts, sizes, slots):
    for n in range(len(starts)):
        h = hash64(raw, starts[n], sizes[n])
        slots[n] = find(ix, raw, starts[n], sizes[n], h)
        if slots[n] < 0:
            slots[n] = insert(ix, raw, starts[n], sizes[n], h)


@compiled
def _find_key(ix, raw):
    return find(ix, raw, 0, len(raw), hash64(raw, 0, len(raw)))


@compiled
def _insert_key(ix, raw):
    return insert(ix, raw, 0, len(raw), hash64(raw, 0, len(raw)))


@compiled
def _remove(ix, slot):
    mask = len(ix.places) - 1
    place = np.int64(ix.hashes[slot] & uint64(mask))
    while ix.places[place] != slot:
        place = (place + 1) & mask
    ix.places[place] = _GONE
    ix.sizes[slot] = -1
    ix.free[ix.meta[FREE]] = slot
    ix.meta[FREE] += 1
    ix.meta[COUNT] -= 1
    ix.meta[GONE] += 1


@compiled
def _remove_all(ix, slots):
    for n in range(len(slots)):
        _remove(ix, slots[n])


@compiled
def _refill(ix):
    """Place every slot anew in an empty table."""
    mask = len(ix.places) - 1
    for slot in range(len(ix.sizes)):
        if ix.sizes[slot] >= 0:
            place = np.int64(ix.hashes[slot] & uint64(mask))
            while ix.places[place] != _EMPTY:
                place = (place + 1) & mask
            ix.places[place] = slot
    ix.meta[GONE] = 0


@compiled
def _pack(ix, arena):
    """Copy the keys of live slots into `arena`, close together."""
    at = 0
    for slot in range(len(ix.sizes)):
        size = ix.sizes[slot]
        if size >= 0:
            start = ix.starts[slot]
            for i in range(size):
                arena[at + i] = ix.arena[start + i]
            ix.starts[slot] = at
            at += size
    return at


class Index:
    """Keys of one partition. Slots are small numbers, reused after `remove`.

    aim     slots to have as soon as the first do not suffice; beyond, there are only some more
    """

    def __init__(self, slots: int = 1024, *, aim: int = 0) -> None:
        self._aim = aim
        self.arrays = Places(
            np.full(4 * slots, _EMPTY, np.int32), np.zeros(slots, np.uint64),
            np.zeros(slots, np.int64), np.full(slots, -1, np.int32),
            np.zeros(40 * slots, np.uint8), np.arange(slots - 1, -1, -1, dtype=np.int32),
            np.array([0, 0, slots, 0], np.int64))

    def __len__(self) -> int:
        return int(self.arrays.meta[COUNT])

    def __iter__(self) -> Iterator[int]:
        """Slots in use."""
        return iter(np.nonzero(self.arrays.sizes >= 0)[0].tolist())

    @property
    def capacity(self) -> int:
        return len(self.arrays.sizes)

    def key(self, slot: int) -> bytes:
        start = self.arrays.starts[slot]
        return self.arrays.arena[start:start + self.arrays.sizes[slot]].tobytes()

    def keys(self, slots: npt.NDArray[np.int64]) -> list[bytes]:
        starts, sizes = self.arrays.starts[slots], self.arrays.sizes[slots]
        if len(slots) > 1 and sizes[0] > 0 and (sizes == sizes[0]).all():
            # As values without a form, numpy makes bytes of them by itself, one after the other.
            raw = self.arrays.arena[starts[:, None] + np.arange(sizes[0])]
            found: list[bytes] = raw.view(f"V{sizes[0]}").reshape(-1).tolist()
            return found
        arena = self.arrays.arena.data
        return [bytes(arena[at:at + size])
                for at, size in zip(starts.tolist(), sizes.tolist(), strict=True)]

    def find_all(self, keys: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """The slot of each key, or -1."""
        slots = np.zeros(len(keys), np.int64)
        _find_all(self.arrays, *joined(keys), slots)
        return slots

    def find(self, key: bytes) -> int:
        """The slot of `key`, or -1."""
        return int(_find_key(self.arrays, np.frombuffer(key, np.uint8)))

    def add_all(self, keys: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """The slot of each key, new for those that have none; `reserve` has made room."""
        slots = np.zeros(len(keys), np.int64)
        _add_all(self.arrays, *joined(keys), slots)
        return slots

    def add(self, key: bytes) -> int:
        """The slot of `key`, new when it has none."""
        raw = np.frombuffer(key, np.uint8)
        slot = int(_find_key(self.arrays, raw))
        if slot < 0:
            self.reserve(1, len(raw))
            slot = int(_insert_key(self.arrays, raw))
        return slot

    def remove(self, slot: int) -> None:
        _remove(self.arrays, slot)

    def remove_all(self, slots: npt.NDArray[np.int64]) -> None:
        _remove_all(self.arrays, slots)

    def reserve(self, slots: int, key_bytes: int) -> bool:
        """Make room for so many more keys; True when the number of slots grew."""
        meta, grew = self.arrays.meta, False
        if meta[FREE] < slots:
            self._grow_slots(slots - int(meta[FREE]))
            grew = True
        if 2 * (len(self) + slots + int(meta[GONE])) > len(self.arrays.places):
            self._replace(places=np.full(_power_above(4 * (len(self) + slots)), _EMPTY, np.int32))
            _refill(self.arrays)
        if meta[USED] + key_bytes > len(self.arrays.arena):
            # Twice what lives: keys come and go, and what went must not count.
            live = int(self.arrays.sizes[self.arrays.sizes > 0].sum())
            arena = np.zeros(2 * (live + key_bytes) + 1024, np.uint8)
            meta[USED] = _pack(self.arrays, arena)
            self._replace(arena=arena)
        return grew

    def _grow_slots(self, missing: int) -> None:
        old = self.capacity
        more = max(missing, old // 8 if self._aim else old // 2, self._aim - old)
        free = np.zeros(old + more, np.int32)
        count = int(self.arrays.meta[FREE])
        free[:more] = np.arange(old + more - 1, old - 1, -1)
        free[more:more + count] = self.arrays.free[:count]
        self.arrays.meta[FREE] += more
        self._replace(
            hashes=np.concatenate([self.arrays.hashes, np.zeros(more, np.uint64)]),
            starts=np.concatenate([self.arrays.starts, np.zeros(more, np.int64)]),
            sizes=np.concatenate([self.arrays.sizes, np.full(more, -1, np.int32)]), free=free)

    def _replace(self, **arrays: npt.NDArray[np.generic]) -> None:
        self.arrays = self.arrays._replace(**arrays)  # type: ignore[arg-type]


def _power_above(number: int) -> int:
    return 1 << max(number - 1, 1).bit_length()
