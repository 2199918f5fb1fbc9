"""The quick way to bytes is fastavro's, for every contract and every value, odd ones too."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import CONTRACTS
from schemas.contracts import Contract
from schemas.encoding import UNFIT, encoder

NUMBERS = st.one_of(
    st.integers(-2**63, 2**63 - 1), st.integers(-200, 20_000),
    st.sampled_from([sign * 2**power + by for power in range(63) for by in (-1, 0, 1)
                     for sign in (1, -1)]))
FIT: dict[str, st.SearchStrategy[Any]] = {
    "string": st.one_of(st.text(max_size=10), st.integers(60, 20_000).map(lambda n: "é" * n)),
    "bytes": st.binary(max_size=10), "int": NUMBERS.filter(lambda n: -2**31 <= n < 2**31),
    "long": NUMBERS, "double": st.floats(), "boolean": st.booleans()}
ODD = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=3),
                st.binary(max_size=3), st.sampled_from(["\ud800", 2**63, -2**63 - 1, 2**90, []]))
FLAT = {name: kind for name, kind in CONTRACTS.items()
        if encoder(kind.source, kind.prefix) is not None}


def records(kind: Contract) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: FIT[field["type"]] for name, field in kind.fields.items()})


def test_all_contracts_but_what_apps_send_and_what_is_kept_of_it_are_flat() -> None:
    assert CONTRACTS.keys() - FLAT.keys() == {"events.raw", "events.quarantined"}


@pytest.mark.parametrize("name", sorted(FLAT))
def test_the_bytes_are_fastavros(name: str) -> None:
    kind = FLAT[name]
    quick = encoder(kind.source, kind.prefix)
    assert quick is not None

    @settings(max_examples=40, deadline=None)
    @given(records(kind))
    def law(record: dict[str, Any]) -> None:
        assert quick(record) == kind.encode_plainly(record)
    law()


@settings(deadline=None)
@given(st.data())
def test_what_does_not_fit_is_judged_by_fastavro(data: st.DataObject) -> None:
    kind = FLAT[data.draw(st.sampled_from(sorted(FLAT)))]
    record = data.draw(records(kind))
    name = data.draw(st.sampled_from(sorted(record)))
    if data.draw(st.booleans()):
        record[name] = data.draw(ODD)
    else:
        del record[name]
    try:
        expected: object = kind.encode_plainly(record)
    except (*UNFIT, OverflowError) as fault:
        expected = type(fault)
    try:
        assert kind.encode(record) == expected
    except (*UNFIT, OverflowError) as fault:
        assert type(fault) is expected


def test_numbers_are_right_when_what_is_remembered_is_forgotten() -> None:
    kind = CONTRACTS["watermark"]
    blank = {"tenant": "", "origin_partition": 0, "watermark_ms": 0, "appended_ms": 0}
    record = blank | dict.fromkeys(kind.fields.keys() - blank.keys(), 0)
    for number in range(60_000):
        record["watermark_ms"] = number * 2**14
        assert kind.decode(kind.encode(record))["watermark_ms"] == number * 2**14
