"""Texts: which texts a person's events named, how often, and which of them last.

    UNIQUE       room entries (key, name), greatest key first; the key is the newest time
    FAVOURITES   room entries likewise | newest tile | tiles of (room counts, 2 * room rests)

**Entries.** A text comes in with an event of its own only, and keys only grow. So whatever the
order, those of the greatest keys are kept, and none that is kept in the end was ever put out after
the event that gave it its key.
**Counts.** A tile counts exactly the texts of the least fingerprints that it heard, as many as have
room: who is among the least in the end always was, so nothing of theirs was missed. What
others were heard is added up in rests by fingerprint, in another place in each tile, so that no two
texts are taken for each other in all of them: a count-min sketch of one row. Both are sets
and sums, hence independent of order, and merged by union and addition. (Cormode, Muthukrishnan, J.
Algorithms 2005; Cohen, Kaplan, PODC 2007.)
**Who is counted for.** The key of a favourite is an event's time and a draw made of time and name,
geometric, at most one window: the greatest of many draws is greater, so texts that come often stay,
also when many others came once since. A text of the window is never put out by one older than two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.choose.features.names import NAME_WORDS, name_of, shown
from streams.engine.compiling import compiled
from streams.engine.hashing import mix
from streams.engine.whole import divided

ENTRY = 1 + NAME_WORDS
TEXT_TILES = 5
# Of favourites: how many a row knows by name, and counts exactly in each tile. Groups hear
# everybody.
ROOM, ROOM_WIDE = 8, 64
DRAWS_MAX = 8
_HALF = 32
_COUNT = (1 << 31) - 1
_EVER_MS = 1 << 60

Words = npt.NDArray[np.int64]


@compiled
def _order(i64, slot, e, names, row):
    """-1, 0, 1: the name in the row's entry at `e` is before, is, is after `names[row]`."""
    for k in range(NAME_WORDS):
        mine, other = uint64(i64[slot, e + 1 + k]), uint64(names[row, k])
        if mine != other:
            return -1 if mine < other else 1
    return 0


@compiled
def keep(i64, slot, w, room, key, names, row):
    """Keep the texts of the greatest keys, greatest first; of equal ones by name."""
    found = room
    for j in range(room):
        e = w + ENTRY * j
        if i64[slot, e] == 0:
            found = j
            break
        if _order(i64, slot, e, names, row) == 0:
            if i64[slot, e] >= key:
                return
            found = j
            break
    if found == room:                          # the last makes room, if it is less
        found -= 1
        e = w + ENTRY * found
        if i64[slot, e] > key or (i64[slot, e] == key and _order(i64, slot, e, names, row) < 0):
            return
    while found > 0:
        e = w + ENTRY * (found - 1)
        if i64[slot, e] > key or (i64[slot, e] == key and _order(i64, slot, e, names, row) < 0):
            break
        for k in range(ENTRY):
            i64[slot, e + ENTRY + k] = i64[slot, e + k]
        found -= 1
    e = w + ENTRY * found
    i64[slot, e] = key
    for k in range(NAME_WORDS):
        i64[slot, e + 1 + k] = names[row, k]


