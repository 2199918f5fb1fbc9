"""Columns of a batch of Avro records, without a Python object per field. Compiled.

    values (framed, one schema) -> one buffer -> numbers[record, field], sizes[record, field]

Longs and ints are values; doubles are their bits; strings and bytes are where they begin in the
buffer, with their size beside. Each record is read within its own bounds, so a malformed one is
told (`good` is False) and never shifts its neighbours. Unlike fastavro, this does not check that
strings are UTF-8: `plain` says which records are ASCII throughout; the rest is for fastavro to
check. Source: Apache Avro 1.12 specification, "Binary encoding".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.engine.compiling import compiled

_LONG, _DOUBLE, _TEXT, _BOOL = range(4)
_CODES = {"long": _LONG, "int": _LONG, "double": _DOUBLE, "string": _TEXT, "bytes": _TEXT,
          "boolean": _BOOL}


class Columns(NamedTuple):
    """`mine`: the value has the schema's frame; `good`: and could be read to its last byte."""

    raw: npt.NDArray[np.uint8]
    numbers: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    mine: npt.NDArray[np.bool_]
    good: npt.NDArray[np.bool_]
    plain: npt.NDArray[np.bool_]


@compiled
def _varint(raw, at, end):
    """(number, next position or -1): zigzag, at most ten bytes."""
    number, shift = uint64(0), uint64(0)
    while at < end and shift < uint64(70):
        byte = uint64(raw[at])
        at += 1
        number |= (byte & uint64(0x7F)) << shift
        if byte < uint64(0x80):
            return np.int64(number >> uint64(1)) ^ -np.int64(number & uint64(1)), at
        shift += uint64(7)
    return np.int64(0), -1


@compiled
def _record(raw, at, end, codes, numbers, sizes):
    """Read one record into its row of numbers; (read to its last byte, ASCII throughout)."""
    plain = True
    for f in range(len(codes)):
        code = codes[f]
        if code == _LONG:
            numbers[f], at = _varint(raw, at, end)
        elif code == _DOUBLE:
            if at + 8 > end:
                return False, plain
            word = uint64(0)
            for i in range(8):
                word |= uint64(raw[at + i]) << uint64(8 * i)
            numbers[f] = np.int64(word)
            at += 8
        elif code == _BOOL:
            if at >= end or raw[at] > 1:
                return False, plain
            numbers[f] = raw[at]
            at += 1
        else:
            size, at = _varint(raw, at, end)
            if at < 0 or size < 0 or size > end - at:
                return False, plain
            numbers[f], sizes[f] = at, size
            for i in range(at, at + size):
                if raw[i] >= 0x80:
                    plain = False
                    break
            at += size
        if at < 0:
            return False, plain
    return at == end, plain


@compiled
def _records(raw, ends, prefix, codes, numbers, sizes, mine, good, plain):
    start = 0
    for n in range(len(ends)):
        end = ends[n]
        ours = end - start >= len(prefix)
        for i in range(len(prefix)):
            ours = ours and raw[start + i] == prefix[i]
        mine[n] = ours
        if ours:
            good[n], plain[n] = _record(raw, start + len(prefix), end, codes, numbers[n], sizes[n])
        start = end


class ColumnDecoder:
    """For one flat schema: fields of type long, int, double, boolean, string or bytes.

    `prefix`: the frame that every value of the schema begins with.
    """

    def __init__(self, source: dict[str, Any], prefix: bytes) -> None:
        self.fields = {field["name"]: i for i, field in enumerate(source["fields"])}
        self._codes = np.array([_CODES[field["type"]] for field in source["fields"]], np.int64)
        self._prefix = np.frombuffer(prefix, np.uint8)

    def decode(self, values: Sequence[bytes]) -> Columns:
        count = len(values)
        raw = np.frombuffer(b"".join(values) or b"\0", np.uint8)
        ends = np.cumsum(np.fromiter(map(len, values), np.int64, count))
        found = Columns(raw, np.zeros((count, len(self._codes)), np.int64),
                        np.zeros((count, len(self._codes)), np.int32),
                        np.zeros(count, np.bool_), np.zeros(count, np.bool_),
                        np.zeros(count, np.bool_))
        _records(raw, ends, self._prefix, self._codes, *found[1:])
        return found
