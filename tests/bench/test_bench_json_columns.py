"""The benchmark's JSON reader takes a part of JSON, and reads of it what a full parser reads."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.signal.json_columns import TEXT, WHOLE, JsonColumns

READER = JsonColumns({"user": TEXT, "type": TEXT, "ms": WHOLE})
PLAIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'),
                max_size=12)
NUMBERS = st.integers(-10**17, 10**17)
SCALARS = st.one_of(st.none(), st.booleans(), PLAIN, NUMBERS, st.floats(-1e6, 1e6))
GOOD = {"user": "u1", "type": "view", "ms": 5}


def read(value: bytes) -> dict[str, Any] | None:
    """What the reader made of `value`; None when it leaves it to a full parser."""
    found = READER.decode([b'{"user":"", "type":"", "ms":0}', value])
    assert found.good[0]
    if not found.good[1]:
        return None
    row: dict[str, Any] = {"ms": int(found.numbers[1, 2])}
    for column, name in enumerate(("user", "type")):
        start, size = int(found.numbers[1, column]), int(found.sizes[1, column])
        row[name] = found.raw[start:start + size].tobytes().decode()
    return row


@settings(deadline=None)
@given(PLAIN, PLAIN, NUMBERS, st.dictionaries(PLAIN.map(lambda name: f"x{name}"), SCALARS),
       st.randoms(use_true_random=False), st.sampled_from([None, 0, 1, 3]))
def test_what_apps_send_is_read_whatever_its_order_and_spaces(
        user: str, kind: str, ms: int, more: dict[str, Any], dice: Any, indent: int | None) -> None:
    fields = [*more.items(), ("user", user), ("type", kind), ("ms", ms)]
    dice.shuffle(fields)
    found = read(json.dumps(dict(fields), indent=indent).encode())
    if found is None:                    # only for a number in a form that is left to others
        assert any(isinstance(value, float) for value in more.values())
    else:
        assert found == {"user": user, "type": kind, "ms": ms}


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 40), st.integers(0, 3))
def test_what_is_taken_is_what_a_full_parser_reads(noise: bytes, at: int, cut: int) -> None:
    whole = orjson.dumps(GOOD)
    value = whole[:at] + noise + whole[at + cut:]
    found = read(value)
    if found is not None:
        full = orjson.loads(value)
        assert {name: full[name] for name in GOOD} == found


@pytest.mark.parametrize("value", [
    {**GOOD, "user": "a\"b"}, {**GOOD, "user": "é"}, {**GOOD, "ms": 1.5}, {**GOOD, "ms": "5"},
    {**GOOD, "user": 5}, {**GOOD, "user": None}, {"user": "u1", "ms": 5}, {**GOOD, "x": {}}, []],
    ids=str)
def test_what_is_not_plain_is_left_to_a_full_parser(value: Any) -> None:
    assert read(json.dumps(value, ensure_ascii=False).encode()) is None
    assert read(b'{"user":"a","user":"b","type":"t","ms":1}') is None
