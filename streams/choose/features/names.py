"""Names: texts as rows keep them, five words, big-endian, so that they are ordered as bytes are.

A text of more than TEXT_BYTES is cut to at most CUT_BYTES, whole characters; the hash of all of it
stands behind, so that long texts are told apart though they are shown cut.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.engine.compiling import compiled
from streams.engine.hashing import hash64

TEXT_BYTES, CUT_BYTES, NAME_WORDS = 40, 31, 5
_MORE = "…"                  # what a cut text ends with


@compiled
def take_name(raw, start, size, names, row):
    """Write the name of the text `raw[start:start + size]` to `names[row]`; all zeros: no text."""
    kept = size
    if size > TEXT_BYTES:
        kept = CUT_BYTES
        while kept > 0 and raw[start + kept] & 0xC0 == 0x80:      # within a character
            kept -= 1
    for w in range(NAME_WORDS):
        word = uint64(0)
        for i in range(8):
            if 8 * w + i < kept:
                word |= uint64(raw[start + 8 * w + i]) << uint64(56 - 8 * i)
        names[row, w] = np.int64(word)
    if size > TEXT_BYTES:
        names[row, 3] |= 0xFF                                      # in no UTF-8: cut
        names[row, 4] = np.int64(hash64(raw, start, size))


@compiled
def name_column(raw, numbers, sizes, usable, field, names, first, step):
    """The texts of one column: that of record n becomes `names[first + n * step]`."""
    for n in range(len(usable)):
        if usable[n] and sizes[n, field]:
            take_name(raw, numbers[n, field], sizes[n, field], names, first + n * step)


@lru_cache(maxsize=8192)
def name_of(text: str) -> tuple[int, ...]:
    """The name of a text, for what is not in a loop."""
    raw, name = np.frombuffer(text.encode(), np.uint8), np.zeros((1, NAME_WORDS), np.int64)
    take_name(raw, 0, len(raw), name, 0)
    return tuple(name[0].tolist())


def shown(name: npt.NDArray[np.int64]) -> str:
    """The text of a name; one that was cut ends with _MORE."""
    raw = name.astype(">i8").tobytes()
    if raw[CUT_BYTES] == 0xFF:
        return raw[:CUT_BYTES].rstrip(b"\0").decode(errors="replace") + _MORE
    return raw.rstrip(b"\0").decode(errors="replace")
