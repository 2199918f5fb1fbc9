"""Framed rows: what the changelog, snapshots and handovers hold of a row: a header, the row
without its zero words (`packing`), and its tail as JSON.

A row of somebody who was here a few times is mostly zeros. What is taken out here need not be
copied, kept until it is acknowledged, compressed, sent and read again.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from numba import uint64

from streams.engine.compiling import compiled
from streams.engine.packing import pack, unpack
from streams.engine.touching import LINE, touch
from streams.kernel.errors import StateError

_HEADER = struct.Struct("<4sIII")          # magic, layout id, row bytes, tail bytes
_MAGIC = b"KRW3"
_WITH_ZEROS = b"KRW2"                      # of builds that wrote a row as it is; read for ever

Words = npt.NDArray[np.int64]


def header(layout: int, row_bytes: int, tail_bytes: int = 0) -> bytes:
    return _HEADER.pack(_MAGIC, layout, row_bytes, tail_bytes)


@compiled
def _frame_all(rows, slots, before, whole, ends):
    """Each row behind the words of `before`; where each ends."""
    at, row_bytes = 0, 8 * rows.shape[1]
    for n in range(len(slots)):
        if n + 1 < len(slots):
            for line in range(0, row_bytes, LINE):
                touch(rows, slots[n + 1] * row_bytes + line)
        for k in range(len(before)):
            whole[at + k] = before[k]
        at += len(before)
        at += pack(whole, at, rows, slots[n])
        ends[n] = at


@compiled
def _fits(words, at, end, width):
    """Do just as many words follow the bit maps of a row at `at` as these say, up to `end`?"""
    maps = (width + 63) >> 6
    if at + maps > end:
        return False
    count = maps
    for m in range(maps):
        bits = uint64(words[at + m])
        last = min(width - (m << 6), 64)
        for k in range(64):
            if bits >> uint64(k) & uint64(1):
                count += 1
                if k >= last:
                    return False
    return at + count == end


@compiled
def _fit_all(words, starts, ends, width, found):
    for n in range(len(starts)):
        found[n] = _fits(words, starts[n], ends[n], width)


@compiled
def _unpack_all(words, starts, rows, slots):
    for n in range(len(starts)):
        unpack(words, starts[n], rows, slots[n])


def frame_all(layout: int, rows: Words, slots: Words, tails: Mapping[int, bytes],
              front: bytes = b"") -> list[bytes]:
    """The rows (words) at `slots`, framed, each behind `front`; tails are by place in `slots`.

    front   whole words, for who would have to copy each row once more to put something before it
    """
    width = rows.shape[1]
    before = np.frombuffer(front + header(layout, 8 * width), np.int64)
    whole = np.empty(len(slots) * (len(before) + (width + 63 >> 6) + width), np.int64)
    ends = np.zeros(len(slots), np.int64)
    _frame_all(rows, slots, before, whole, ends)
    ends *= 8
    # Cut out of bytes that lie together: many small ones made by numpy cost more.
    data, to = whole.view(np.uint8)[:ends.max(initial=0)].tobytes(), ends.tolist()
    framed = [data[start:end] for start, end in zip([0, *to], to, strict=False)]
    for n, tail in tails.items():
        framed[n] = (front + header(layout, 8 * width, len(tail)) + framed[n][8 * len(before):]
                     + tail)
    return framed


def plain(rows: Mapping[bytes, bytes], layout: int, row_bytes: int,
          behind: int) -> tuple[list[bytes], Words, Words]:
    """Those of the framed rows, `behind` so many bytes, that are of this layout and have no tail:
    (their keys, all their words, where in these each row begins, for `unpack_all`)."""
    first, front = header(layout, row_bytes), behind + _HEADER.size
    assert front % 8 == 0, front
    keys = [key for key, value in rows.items()
            if value.startswith(first, behind) and not len(value) % 8]
    ends = np.cumsum(np.fromiter((len(rows[key]) for key in keys), np.int64, len(keys))) // 8
    starts = np.concatenate([np.zeros(1, np.int64), ends])[:len(ends)] + front // 8
    words, good = np.frombuffer(b"".join([rows[key] for key in keys]), np.int64), np.ones(
        len(keys), np.bool_)
    _fit_all(words, starts, ends, row_bytes // 8, good)
    if not good.all():
        keys = [key for key, is_good in zip(keys, good.tolist(), strict=True) if is_good]
    return keys, words, starts[good]


def unpack_all(words: Words, starts: Words, rows: Words, slots: Words) -> None:
    """Rows that `plain` found, into `slots`."""
    _unpack_all(words, starts, rows, slots)


def split(value: bytes) -> tuple[int, bytes | None, dict[str, Any]]:
    """(layout, row, tail) of framed bytes; no row when they are none of this form, or damaged.
    Raises StateError when they are too short for a header."""
    if len(value) < _HEADER.size:
        raise StateError("a changelog value is shorter than a row's header")
    magic, layout, row_bytes, tail_bytes = _HEADER.unpack_from(value)
    end = len(value) - tail_bytes
    row = None
    if magic == _MAGIC:
        row = _unpacked(value[_HEADER.size:max(end, _HEADER.size)], row_bytes)
    elif magic == _WITH_ZEROS and _HEADER.size + row_bytes == end:
        row = value[_HEADER.size:end]
    if not tail_bytes or row is None:
        return layout, row, {}
    try:
        return layout, row, orjson.loads(value[end:])
    except orjson.JSONDecodeError:
        return layout, None, {}


def _unpacked(packed: bytes, row_bytes: int) -> bytes | None:
    if len(packed) % 8 or row_bytes % 8:
        return None
    words, width = np.frombuffer(packed, np.int64), row_bytes // 8
    good = np.zeros(1, np.bool_)
    _fit_all(words, np.zeros(1, np.int64), np.array([len(words)]), width, good)
    if not good[0]:
        return None
    row = np.zeros((1, width), np.int64)
    _unpack_all(words, np.zeros(1, np.int64), row, np.zeros(1, np.int64))
    return row.tobytes()