@compiled
def _drawn(event_ms, h, tile_ms):
    """From 0 to one window; the greatest of f draws is about log2(f) eighths of a window."""
    u = mix(h ^ uint64(event_ms))
    unit, rank = tile_ms // 2, np.int64(0)
    while rank < DRAWS_MAX and u & uint64(1) == uint64(0):
        u >>= uint64(1)
        rank += 1
    part = np.int64((u >> uint64(1)) & uint64(1023))
    return min(rank * unit + part * unit // 1024, DRAWS_MAX * unit)


@compiled
def _print_of(h):
    """A fingerprint of 31 bits, never 0."""
    return max(np.int64(h >> uint64(33)), 1)


@compiled
def _rest_of(mark, tile, room):
    """Which of the tile's rests counts for the fingerprint; two stand in one word."""
    return np.int64(mix(uint64(mark) ^ (uint64(tile) << uint64(32))) % uint64(2 * room))


@compiled
def _rest(i64, slot, rests_at, rest):
    return (i64[slot, rests_at + (rest >> 1)] >> (_HALF * (rest & 1))) & _COUNT


@compiled
def _add_rest(i64, slot, rests_at, rest, times):
    """Neither half overflows: a full one stays as it is."""
    added = min(times, _COUNT - _rest(i64, slot, rests_at, rest))
    i64[slot, rests_at + (rest >> 1)] += added << (_HALF * (rest & 1))


@compiled
def open_favourites(i64, slot, w, room, tile):
    """Move the counts on so that they hold `tile`, whether or not the event names a text; False
    when it lies behind them."""
    head_at, block = w + ENTRY * room, 2 * room
    head = i64[slot, head_at]
    if tile > head:
        for t in range(max(head + 1, tile - TEXT_TILES + 1), tile + 1):
            base = head_at + 1 + (t % TEXT_TILES) * block
            for k in range(block):
                i64[slot, base + k] = 0
        i64[slot, head_at] = tile
        return True
    return tile > head - TEXT_TILES


@compiled
def _count(i64, slot, head_at, room, tile, mark):
    if tile <= i64[slot, head_at] - TEXT_TILES:
        return
    base = head_at + 1 + (tile % TEXT_TILES) * 2 * room
    for j in range(room):
        kept = i64[slot, base + j]
        if kept >> _HALF == mark:
            if kept & _COUNT < _COUNT:
                i64[slot, base + j] = kept + 1
            return
        if kept == 0 or kept >> _HALF > mark:
            out = i64[slot, base + room - 1]
            for k in range(room - 1, j, -1):
                i64[slot, base + k] = i64[slot, base + k - 1]
            i64[slot, base + j] = (mark << _HALF) | 1
            if out != 0:
                _add_rest(i64, slot, base + room, _rest_of(out >> _HALF, tile, room), out & _COUNT)
            return
    _add_rest(i64, slot, base + room, _rest_of(mark, tile, room), 1)


@compiled
def hash_of_name(names, row):
    h = uint64(NAME_WORDS)
    for k in range(NAME_WORDS):
        h = mix(h ^ uint64(names[row, k]))
    return h


@compiled
def take_favourite(i64, slot, w, room, event_ms, tile_ms, names, row):
    """Take one text of an event into the FAVOURITES at word `w`."""
    if names[row, 0] == 0:
        return
    h = hash_of_name(names, row)
    keep(i64, slot, w, room, event_ms + _drawn(event_ms, h, tile_ms), names, row)
    _count(i64, slot, w + ENTRY * room, room, divided(event_ms, tile_ms), _print_of(h))


@compiled
def take_unique(i64, slot, w, room, event_ms, names, row):
    """Take one text of an event into the UNIQUE at word `w`."""
    if names[row, 0] != 0:
        keep(i64, slot, w, room, event_ms, names, row)


@compiled
def _hash_in(i64, slot, e):
    h = uint64(NAME_WORDS)
    for k in range(NAME_WORDS):
        h = mix(h ^ uint64(i64[slot, e + 1 + k]))
    return h


@compiled
def _first_tile(head, tile_ms, at_ms):
    return max(divided(at_ms, tile_ms), head) - TEXT_TILES + 1


@compiled
def _times_of(i64, slot, w, room, tile_ms, at_ms, j):
    """How often text j was heard in the window, at the most; 0: not at all."""
    mark, head_at = _print_of(_hash_in(i64, slot, w + ENTRY * j)), w + ENTRY * room
    head, total = i64[slot, head_at], np.int64(0)
    for tile in range(_first_tile(head, tile_ms, at_ms),
                      min(divided(at_ms, tile_ms), head) + 1):
        base, beyond = head_at + 1 + (tile % TEXT_TILES) * 2 * room, True
        for k in range(room):
            kept = i64[slot, base + k]
            if kept == 0 or kept >> _HALF >= mark:
                total += kept & _COUNT if kept >> _HALF == mark else 0
                beyond = False
                break
        if beyond:
            total += _rest(i64, slot, base + room, _rest_of(mark, tile, room))
    return total


@compiled
def favourites(i64, slot, w, room, tile_ms, at_ms, most):
    """How many texts were heard in the window; at most `most`."""
    found = 0
    for j in range(room):
        if i64[slot, w + ENTRY * j] == 0 or found == most:
            break
        found += _times_of(i64, slot, w, room, tile_ms, at_ms, j) > 0
    return found


@compiled
def _is_before(i64, slot, a, b):
    """Is the name of entry `a` before that of entry `b`?"""
    for k in range(1, ENTRY):
        mine, other = uint64(i64[slot, a + k]), uint64(i64[slot, b + k])
        if mine != other:
            return mine < other
    return False


@compiled
def is_favourite(i64, slot, w, room, tile_ms, at_ms, most, j):
    """Is text j among the `most` that were heard most often?"""
    times = _times_of(i64, slot, w, room, tile_ms, at_ms, j)
    if times == 0:
        return False
    above = 0
    for k in range(room):
        if i64[slot, w + ENTRY * k] == 0:
            break
        if k != j:
            others = _times_of(i64, slot, w, room, tile_ms, at_ms, k)
            above += others > times or (others == times and _is_before(
                i64, slot, w + ENTRY * k, w + ENTRY * j))
    return above < most


@compiled
def has_favourite(i64, slot, w, room, tile_ms, at_ms, most, wanted):
    """Is the text whose name has the hash `wanted` among the `most` heard most often?"""
    for j in range(room):
        if i64[slot, w + ENTRY * j] == 0:
            return False
        if np.int64(_hash_in(i64, slot, w + ENTRY * j)) == wanted:
            return is_favourite(i64, slot, w, room, tile_ms, at_ms, most, j)
    return False


@compiled
def uniques(i64, slot, w, room, window_ms, at_ms):
    """How many of the kept texts were newest in the window."""
    found = 0
    for j in range(room):
        seen_ms = i64[slot, w + ENTRY * j]
        found += seen_ms != 0 and at_ms - window_ms < seen_ms <= at_ms
    return found


@compiled
def has_unique(i64, slot, w, room, window_ms, at_ms, wanted):
    """Is the text whose name has the hash `wanted` listed?"""
    for j in range(room):
        seen_ms = i64[slot, w + ENTRY * j]
        if (seen_ms != 0 and at_ms - window_ms < seen_ms <= at_ms
                and np.int64(_hash_in(i64, slot, w + ENTRY * j)) == wanted):
            return True
    return False


@compiled
def next_of_favourites(i64, slot, w, room, tile_ms, at_ms):
    """When the oldest tile that holds anything leaves the window; EVER_MS: never."""
    head_at = w + ENTRY * room
    head = i64[slot, head_at]
    if head == 0:
        return np.int64(_EVER_MS)
    for tile in range(_first_tile(head, tile_ms, at_ms), head + 1):
        ends_ms = (tile + TEXT_TILES) * tile_ms
        if i64[slot, head_at + 1 + (tile % TEXT_TILES) * 2 * room] != 0 and ends_ms > at_ms:
            return ends_ms
    return np.int64(_EVER_MS)


@compiled
def next_of_uniques(i64, slot, w, room, window_ms, at_ms):
    """When the oldest text inside the window leaves it; EVER_MS: never."""
    found = np.int64(_EVER_MS)
    for j in range(room):
        seen_ms = i64[slot, w + ENTRY * j]
        if seen_ms != 0 and seen_ms + window_ms > at_ms:
            found = min(found, seen_ms + window_ms)
    return found


@compiled
def _fill_times(i64, slot, w, room, tile_ms, at_ms, times):
    for j in range(room):
        if i64[slot, w + ENTRY * j] == 0:
            return
        times[j] = _times_of(i64, slot, w, room, tile_ms, at_ms, j)


def name_hash(text: str) -> int:
    """What rules compare a name by."""
    row = np.zeros((1, ENTRY), np.int64)
    row[0, 1:] = name_of(text)
    return int(np.uint64(_hash_in(row, 0, 0)).astype(np.int64))


def listed_favourites(i64: Words, slot: int, w: int, room: int, tile_ms: int, at_ms: int,
                      most: int) -> list[str]:
    """The texts heard most often, most frequent first, of equal ones by name."""
    times = np.zeros(room, np.int64)
    _fill_times(i64, slot, w, room, tile_ms, at_ms, times)
    entries = i64[slot, w:w + ENTRY * room].reshape(room, ENTRY)
    ranked = sorted((-int(times[j]), entries[j, 1:].astype(">i8").tobytes(), j)
                    for j in np.nonzero(times)[0].tolist())
    return [shown(entries[j, 1:]) for _, _, j in ranked[:most]]


def listed_uniques(i64: Words, slot: int, w: int, room: int, window_ms: int,
                   at_ms: int) -> list[str]:
    """The texts of the window, newest first."""
    entries = i64[slot, w:w + ENTRY * room].reshape(room, ENTRY)
    return [shown(entry[1:]) for entry in entries
            if entry[0] and at_ms - window_ms < entry[0] <= at_ms]


def merge_entries(a: Words, b: Words) -> None:
    """The entries of the greatest keys of both, in place of `a`. Both of shape (room, ENTRY)."""
    newest: dict[tuple[int, ...], int] = {}
    for key, *name in [*a.tolist(), *b.tolist()]:
        if key:
            newest[tuple(name)] = max(key, newest.get(tuple(name), 0))
    ranked = sorted(newest.items(), key=lambda each: (-each[1], [w % 2**64 for w in each[0]]))
    a[:] = 0
    for j, (name, key) in enumerate(ranked[:len(a)]):
        a[j] = (key, *name)


def merge_counts(a: Words, b: Words, tile: int) -> None:
    """Its counts and rests, of shape (2, room), in place of `a`."""
    room, counts = a.shape[1], dict[int, int]()
    for kept in [*a[0].tolist(), *b[0].tolist()]:
        if kept:
            mark = kept >> _HALF
            counts[mark] = min(counts.get(mark, 0) + (kept & _COUNT), _COUNT)
    a[0] = 0
    for rest in range(2 * room):
        _add_rest(a, 1, 0, rest, _rest(b, 1, 0, rest))
    for j, mark in enumerate(sorted(counts)):
        if j < room:
            a[0, j] = mark << _HALF | counts[mark]
        else:
            _add_rest(a, 1, 0, _rest_of(mark, tile, room), counts[mark])
