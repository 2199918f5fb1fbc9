"""Packing: rows without the words that are zero; and as records of whole blocks in an arena.

    header (words taken, tail bytes, key bytes, blocks, armed) | key | bit maps | words | tail

A row of somebody who was here once is mostly zeros. A record begins at a multiple of BLOCK bytes,
its words at a multiple of eight. A free record is zeros, but for the next free one of its size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.engine.compiling import compiled
from streams.engine.hashing import hash64
from streams.engine.index import insert

BLOCK = 64
HEADER_BYTES = 24
WORDS, TAIL, KEY, BLOCKS = range(4)        # header, as uint32; behind them `armed`, an int64
ARMED = 2


class Arena(NamedTuple):
    """The same bytes as numbers of several widths."""

    u8: npt.NDArray[np.uint8]
    u32: npt.NDArray[np.uint32]
    i64: npt.NDArray[np.int64]


def views(raw: npt.NDArray[np.uint8]) -> Arena:
    return Arena(raw, raw.view(np.uint32), raw.view(np.int64))


@compiled
def _padded(size):
    return (size + 7) & ~7


@compiled
def blocks_of(i64, slots, key_sizes, tail_ends, blocks):
    """How many blocks each row needs; their sum."""
    width, total = i64.shape[1], 0
    for n in range(len(slots)):
        count = (width + 63) >> 6
        for k in range(width):
            count += i64[slots[n], k] != 0
        tail = tail_ends[n] - (tail_ends[n - 1] if n else 0)
        size = HEADER_BYTES + _padded(key_sizes[slots[n]]) + 8 * count + tail
        blocks[n] = (size + BLOCK - 1) // BLOCK
        total += blocks[n]
    return total


@compiled
def pack(words, at, i64, slot):
    """Write a row, bit maps and words, from word `at` on; how many words that took."""
    width = i64.shape[1]
    maps = (width + 63) >> 6
    to = at + maps
    for m in range(maps):
        bits = uint64(0)
        for k in range(m << 6, min((m + 1) << 6, width)):
            if i64[slot, k] != 0:
                bits |= uint64(1) << uint64(k & 63)
                words[to] = i64[slot, k]
                to += 1
        words[at + m] = np.int64(bits)
    return to - at


@compiled
def unpack(words, at, i64, slot):
    """What `pack` wrote at `at`, into a row that may hold anything."""
    width = i64.shape[1]
    source = at + ((width + 63) >> 6)
    for k in range(width):
        if uint64(words[at + (k >> 6)]) >> uint64(k & 63) & uint64(1):
            i64[slot, k] = words[source]
            source += 1
        else:
            i64[slot, k] = 0


@compiled
def store_all(arena, heads, first, blocks, i64, ix, slots, tails, tail_ends, armed, taken):
    """Write records; `taken` gets their blocks. Returns the first block that was never used."""
    tail_at = 0
    for n in range(len(slots)):
        slot, count = slots[n], blocks[n]
        block = np.int64(heads[count])
        if block:
            heads[count] = arena.u32[block * BLOCK >> 2]
        else:
            block = first
            first += count
        taken[n] = block
        base, key_bytes = block * BLOCK, np.int64(ix.sizes[slot])
        for i in range(key_bytes):
            arena.u8[base + HEADER_BYTES + i] = ix.arena[ix.starts[slot] + i]
        at = base + HEADER_BYTES + _padded(key_bytes)
        words = pack(arena.i64, at >> 3, i64, slot)
        at += 8 * words
        for i in range(tail_at, tail_ends[n]):
            arena.u8[at + i - tail_at] = tails[i]
        head = base >> 2
        arena.u32[head + WORDS], arena.u32[head + TAIL] = words, tail_ends[n] - tail_at
        arena.u32[head + KEY], arena.u32[head + BLOCKS] = key_bytes, count
        arena.i64[(base >> 3) + ARMED] = armed[n]
        tail_at = tail_ends[n]
    return first


@compiled
def load_all(arena, blocks, ix, i64, slots, tail_at, tail_sizes):
    """Rows back into the index, which has room for them; where their tails lie."""
    for n in range(len(blocks)):
        base = np.int64(blocks[n]) * BLOCK
        head, at = base >> 2, base + HEADER_BYTES
        key_bytes = np.int64(arena.u32[head + KEY])
        slots[n] = insert(ix, arena.u8, at, key_bytes, hash64(arena.u8, at, key_bytes))
        at += _padded(key_bytes)
        unpack(arena.i64, at >> 3, i64, slots[n])
        tail_at[n] = at + 8 * np.int64(arena.u32[head + WORDS])
        tail_sizes[n] = arena.u32[head + TAIL]


@compiled
def read_all(arena, blocks, i64, tail_at, tail_sizes):
    """Copies of rows, one after the other; where their tails lie."""
    for n in range(len(blocks)):
        base = np.int64(blocks[n]) * BLOCK
        head = base >> 2
        at = base + HEADER_BYTES + _padded(np.int64(arena.u32[head + KEY]))
        unpack(arena.i64, at >> 3, i64, n)
        tail_at[n] = at + 8 * np.int64(arena.u32[head + WORDS])
        tail_sizes[n] = arena.u32[head + TAIL]
