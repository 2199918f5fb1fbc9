"""Framed rows: what the changelog, snapshots and handovers hold of a row: a header, the row's
bytes, and its tail as JSON."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from streams.engine.compiling import compiled
from streams.engine.touching import LINE, touch
from streams.kernel.errors import StateError

_HEADER = struct.Struct("<4sIII")          # magic, layout id, row bytes, tail bytes
_MAGIC = b"KRW2"

Words = npt.NDArray[np.int64]


def header(layout: int, row_bytes: int, tail_bytes: int = 0) -> bytes:
    return _HEADER.pack(_MAGIC, layout, row_bytes, tail_bytes)


@compiled
def _copy_all(rows, slots, before, whole):
    """Each row behind the words of `before`."""
    first, row_bytes = len(before), 8 * rows.shape[1]
    for n in range(len(slots)):
        slot = slots[n]
        if n + 1 < len(slots):
            for at in range(0, row_bytes, LINE):
                touch(rows, slots[n + 1] * row_bytes + at)
        for k in range(first):
            whole[n, k] = before[k]
        for k in range(rows.shape[1]):
            whole[n, first + k] = rows[slot, k]


def frame_all(layout: int, rows: Words, slots: Words, tails: Mapping[int, bytes],
              front: bytes = b"") -> list[bytes]:
    """The rows (words) at `slots`, framed, each behind `front`; tails are by place in `slots`.

    front   whole words, for who would have to copy each row once more to put something before it
    """
    row_bytes = 8 * rows.shape[1]
    before = np.frombuffer(front + header(layout, row_bytes), np.int64)
    whole = np.empty((len(slots), len(before) + rows.shape[1]), np.int64)
    _copy_all(rows, slots, before, whole)
    # As values without a form, numpy makes bytes of them by itself, one after the other.
    framed: list[bytes] = whole.view(f"V{8 * whole.shape[1]}").reshape(-1).tolist()
    for n, tail in tails.items():
        framed[n] = (front + header(layout, row_bytes, len(tail)) + framed[n][8 * len(before):]
                     + tail)
    return framed


def split(value: bytes) -> tuple[int, bytes | None, dict[str, Any]]:
    """(layout, row, tail) of framed bytes; no row when they are none of this form. Raises
    StateError when they are too short for a header."""
    if len(value) < _HEADER.size:
        raise StateError("a changelog value is shorter than a row's header")
    magic, layout, row_bytes, tail_bytes = _HEADER.unpack_from(value)
    end = _HEADER.size + row_bytes
    if magic != _MAGIC or len(value) != end + tail_bytes:
        return layout, None, {}
    return layout, value[_HEADER.size:end], orjson.loads(value[end:]) if tail_bytes else {}
