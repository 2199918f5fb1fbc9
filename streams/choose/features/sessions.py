"""Sessions: events that no pause of `gap` separates, kept independent of order.

How many there were is read from a ring of bits: a quarter of the gap is a slot, 64 slots a tile,
and a bit says that an event lay in it. Slots at most GAP_SLOTS apart belong to one session: a pause
up to the gap never ends one, a pause of one and a quarter gaps always does.
The last session is read from a ring whose tiles are a gap wide, each with its first and last time
(and what is added up). Events of one tile are less than a gap apart, those of tiles that are no
neighbours more; so neighbours alone are asked, and the gap is exact. What a session has before the
oldest tile of the ring is not told.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from streams.choose.features.spec import GAP_SLOTS
from streams.engine.compiling import compiled
from streams.engine.whole import divided, plus

WORD_SLOTS = 64
_NEVER_MS = 1 << 60
_HALF = 32
_LOW = (1 << _HALF) - 1


def words_of(slots: int) -> int:
    """How many tiles so many slots in a row touch at the most."""
    return (slots + WORD_SLOTS - 2) // WORD_SLOTS + 1


@compiled
def with_slot(word, within_ms, tile_ms):
    """The tile's bits, with that of the slot in which `within_ms` lies."""
    bit = uint64(divided(within_ms, tile_ms // WORD_SLOTS))
    return np.int64(uint64(word) | (uint64(1) << bit))


@compiled
def with_span(kept, within_ms):
    """First and last time within the tile, each plus one; 0: none yet."""
    mark = within_ms + 1
    if kept == 0:
        return (mark << _HALF) | mark
    return (min(kept >> _HALF, mark) << _HALF) | max(kept & _LOW, mark)


@compiled
def _inside(i64, slot, at, tiles, tile, first, last):
    """The bits of a tile between the slots `first` and `last`."""
    word = uint64(i64[slot, at // 8 + 1 + tile % tiles])
    if tile == first >> 6:
        word &= ~uint64(0) << uint64(first & 63)
    if tile == last >> 6:
        word &= ~uint64(0) >> uint64(63 - (last & 63))
    return word


@compiled
def _slots(tile_ms, window_ms, at_ms):
    """First and last slot of the window that ends at `at_ms`."""
    slot_ms = tile_ms // WORD_SLOTS
    last = divided(at_ms, slot_ms)
    return last - divided(window_ms + slot_ms - 1, slot_ms), last


@compiled
def sessions(i64, slot, at, tiles, tile_ms, window_ms, at_ms):
    """How many sessions have an event in the window."""
    first, last = _slots(tile_ms, window_ms, at_ms)
    head, count, before = i64[slot, at // 8], 0, uint64(0)
    for tile in range(max(first >> 6, head - tiles + 1), min(last >> 6, head) + 1):
        word = _inside(i64, slot, at, tiles, tile, first, last)
        near = uint64(0)                          # slots that follow an event closely
        for k in range(1, GAP_SLOTS + 1):
            near |= (word << uint64(k)) | (before >> uint64(WORD_SLOTS - k))
        begins, before = word & ~near, word
        while begins != uint64(0):
            begins &= begins - uint64(1)
            count += 1
    return count


@compiled
def next_of_sessions(i64, slot, at, tiles, tile_ms, window_ms, at_ms):
    """When the last event of the oldest session leaves the window."""
    first, last = _slots(tile_ms, window_ms, at_ms)
    head, newest = i64[slot, at // 8], np.int64(-1)
    for tile in range(max(first >> 6, head - tiles + 1), head + 1):
        word = _inside(i64, slot, at, tiles, tile, first, (head << 6) + 63)
        for bit in range(WORD_SLOTS):
            if word & (uint64(1) << uint64(bit)) == uint64(0):
                continue
            at_slot = (tile << 6) + bit
            if 0 <= newest < at_slot - GAP_SLOTS:
                return (newest + last - first + 1) * (tile_ms // WORD_SLOTS)
            newest = at_slot
    if newest < 0:
        return np.int64(_NEVER_MS)
    return (newest + last - first + 1) * (tile_ms // WORD_SLOTS)


@compiled
def _began(i64, slot, at, tiles):
    """The tile in which the last session began, as far as the ring goes."""
    head = tile = i64[slot, at // 8]
    while tile > head - tiles + 1:
        before = i64[slot, at // 8 + 1 + (tile - 1) % tiles]
        own = i64[slot, at // 8 + 1 + tile % tiles]
        if before == 0 or own >> _HALF >= before & _LOW:
            break
        tile -= 1
    return tile


@compiled
def last_session(i64, slot, spans, amounts, tiles, gap_ms):
    """(its length in ms, or what is added up where `amounts` is another cell; whether there is
    one)."""
    head = i64[slot, spans // 8]
    if head == 0:
        return np.int64(0), False
    begin = _began(i64, slot, spans, tiles)
    if amounts == spans:
        first = i64[slot, spans // 8 + 1 + begin % tiles] >> _HALF
        last = i64[slot, spans // 8 + 1 + head % tiles] & _LOW
        return (head - begin) * gap_ms + last - first, True
    total = np.int64(0)
    for tile in range(begin, head + 1):
        total = plus(total, i64[slot, amounts // 8 + 1 + tile % tiles])
    return total, True


def union(x: int, y: int) -> int:
    """The slots of both, as the signed number that a row holds."""
    return int(np.uint64((x | y) % 2**64).astype(np.int64))


def widest(x: int, y: int) -> int:
    """The span from the first to the last time of both."""
    if x == 0 or y == 0:
        return x or y
    return (min(x >> _HALF, y >> _HALF) << _HALF) | max(x & _LOW, y & _LOW)
