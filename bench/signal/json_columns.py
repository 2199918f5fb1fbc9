"""Columns of a batch of JSON objects, without a Python object per field. Compiled.

For flat objects of known fields, as an app's events are. What this reader takes is a strict part of
JSON (RFC 8259): an object of names without escapes whose values are strings without escapes,
numbers, true, false or null, in ASCII. A record with anything else (a nested value, an escape, a
name twice, a number with a fraction where a whole one is asked) is left to a full parser: `good` is
False, which does not mean that it is bad.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.engine.avro_columns import Columns
from streams.engine.compiling import compiled
from streams.engine.hashing import hash64, hash_of

TEXT, WHOLE = 0, 1
_QUOTE, _BACKSLASH, _COMMA, _COLON, _OPEN, _CLOSE = 0x22, 0x5C, 0x2C, 0x3A, 0x7B, 0x7D
_MINUS, _ZERO, _NINE = 0x2D, 0x30, 0x39
_DIGITS_MAX = 18
# What ends a plain run of a string: the quote, or what a full parser must look at.
_ENDS_TEXT = np.array([byte < 0x20 or byte >= 0x80 or byte in (_QUOTE, _BACKSLASH)
                       for byte in range(256)])


@compiled
def _skip(raw, at, end):
    while at < end and (raw[at] == 0x20 or raw[at] == 0x0A or raw[at] == 0x0D or raw[at] == 0x09):
        at += 1
    return at


@compiled
def _text(raw, at, end):
    """`at` is behind the opening quote; where the closing one stands, or -1."""
    for i in range(uint64(at), uint64(end)):      # unsigned: no index can count from the end
        if _ENDS_TEXT[raw[i]]:
            return np.int64(i) if raw[i] == _QUOTE else -1
    return -1


@compiled
def _number(raw, at, end):
    """(whole number, next position or -1, is it whole): the grammar of RFC 8259, section 6."""
    negative = raw[at] == _MINUS
    if negative:
        at += 1
    begin, number = at, np.int64(0)
    while at < end and _ZERO <= raw[at] <= _NINE:
        number = number * 10 + (raw[at] - _ZERO)
        at += 1
    digits = at - begin
    if digits == 0 or digits > _DIGITS_MAX or (digits > 1 and raw[begin] == _ZERO):
        return np.int64(0), -1, False
    whole = True
    if at < end and raw[at] == 0x2E:
        whole, begin = False, at + 1
        at += 1
        while at < end and _ZERO <= raw[at] <= _NINE:
            at += 1
        if at == begin:
            return np.int64(0), -1, False
    if at < end and (raw[at] == 0x65 or raw[at] == 0x45):
        return np.int64(0), -1, False
    return (-number if negative else number), at, whole


@compiled
def _word(raw, at, end):
    """Behind true, false or null; -1 when it is none of them."""
    if at + 4 <= end and raw[at + 1] == 0x72 and raw[at + 2] == 0x75 and raw[at + 3] == 0x65 and (
            raw[at] == 0x74):
        return at + 4
    if at + 4 <= end and raw[at] == 0x6E and raw[at + 1] == 0x75 and raw[at + 2] == 0x6C and (
            raw[at + 3] == 0x6C):
        return at + 4
    if at + 5 <= end and raw[at] == 0x66 and raw[at + 1] == 0x61 and raw[at + 2] == 0x6C and (
            raw[at + 3] == 0x73) and raw[at + 4] == 0x65:
        return at + 5
    return -1


@compiled
def _value(raw, at, end, f, kinds, numbers, sizes):
    """Read one value, into field `f` when that is one of ours; the position behind it, or -1."""
    if raw[at] == _QUOTE:
        close = _text(raw, at + 1, end)
        if close < 0 or (f >= 0 and kinds[f] != TEXT):
            return -1
        if f >= 0:
            numbers[f], sizes[f] = at + 1, close - at - 1
        return close + 1
    if raw[at] == _MINUS or _ZERO <= raw[at] <= _NINE:
        number, behind, whole = _number(raw, at, end)
        if f >= 0 and (kinds[f] != WHOLE or not whole):
            return -1
        if f >= 0:
            numbers[f] = number
        return behind
    return _word(raw, at, end) if f < 0 else -1


@compiled
def _object(raw, at, end, names, kinds, numbers, sizes):
    """Read one object that fills raw[at:end]; True when all fields were there, once each."""
    at = _skip(raw, at, end)
    if at >= end or raw[at] != _OPEN:
        return False
    at, found, guess = at + 1, uint64(0), 0
    while at < end:                              # most producers write no space: look before a call
        if raw[at] <= 0x20:
            at = _skip(raw, at, end)
        if at >= end or raw[at] != _QUOTE:
            return False
        close = _text(raw, at + 1, end)
        if close < 0:
            return False
        name, f = hash64(raw, at + 1, close - at - 1), -1
        for k in range(len(names)):              # producers keep their order: the next is likely
            j = guess + k if guess + k < len(names) else guess + k - len(names)
            if names[j] == name:
                f = j
                guess = j + 1
                break
        if f >= 0:
            bit = uint64(1) << uint64(f)
            if found & bit:
                return False
            found |= bit
        at = close + 1
        if at < end and raw[at] <= 0x20:
            at = _skip(raw, at, end)
        if at + 1 >= end or raw[at] != _COLON:
            return False
        at += 1
        if raw[at] <= 0x20:
            at = _skip(raw, at, end)
        if at >= end:
            return False
        at = _value(raw, at, end, f, kinds, numbers, sizes)
        if at < 0:
            return False
        if at < end and raw[at] <= 0x20:
            at = _skip(raw, at, end)
        if at >= end:
            return False
        if raw[at] == _CLOSE:
            return (_skip(raw, at + 1, end) == end
                    and found == (uint64(1) << uint64(len(names))) - uint64(1))
        if raw[at] != _COMMA:
            return False
        at += 1
    return False


@compiled
def _objects(raw, ends, names, kinds, numbers, sizes, good):
    start = 0
    for n in range(len(ends)):
        good[n] = _object(raw, start, ends[n], names, kinds, numbers[n], sizes[n])
        start = ends[n]


class JsonColumns:
    """`fields`: name -> TEXT or WHOLE, at most 60; every record must have each of them."""

    def __init__(self, fields: dict[str, int]) -> None:
        assert 0 < len(fields) <= 60
        self.fields = {name: i for i, name in enumerate(fields)}
        self._names = np.array([hash_of(name) for name in fields], np.uint64)
        self._kinds = np.array(list(fields.values()), np.int64)

    def decode(self, values: Sequence[bytes]) -> Columns:
        count, width = len(values), len(self._kinds)
        raw = np.frombuffer(b"".join(values) or b"\0", np.uint8)
        ends = np.cumsum(np.fromiter(map(len, values), np.int64, count))
        numbers, sizes = np.zeros((count, width), np.int64), np.zeros((count, width), np.int32)
        good = np.zeros(count, np.bool_)
        _objects(raw, ends, self._names, self._kinds, numbers, sizes, good)
        every: npt.NDArray[np.bool_] = np.ones(count, np.bool_)
        return Columns(raw, numbers, sizes, every, good, good)
