"""Ground: room for many rows, of which only what is touched takes memory."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

_SPARE = 8


def ground(rows: int, row_bytes: int) -> npt.NDArray[np.uint8]:
    """At least `rows` rows of zeros; eight times as many where the system gives addresses for them,
    so that rows are seldom copied because they have become more. Raises MemoryError.

    Not in pages of two megabytes: those are faster to walk, but where memory is new to a machine
    that is itself a guest, a first touch of them took three times as long.
    """
    for count in (_SPARE * rows, rows):
        try:
            held = mmap.mmap(-1, max(count * row_bytes, 1),
                             flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError):
            continue
        return np.frombuffer(held, np.uint8, count * row_bytes).reshape(count, row_bytes)
    raise MemoryError(f"no room for {rows} rows of {row_bytes} bytes")
