"""Framed rows: what the changelog, snapshots and handovers hold of a row: a header, the row's
bytes, and its tail as JSON."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from streams.kernel.errors import StateError

_HEADER = struct.Struct("<4sIII")          # magic, layout id, row bytes, tail bytes
_MAGIC = b"KRW2"


def header(layout: int, row_bytes: int, tail_bytes: int = 0) -> bytes:
    return _HEADER.pack(_MAGIC, layout, row_bytes, tail_bytes)


def put(layout: int, numbers: Sequence[int], rows: npt.NDArray[np.uint8],
        tails: Mapping[int, bytes], found: list[bytes | None]) -> None:
    """Row n goes, framed, to place numbers[n] of `found`; tails are by place."""
    row_bytes = rows.shape[1]
    plain = header(layout, row_bytes)
    size = len(plain) + row_bytes
    whole = np.empty((len(rows), size), np.uint8)
    whole[:, :len(plain)] = np.frombuffer(plain, np.uint8)
    whole[:, len(plain):] = rows
    raw = whole.reshape(-1).data
    for n, number in enumerate(numbers):
        found[number] = bytes(raw[n * size:(n + 1) * size])
    for number, tail in tails.items():
        row = found[number]
        assert row is not None
        found[number] = header(layout, row_bytes, len(tail)) + row[len(plain):] + tail


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
