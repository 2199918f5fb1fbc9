"""Tags: a number per key for millions of keys, some thirty bytes each.

    key -> sixteen bytes -> place (hash modulo places) -> tag

Keys of at most fifteen bytes and keys of 32 hex digits (profile ids) are their sixteen bytes,
reversibly: they are compared, not only hashed. All others stand in a dict; there are few (segments,
items). Open addressing with linear probing; a table grows by half and holds at most two thirds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.engine.compiling import compiled
from streams.engine.hashing import joined, mix
from streams.engine.touching import AHEAD, touch

NONE = 0                  # what `find` says of a key without a tag; tags are from 2 on
_GONE = 1
_TAG_MAX = 2**31 - 1
_LONG, _SHORT, _HEX = range(3)
_SHORT_MAX = 15
_PLACES_FIRST, _AT_ONCE = 64, 4096
_IS_HEX = np.uint32(1 << 31)      # in a place's tag, to tell both kinds of sixteen bytes apart


class Places(NamedTuple):
    """The arrays that compiled code works on; a tag of 0 marks an empty place."""

    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    tags: npt.NDArray[np.uint32]


@compiled
def _name(raw, at, size):
    """(kind, high, low) of a key; its sixteen bytes unless the kind is _LONG."""
    high, low = uint64(0), uint64(0)
    if size <= _SHORT_MAX:
        for i in range(size):
            byte = uint64(raw[at + i])
            if i < 8:
                high |= byte << uint64(8 * i)
            else:
                low |= byte << uint64(8 * (i - 8))
        return _SHORT, high, low | uint64(size) << uint64(56)
    if size != 32:
        return _LONG, high, low
    # Without a branch a letter: which kind a digit is, nobody can guess.
    others = np.int64(0)
    for i in range(32):
        letter = np.int64(raw[at + i])
        others += ((letter < 48) | (letter > 57)) & ((letter < 97) | (letter > 102))
    if others:
        return _LONG, high, low
    for i in range(16):
        first, second = uint64(raw[at + i]), uint64(raw[at + 16 + i])
        high = high << uint64(4) | (first & uint64(15)) + uint64(9) * (first >> uint64(6))
        low = low << uint64(4) | (second & uint64(15)) + uint64(9) * (second >> uint64(6))
    return _HEX, high, low


@compiled
def _first_place(t, kind, high, low):
    return np.int64(mix(high ^ mix(low + uint64(kind))) % uint64(len(t.tags)))


@compiled
def _find(t, kind, high, low):
    """(place of the key or -1, place where it could be put)."""
    return _find_from(t, _first_place(t, kind, high, low), kind, high, low)


@compiled
def _look_all(t, raw, starts, sizes, first, names):
    """What the AHEAD keys from `first` on are, and the first place of each, which is touched."""
    for n in range(first, min(first + AHEAD, len(starts))):
        own = names[n - first]
        kind, own[1], own[2] = _name(raw, starts[n], sizes[n])
        own[0], own[3] = uint64(kind), uint64(0)
        if kind != _LONG:
            place = _first_place(t, kind, own[1], own[2])
            own[3] = uint64(place)
            touch(t.tags, 4 * place)
            touch(t.high, 8 * place)
            touch(t.low, 8 * place)


@compiled
def _find_from(t, place, kind, high, low):
    free = np.int64(-1)
    flag = _IS_HEX if kind == _HEX else np.uint32(0)
    while t.tags[place] != NONE:
        if t.tags[place] == _GONE:
            free = place if free < 0 else free
        elif (t.high[place] == high and t.low[place] == low
              and t.tags[place] & _IS_HEX == flag):
            return place, place
        place = place + 1 if place + 1 < len(t.tags) else 0
    return np.int64(-1), place if free < 0 else free


@compiled
def _find_all(t, raw, starts, sizes, names, olds):
    for n in range(len(starts)):
        if n % AHEAD == 0:
            _look_all(t, raw, starts, sizes, n, names)
        own = names[n % AHEAD]
        kind, high, low, first = np.int64(own[0]), own[1], own[2], np.int64(own[3])
        olds[n] = NONE
        if kind == _LONG:
            olds[n] = -1
            continue
        place, _ = _find_from(t, first, kind, high, low)
        if place >= 0:
            olds[n] = t.tags[place] & ~_IS_HEX


@compiled
def _change_all(t, raw, starts, sizes, tags, clears, names, olds):
    """One after the other: put the tag, or take the key out if it has just this tag. Returns
    (keys more, places more that are no longer empty)."""
    more, used = 0, 0
    for n in range(len(starts)):
        if n % AHEAD == 0:
            _look_all(t, raw, starts, sizes, n, names)
        own = names[n % AHEAD]
        kind, high, low, first = np.int64(own[0]), own[1], own[2], np.int64(own[3])
        olds[n] = NONE
        if kind == _LONG:
            olds[n] = -1
            continue
        place, free = _find_from(t, first, kind, high, low)
        if place >= 0:
            olds[n] = t.tags[place] & ~_IS_HEX
        if clears[n]:
            if place >= 0 and olds[n] == tags[n]:
                t.tags[place] = _GONE
                more -= 1
            continue
        if place < 0:
            used += t.tags[free] == NONE
            more += 1
            t.high[free], t.low[free] = high, low
        t.tags[free] = np.uint32(tags[n]) | (_IS_HEX if kind == _HEX else np.uint32(0))
    return more, used


@compiled
def _refill(old, new):
    for n in range(len(old.tags)):
        if old.tags[n] > _GONE:
            kind = _HEX if old.tags[n] & _IS_HEX else _SHORT
            _, place = _find(new, kind, old.high[n], old.low[n])
            new.high[place], new.low[place] = old.high[n], old.low[n]
            new.tags[place] = old.tags[n]


@compiled
def _up_to(t, start, tag, found):
    """(where to go on, how many places were found) of keys with tags up to `tag`."""
    count, place = 0, start
    while place < len(t.tags) and count < len(found):
        if t.tags[place] > _GONE and t.tags[place] & ~_IS_HEX <= tag:
            found[count] = place
            count += 1
        place += 1
    return place, count


class Tags:
    """{key: tag}, compact. Tags are from 2 to 2**31 - 1."""

    def __init__(self) -> None:
        self._places = _empty(_PLACES_FIRST)
        self._long: dict[bytes, int] = {}
        self._count = self._used = 0
        self._cursor = 0

    def __len__(self) -> int:
        return self._count + len(self._long)

    @property
    def memory_bytes(self) -> int:
        """Of the table; keys that are long stand beside it."""
        return sum(array.nbytes for array in self._places)

    def get(self, key: bytes) -> int:
        """The tag of a key, or NONE."""
        return self.find([key])[0]

    def find(self, keys: Sequence[bytes]) -> list[int]:
        """The tag of each key, or NONE."""
        raw, starts, sizes = joined(keys)
        olds = np.zeros(len(keys), np.int64)
        _find_all(self._places, raw, starts, sizes, _names(), olds)
        for n in np.nonzero(olds < 0)[0].tolist():
            olds[n] = self._long.get(keys[n], NONE)
        return olds.tolist()

    def change(self, keys: Sequence[bytes], tags: Sequence[int],
               clears: Sequence[bool] | None = None) -> list[int]:
        """Key after key: put its tag, or (`clears`) take it out if this is its tag. Returns what
        each had before, or NONE. Raises OverflowError for a tag that is too large."""
        # Python's numbers know no limit: judged before they become others'.
        if keys and not (min(tags) > 1 and max(tags) <= _TAG_MAX):
            raise OverflowError(f"tags are from 2 to {_TAG_MAX}")
        taken = np.zeros(len(keys), np.bool_)
        if clears is not None:
            taken[:] = clears
        return self.swap(keys, np.array(tags, np.int64), taken).tolist()

    def swap(self, keys: Sequence[bytes], tags: npt.NDArray[np.int64],
             taken: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """`change`, of arrays."""
        if len(keys) and not (tags.min() > 1 and tags.max() <= _TAG_MAX):
            raise OverflowError(f"tags are from 2 to {_TAG_MAX}")
        self._reserve(len(keys))
        raw, starts, sizes = joined(keys)
        olds = np.zeros(len(keys), np.int64)
        more, used = _change_all(self._places, raw, starts, sizes, tags, taken, _names(), olds)
        self._count, self._used = self._count + int(more), self._used + int(used)
        for n in np.nonzero(olds < 0)[0].tolist():
            olds[n] = self._long.get(keys[n], NONE)
            if not taken[n]:
                self._long[keys[n]] = int(tags[n])
            elif olds[n] == tags[n]:
                del self._long[keys[n]]
        return olds

    def up_to(self, tag: int, limit: int) -> list[bytes]:
        """Some keys with tags up to `tag`, others at each call; none when all were returned.

        Keys that got such a tag after the first call may be left out.
        """
        found = np.zeros(min(limit, self._count), np.int64)
        begins = self._cursor == 0
        first = [key for key, own in self._long.items() if begins and own <= tag]
        self._cursor, count = _up_to(self._places, self._cursor, tag, found)
        return first + [self._key(place) for place in found[:count].tolist()]

    def items(self) -> Iterator[tuple[bytes, int]]:
        """(key, tag) of all keys. Nothing may change meanwhile."""
        yield from self._long.items()
        tags = self._places.tags
        for start in range(0, len(tags), _AT_ONCE):
            for at in np.nonzero(tags[start:start + _AT_ONCE] > _GONE)[0].tolist():
                yield self._key(start + at), int(tags[start + at] & ~_IS_HEX)

    def copy(self) -> Tags:
        made = Tags()
        high, low, tags = self._places
        made._places = Places(high.copy(), low.copy(), tags.copy())
        made._long = dict(self._long)
        made._count, made._used = self._count, self._used
        return made

    def _key(self, place: int) -> bytes:
        high, low = int(self._places.high[place]), int(self._places.low[place])
        if self._places.tags[place] & _IS_HEX:
            return b"%016x%016x" % (high, low)
        return (high.to_bytes(8, "little") + low.to_bytes(8, "little"))[:low >> 56]

    def _reserve(self, keys: int) -> None:
        if 3 * (self._used + keys) > 2 * len(self._places.tags):
            grown = _empty(max(_PLACES_FIRST, 2 * (self._count + keys) + self._count // 4))
            _refill(self._places, grown)
            self._places, self._used, self._cursor = grown, self._count, 0


def _names() -> npt.NDArray[np.uint64]:
    """Room for what `_look_all` says of each key: kind, the sixteen bytes, first place."""
    return np.zeros((AHEAD, 4), np.uint64)


def _empty(places: int) -> Places:
    return Places(np.zeros(places, np.uint64), np.zeros(places, np.uint64),
                  np.zeros(places, np.uint32))
