"""Bytes into columns, and the culprits out of them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from schemas import contract
from sinks.decoding import Decoded, decode
from sinks.intents import Arrival
from sinks.topics import BY_TOPIC, LANDINGS, Landing

PLAIN: dict[str, Any] = {"string": "é€", "int": -7, "long": 1 << 40, "double": 0.5,
                         "boolean": True, "bytes": b"\x00\xff"}


def fields_of(topic: str, index: int = 0) -> dict[str, Any]:
    """A record of `topic` with something in every field."""
    found = {}
    for name, field in contract(topic).fields.items():
        kind = field["type"][1] if isinstance(field["type"], list) else field["type"]
        found[name] = PLAIN[kind] + (index if kind in ("int", "long") else 0) \
            if kind in ("int", "long") else PLAIN[kind]
    return found


def arrival(topic: str, offset: int, value: bytes | None, appended_ms: int = 5) -> Arrival:
    return Arrival(topic, 2, offset, b"k", value, appended_ms)


def values(topic: str, count: int) -> list[bytes]:
    return [contract(topic).encode(fields_of(topic, index)) for index in range(count)]


def decoded(topic: str, given: list[bytes | None]) -> Decoded:
    return decode(BY_TOPIC[topic], "tid", [arrival(topic, 100 + i, v) for i, v in enumerate(given)])


@pytest.mark.parametrize("landing", LANDINGS, ids=lambda landing: landing.topic)
def test_every_contract_comes_back_as_it_was_written(landing: Landing) -> None:
    found = decoded(landing.topic, list(values(landing.topic, 5)))
    assert not found.faults
    for index, row in enumerate(found.rows.to_dicts()):
        kept = {name: value for name, value in fields_of(landing.topic, index).items()
                if name not in landing.withheld}
        sizes = {f"{name}_bytes": 2 for name in landing.withheld}
        assert row == {**kept, **sizes, "_topic_id": "tid", "_partition": 2,
                       "_offset": 100 + index, "_appended_ms": 5}


def test_the_payload_of_a_quarantined_record_does_not_reach_clickhouse() -> None:
    found = decoded("events.quarantined", list(values("events.quarantined", 1)))
    assert not {"payload", "key"} & set(found.rows.columns)


def test_watermarks_item_changes_and_tombstones_are_counted_and_do_not_land() -> None:
    marks = [contract(kind).encode({name: {"string": "t", "boolean": True}.get(field["type"], 1)
                                    for name, field in contract(kind).fields.items()})
             for kind in ("watermark", "item_change")]
    found = decoded("decisions.made", [*marks, None, values("decisions.made", 1)[0], None])
    assert (found.controls, found.rows.height, found.faults) == (4, 1, ())
    assert found.rows["_offset"].to_list() == [103]


GOOD = values("decisions.made", 1)[0]
HEAD = contract("decisions.made").prefix
BROKEN = {
    "no frame at all": (b"hello", "unknown_schema"),
    "nothing": (b"", "unknown_schema"),
    "json": (b'{"a":1}', "unknown_schema"),
    "another contract's record": (values("costs.incurred", 1)[0], "unknown_schema"),
    "only the frame": (HEAD, "bad_avro"),
    "cut short": (GOOD[:-3], "bad_avro"),
    "bytes left over": (GOOD + b"abc", "bad_avro"),
    "two records in one": (GOOD + GOOD[10:], "bad_avro"),
    "a length beyond the end": (HEAD + b"\xfe\xff\xff\xff\xff\xff\x7f" + GOOD[10:], "bad_avro"),
    "a negative length": (HEAD + b"\x01" + GOOD[11:], "bad_avro"),
    "text that is no UTF-8": (HEAD + b"\x04\xff\xfe" + GOOD[16:], "bad_avro"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("place", [0, 3, 6])
def test_one_broken_record_costs_its_neighbours_nothing(name: str, place: int) -> None:
    value, reason = BROKEN[name]
    given: list[bytes | None] = list(values("decisions.made", 6))
    given.insert(place, value)
    found = decoded("decisions.made", given)
    assert [(f.record.offset, f.reason) for f in found.faults] == [(100 + place, reason)]
    assert found.rows["_offset"].to_list() == [100 + i for i in range(7) if i != place]
    assert found.rows["moment_ms"].to_list() == [
        fields_of("decisions.made", i)["moment_ms"] for i in range(6)]


def test_a_batch_of_nothing_but_poison_has_no_rows() -> None:
    found = decoded("decisions.made", [value for value, _ in BROKEN.values()])
    assert (found.rows.height, len(found.faults)) == (0, len(BROKEN))


def test_a_timestamp_that_is_no_moment_is_a_fault() -> None:
    found = decode(BY_TOPIC["decisions.made"], "t", [
        arrival("decisions.made", 0, GOOD, -1), arrival("decisions.made", 1, GOOD, 1 << 60)])
    assert [f.reason for f in found.faults] == ["bad_value", "bad_value"]


def test_random_damage_never_raises_and_never_touches_a_neighbour() -> None:
    for seed in range(150):
        dice = random.Random(seed)
        given: list[bytes | None] = list(values("costs.incurred", 5))
        hurt = bytearray(given[2] or b"")
        for _ in range(dice.randrange(1, 4)):
            hurt[dice.randrange(10, len(hurt))] = dice.randrange(256)
        given[2] = bytes(hurt[:dice.randrange(10, len(hurt) + 1)])
        found = decoded("costs.incurred", given)
        kept = [o for o in found.rows["_offset"].to_list() if o != 102]
        assert kept == [100, 101, 103, 104], f"{seed=}"
        assert found.rows.height + len(found.faults) == 5, f"{seed=}"
        good = found.rows.filter(found.rows["_offset"] != 102)
        assert good["took_ms"].to_list() == [
            fields_of("costs.incurred", i)["took_ms"] for i in (0, 1, 3, 4)], f"{seed=}"
