"""One person's row, read back from a changelog beside the workers that write it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from broker_model import Broker, changelog_of, drive
from test_choose_crash import START, event, logic, watermark, world

from schemas import contract
from streams import pipeline
from streams.choose import profiles
from streams.choose.definitions import compiled
from streams.choose.features.spec import FeatureSpec
from streams.choose.program import Program
from streams.engine import checkpoints
from streams.engine.stage import PartitionState
from streams.kernel.moments import DAY_MS

PEOPLE = [f"p{number}" for number in range(4)]


def read(broker: Broker, person: str, program: Program | None = None) -> dict[str, Any] | None:
    log = broker.logs[changelog_of(logic()), 0]
    lineage = checkpoints.newest(metadata for _, metadata in broker.offsets.values())
    return profiles.found_in(program or compiled(), person, upstream=1, lineage=lineage,
                             entries=[each for each in log if profiles.needed(each[0], person)])


def expected(state: PartitionState, person: str) -> dict[str, Any] | None:
    tables = state.slab
    slot = tables.people.find(person.encode())
    return None if slot is None else profiles.described(
        compiled(), tables, slot, state.watermarks, tenants=["t"])


@pytest.mark.parametrize("seed", range(3))
def test_what_is_read_is_what_the_worker_has(seed: int) -> None:
    broker = world(seed)
    lane = drive(broker, logic(), 0, batch=7, checkpoint_every=2)
    assert lane is not None
    found = {person: read(broker, person) for person in PEOPLE}
    assert found == {person: expected(lane.state, person) for person in PEOPLE}
    assert all(each is not None and each["segments"] for each in found.values())
    assert read(broker, "nobody") is None


@pytest.mark.parametrize("seed", range(2))
def test_what_is_not_committed_is_not_read(seed: int) -> None:
    """After a crash anywhere, what is read is what the next owner would find."""
    whole = world(seed)
    assert drive(whole, logic(), 0, batch=7, checkpoint_every=2) is not None
    for fuse in range(0, whole.effects, 7):
        broker = world(seed)
        broker.fuse = fuse
        assert drive(broker, logic(), 0, batch=7, checkpoint_every=2) is None
        broker.fuse = 10**9
        found = {person: read(broker, person) for person in PEOPLE}
        assert found == {person: expected(recovered(broker), person) for person in PEOPLE}, fuse


def recovered(broker: Broker) -> PartitionState:
    """What the partition's next owner finds."""
    lineage = checkpoints.newest(metadata for _, metadata in broker.offsets.values())
    return checkpoints.recover(logic(), 0, upstream=1, lineage=lineage.claimed(),
                               changelog=broker.logs[changelog_of(logic()), 0])[0]


def told(*events: dict[str, Any], watermark_ms: int) -> Broker:
    broker = Broker(partitions=1)
    log = broker.logs[pipeline.ADMITTED, 0]
    for fields in events:
        log.append((fields["profile_id"].encode(), contract(pipeline.ADMITTED).encode(fields)))
    log.append((b"t", watermark(watermark_ms)))
    assert drive(broker, logic(), 0) is not None
    return broker


def bought(number: int, at_ms: int, **fields: Any) -> dict[str, Any]:
    return {**event(random.Random(1), number, at_ms), "event_type": "purchase", "profile_id": "p0",
            "value_micros": 20_000_000, "locale": "de", **fields}


def test_a_row_says_value_age_and_what_is_refused_for_its_age() -> None:
    broker = told(bought(1, START), bought(2, START + DAY_MS), watermark_ms=START + 3 * DAY_MS)
    found = read(broker, "p0")
    assert found is not None
    assert found["features"]["spend_30d"] == {"value": 40.0, "age_ms": 2 * DAY_MS}
    assert found["features"]["days_since_purchase"] == {
        "value": 2.0, "age_ms": 2 * DAY_MS, "max_age_ms": 400 * DAY_MS, "refused": False}
    assert found["features"]["product_views_7d"] == {"value": 0.0, "age_ms": None}
    assert (found["tenant"], found["locale"], found["as_of_ms"], found["newest_event_ms"]) == (
        "t", "de", START + 3 * DAY_MS, START + DAY_MS)
    assert found["purposes"] == ["measure", "personalise", "contact", "train"]
    late = read(told(bought(1, START), watermark_ms=START + 401 * DAY_MS), "p0")
    assert late is not None
    assert late["features"]["days_since_purchase"] == {
        "value": None, "age_ms": 401 * DAY_MS, "max_age_ms": 400 * DAY_MS, "refused": True}


def test_a_row_of_older_definitions_is_read_with_its_coverage() -> None:
    broker = told(bought(1, START), watermark_ms=START)
    shipped = compiled()
    program = Program((*shipped.people.specs,
                       FeatureSpec("spend_7d", "purchase", "sum", 7 * DAY_MS, of=("value",))), ())
    found = read(broker, "p0", program)
    assert found is not None and found["features"]["spend_30d"]["value"] == 20.0
    assert found["features"]["spend_7d"] == {"value": 0.0, "age_ms": 0, "since_ms": START}
    assert not found["segments_stated"]


def test_a_visitor_who_turned_out_to_be_somebody_says_who() -> None:
    broker = told(bought(1, START), watermark_ms=START + DAY_MS)
    broker.logs[pipeline.ADMITTED, 0].append((b"p0", contract("handover").encode({
        "tenant": "t", "visitor_id": "p0", "profile_id": "p1", "row": b"", "layout": "",
        "event": b"", "event_ms": START, "appended_ms": START, "stage": "admit",
        "origin_partition": 0, "origin_offset": 9, "origin_sequence": 1})))
    assert drive(broker, logic(), 0) is not None
    visitor, person = read(broker, "p0"), read(broker, "p1")
    assert visitor is not None and person is not None
    assert visitor["moved_to"] == "p1" and visitor["segments_stated"], "nothing is left to ask"
    assert person["moved_to"] is None and person["features"]["spend_30d"]["value"] == 20.0
