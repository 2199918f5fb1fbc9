"""Merging: two histories of one person become one, as if it had always been one.

The row of a visitor goes into the row of the person they turned out to be. Every cell is a sum, a
least, a greatest or a set, so the merged row equals, byte for byte, the row that would have heard
both histories; `tests/choose/test_merging.py` holds it to that. Rare, hence not compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from streams.choose.features.layout import (
    BITS,
    DISTINCT,
    FAVOURITES,
    FIRST,
    HLL_REGISTERS,
    HLL_TILES,
    LAST,
    MAX,
    MIN,
    NEWEST,
    RING,
    RING16,
    SPANS,
    TIMES,
    TRAIT,
    UNIQUE,
    Cell,
    Layout,
)
from streams.choose.features.sessions import union, widest
from streams.choose.features.spec import EXACT_DISTINCT_MAX
from streams.choose.features.texts import ENTRY, TEXT_TILES, merge_counts, merge_entries
from streams.choose.features.updating import TILE16_MAX
from streams.engine.whole import GREATEST

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.int64]
Combine = Callable[[int, int], int]


def merge(layout: Layout, into: Bytes, other: Bytes) -> None:
    """Add the history of row `other` to row `into`, in place. Both are rows of `layout`."""
    for cell in layout.cells.values():
        merge_cell(cell, into, other)
    mine, theirs = into.view(np.int64), other.view(np.int64)
    mine[NEWEST] = max(mine[NEWEST], theirs[NEWEST])


def merge_cell(cell: Cell, into: Bytes, other: Bytes) -> None:
    """`merge` for one cell."""
    _OF_KIND[cell.kind](cell, *(row[cell.at:cell.at + cell.size] for row in (into, other)))


def _ring(cell: Cell, a: Bytes, b: Bytes, tiles_of: Callable[[Bytes], npt.NDArray[np.generic]],
          combine: Combine) -> None:
    """Tile by tile, under the newer of the two heads."""
    heads = [int(row[:8].view(np.int64)[0]) for row in (a, b)]
    head, tiles = max(heads), cell.tiles
    kept = [tiles_of(row[8:]) for row in (a, b)]
    merged = np.zeros_like(kept[0])
    for tile in range(head - tiles + 1, head + 1):
        values = [int(own[tile % tiles]) if h - tiles < tile <= h else 0
                  for h, own in zip(heads, kept, strict=True)]
        merged[tile % tiles] = combine(*values)
    a[:8].view(np.int64)[0] = head
    kept[0][:] = merged


def _ring64(combine: Combine) -> Callable[[Cell, Bytes, Bytes], None]:
    def merged(cell: Cell, a: Bytes, b: Bytes) -> None:
        _ring(cell, a, b, lambda tiles: tiles.view(np.int64), combine)
    return merged


def _ring16(cell: Cell, a: Bytes, b: Bytes) -> None:
    _ring(cell, a, b, lambda tiles: tiles.view(np.uint16)[:cell.tiles],
          lambda x, y: min(x + y, TILE16_MAX))


def _sum(x: int, y: int) -> int:
    return max(-GREATEST, min(GREATEST, x + y))


def _least(x: int, y: int) -> int:
    return min(x, y) if x and y else x or y


def _most(x: int, y: int) -> int:
    return max(x, y) if x and y else x or y


def _times(cell: Cell, a: Bytes, b: Bytes) -> None:
    mine, theirs = a.view(np.int64), b.view(np.int64)
    mine[:] = (_least(int(mine[0]), int(theirs[0])), max(mine[1], theirs[1]), mine[2] + theirs[2])


def _number(cell: Cell, a: Bytes, b: Bytes) -> None:
    """First or last by event time, then offset, then number, as within one history."""
    mine, theirs = a.view(np.int64), b.view(np.int64)
    if theirs[0] == 0:
        return
    later = tuple(theirs) > tuple(mine)
    if mine[0] == 0 or later == (cell.kind == LAST):
        mine[:] = theirs


def _trait(cell: Cell, a: Bytes, b: Bytes) -> None:
    """The person's own word, else the visitor's."""
    if not a.any():
        a[:] = b


def _distinct(cell: Cell, a: Bytes, b: Bytes) -> None:
    """The newest items of both; of the estimate's registers the greater."""
    end = 16 * EXACT_DISTINCT_MAX
    newest: dict[int, int] = {}
    for row in (a, b):
        for seen_ms, item in row[:end].view(np.int64).reshape(EXACT_DISTINCT_MAX, 2).tolist():
            if seen_ms:
                newest[item] = max(seen_ms, newest.get(item, 0))
    ranked = sorted(newest.items(), key=lambda pair: (-pair[1], pair[0] % 2**64))
    kept = a[:end].view(np.int64).reshape(EXACT_DISTINCT_MAX, 2)
    kept[:] = 0
    for j, (item, seen_ms) in enumerate(ranked[:EXACT_DISTINCT_MAX]):
        kept[j] = (seen_ms, item)
    _registers(a[end:], b[end:])


def _registers(a: Bytes, b: Bytes) -> None:
    heads = [int(row[:8].view(np.int64)[0]) for row in (a, b)]
    head = max(heads)
    mine, theirs = (row[8:].reshape(HLL_TILES, HLL_REGISTERS) for row in (a, b))
    merged = np.zeros_like(mine)
    for tile in range(head - HLL_TILES + 1, head + 1):
        at = tile % HLL_TILES
        for own_head, own in zip(heads, (mine, theirs), strict=True):
            if own_head - HLL_TILES < tile <= own_head:
                merged[at] = np.maximum(merged[at], own[at])
    a[:8].view(np.int64)[0] = head
    mine[:] = merged


def _unique(cell: Cell, a: Bytes, b: Bytes) -> None:
    merge_entries(*(row.view(np.int64).reshape(cell.tiles, ENTRY) for row in (a, b)))


def _favourites(cell: Cell, a: Bytes, b: Bytes) -> None:
    """The entries of both; the counts tile by tile, under the newer of the two heads."""
    room, end = cell.tiles, ENTRY * cell.tiles
    rows = [row.view(np.int64) for row in (a, b)]
    merge_entries(*(row[:end].reshape(room, ENTRY) for row in rows))
    heads = [int(row[end]) for row in rows]
    head = max(heads)
    mine, theirs = (row[end + 1:].reshape(TEXT_TILES, 2, room) for row in rows)
    merged = np.zeros_like(mine)
    for tile in range(head - TEXT_TILES + 1, head + 1):
        at = tile % TEXT_TILES
        for own_head, own in zip(heads, (mine, theirs), strict=True):
            if own_head - TEXT_TILES < tile <= own_head:
                merge_counts(merged[at], own[at], tile)
    rows[0][end], mine[:] = head, merged


_OF_KIND: dict[int, Callable[[Cell, Bytes, Bytes], None]] = {
    RING16: _ring16, RING: _ring64(_sum), MIN: _ring64(_least), MAX: _ring64(_most),
    TIMES: _times, FIRST: _number, LAST: _number, DISTINCT: _distinct,
    TRAIT: _trait, BITS: _ring64(union), SPANS: _ring64(widest),
    UNIQUE: _unique, FAVOURITES: _favourites,
}
