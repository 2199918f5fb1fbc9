"""Framed rows: whatever a row holds comes back, and nothing that is damaged is taken for a row."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine import framed
from streams.kernel.errors import StateError

HEADER_BYTES = 16
Rows = npt.NDArray[np.int64]


def some_rows(count: int, width: int, share: float, seed: int) -> Rows:
    dice = np.random.default_rng(seed)
    rows = dice.integers(-2**63, 2**63, (count, width), dtype=np.int64)
    rows[dice.random((count, width)) >= share] = 0
    return rows


def twin(layout: int, row: list[int], tail: bytes) -> bytes:
    """A frame, put together slowly."""
    maps = [sum(1 << k for k, word in enumerate(row[at:at + 64]) if word)
            for at in range(0, len(row), 64)]
    words = [word for word in row if word]
    return (struct.pack("<4sIII", b"KRW3", layout, 8 * len(row), len(tail))
            + struct.pack(f"<{len(maps)}Q{len(words)}q", *maps, *words) + tail)


@given(width=st.integers(1, 200), share=st.sampled_from((0.0, 0.02, 0.3, 0.9, 1.0)),
       seed=st.integers(0, 10**6), front=st.sampled_from((b"", b"8 bytes!", b"8 bytes!" * 2)))
def test_rows_are_framed_as_the_slow_twin_does_and_come_back(width: int, share: float, seed: int,
                                                             front: bytes) -> None:
    rows, dice = some_rows(9, width, share, seed), random.Random(seed)
    slots = np.array(dice.sample(range(9), 5), np.int64)
    tails = {n: json.dumps({"n": n}).encode() for n in range(5) if dice.random() < 0.4}
    found = framed.frame_all(7, rows, slots, tails, front)
    assert found == [front + twin(7, rows[slot].tolist(), tails.get(n, b""))
                     for n, slot in enumerate(slots.tolist())]
    for n, value in enumerate(found):
        said: dict[str, Any] = {"n": n} if n in tails else {}
        assert framed.split(value[len(front):]) == (7, rows[slots[n]].tobytes(), said)
    keys, words, starts = framed.plain({b"%d" % n: value for n, value in enumerate(found)}, 7,
                                       8 * width, len(front))
    assert keys == [b"%d" % n for n in range(5) if n not in tails]
    again, places = np.full((9, width), -1, np.int64), np.arange(len(keys))
    framed.unpack_all(words, starts, again, places)
    assert (again[:len(keys)] == rows[slots[[n for n in range(5) if n not in tails]]]).all()


def test_no_rows_are_no_frames() -> None:
    assert framed.frame_all(7, some_rows(3, 4, 1.0, 1), np.zeros(0, np.int64), {}) == []
    keys, _, starts = framed.plain({}, 7, 32, 8)
    assert keys == [] and len(starts) == 0


@pytest.mark.parametrize("tail", [b'{"n":', b"\xff\xff", b"n"])
def test_a_row_whose_tail_is_damaged_is_none(tail: bytes) -> None:
    row = np.array([[3, 0, 9]], np.int64)
    (value,) = framed.frame_all(7, row, np.zeros(1, np.int64), {0: tail})
    assert framed.split(value) == (7, None, {})


@pytest.mark.parametrize("tail", (b"", b'{"n":1}'))
def test_a_row_that_a_build_before_wrote_with_its_zeros_is_read(tail: bytes) -> None:
    row = some_rows(1, 20, 0.2, 3)[0].tobytes()
    value = struct.pack("<4sIII", b"KRW2", 7, len(row), len(tail)) + row + tail
    assert framed.split(value) == (7, row, {"n": 1} if tail else {})
    assert framed.plain({b"k": value}, 7, len(row), 0)[0] == []
    assert framed.split(value[:-1])[1] is None


@pytest.mark.parametrize("width", (1, 63, 64, 65, 130))
def test_what_is_damaged_is_no_row(width: int) -> None:
    """One bit of a bit map, or any number of bytes more or fewer, and nothing else is read."""
    (whole,) = framed.frame_all(7, some_rows(1, width, 0.5, width), np.zeros(1, np.int64), {})
    maps = HEADER_BYTES + 8 * ((width + 63) // 64)
    damaged = [whole[:n] for n in range(HEADER_BYTES, len(whole))] + [whole + b"\0" * 8,
                                                                      whole + b"\0"]
    for bit in range(8 * HEADER_BYTES, 8 * maps):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for value in damaged:
        assert framed.split(value) == (7, None, {}), value
    given = {b"%d" % n: value for n, value in enumerate(damaged)} | {b"good": whole}
    assert framed.plain(given, 7, 8 * width, 0)[0] == [b"good"]


def test_rows_of_another_layout_are_left_to_whoever_knows_it() -> None:
    rows = some_rows(2, 10, 0.5, 1)
    (own,) = framed.frame_all(7, rows, np.array([0]), {})
    (other,) = framed.frame_all(8, rows, np.array([1]), {})
    assert framed.plain({b"a": other, b"b": own}, 7, 80, 0)[0] == [b"b"]
    assert framed.split(other)[:2] == (8, rows[1].tobytes())


@pytest.mark.parametrize("value", (b"", b"KRW3", b"KRW3" + bytes(11)))
def test_what_is_shorter_than_a_header_is_said(value: bytes) -> None:
    with pytest.raises(StateError, match="shorter than a row's header"):
        framed.split(value)


@pytest.mark.parametrize("row_bytes", (12, 2**32 - 8))
def test_a_header_that_promises_too_much_is_no_row(row_bytes: int) -> None:
    value = struct.pack("<4sIII", b"KRW3", 7, row_bytes, 0) + bytes(80)
    assert framed.split(value) == (7, None, {})
