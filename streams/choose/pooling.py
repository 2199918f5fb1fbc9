"""Pooling: the rows that all partitions keep of a group become one, as if there were one partition.

The second of two phases; the first is `sharing`. Rows of groups are sums, least, greatest and sets
of events, so the pooled row equals, byte for byte, that of one partition which heard everything
(but for the stamp, which is a partition's own). It is made when it is asked for, and kept until a
partition says something new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streams.choose.features.layout import (
    MASK,
    NEWEST,
    PEOPLE,
    RING,
    SINCE,
    STAMP,
    Cell,
    Layout,
)
from streams.choose.features.merging import merge_cell
from streams.engine.rows import Rows
from streams.engine.whole import GREATEST
from streams.kernel.errors import StateError
from streams.kernel.side_inputs import SEGMENT, Group, SideInputs

Bytes = npt.NDArray[np.uint8]
POOLED_MAX: Final = 1024            # groups whose rows are kept put together


class Pools:
    """Groups' rows over all partitions, of the layout in force. Shares of another layout wait for
    their partition's next owner, who says them anew."""

    def __init__(self, layout: Layout, side: SideInputs) -> None:
        self._layout, self._side = layout, side
        self.rows = Rows(row_bytes=layout.row_bytes, layout=layout.id)
        self._made_of: dict[Group, Mapping[int, Any]] = {}

    def slot(self, group: Group) -> int | None:
        """Where in `rows` the group's pooled row lies until the next call; None: nobody has said
        anything of it."""
        shares = self._side.rolls.get(group)
        if shares is None:
            return None
        key = "\x1f".join(group).encode()
        if self._made_of.get(group) is shares:
            return self.rows.find(key)
        parts = [part for _, share in sorted(shares.items())
                 if (part := self._read(share.get("row", b""))) is not None]
        if group not in self._made_of and len(self._made_of) >= POOLED_MAX:
            oldest = next(iter(self._made_of))
            self._drop("\x1f".join(oldest).encode())
            del self._made_of[oldest]
        self._made_of[group] = shares
        if not parts:
            self._drop(key)
            return None
        slot = self.rows.slot(key)
        self.rows.views.u8[slot] = pooled(self._layout, parts)
        if group[1] == SEGMENT:
            self.rows.views.i64[slot, SINCE] = max(int(part.view(np.int64)[SINCE])
                                                   for part in parts)
        return slot

    def _drop(self, key: bytes) -> None:
        self.rows.drop(key)
        self.rows.forget_dirty()        # there is no changelog

    def _read(self, encoded: bytes) -> Bytes | None:
        if not encoded:
            return None
        try:
            return np.frombuffer(self.rows.read(encoded)[0], np.uint8)
        except StateError:
            return None


def pooled(layout: Layout, parts: Sequence[Bytes]) -> Bytes:
    """One row of `parts`, which are rows of `layout`; its stamp is 0."""
    stack = np.stack(parts)
    row, words = stack[0].copy(), stack.view(np.int64)
    for cell in layout.cells.values():
        if cell.kind != RING or not _add_rings(cell, row, stack):
            for other in stack[1:]:
                merge_cell(cell, row, other)
    header = row.view(np.int64)
    # Offsets where a thing's row began are one partition's own.
    header[STAMP] = header[MASK] = 0
    header[NEWEST], header[PEOPLE] = words[:, NEWEST].max(), words[:, PEOPLE].sum()
    return row


def _add_rings(cell: Cell, row: Bytes, stack: Bytes) -> bool:
    """Add the rings of all rows at once, tile by tile under the newest head; False where a tile
    might be full."""
    rings = stack[:, cell.at:cell.at + cell.size].view(np.int64)
    heads, tiles = rings[:, :1], cell.tiles
    numbers = heads.max() - tiles + 1 + np.arange(tiles)
    places = numbers % tiles
    held = (heads - tiles < numbers) & (numbers <= heads)
    values = np.where(held, rings[:, 1:][:, places], 0)
    if len(rings) * float(np.abs(values.astype(np.float64)).max()) >= GREATEST / 2:
        return False
    into = row[cell.at:cell.at + cell.size].view(np.int64)
    into[0] = heads.max()
    into[1 + places] = values.sum(axis=0)
    return True
