"""A snapshot is written a few rows at a time, and the lane works on meanwhile."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import pytest
from broker_model import (
    Broker,
    ModelChangelog,
    ModelOutbox,
    ModelSnapshots,
    ModelSource,
    changelog_of,
)
from test_crashes import Counting, rows, world

from streams.engine import lane as lanes
from streams.engine import saving, snapshots
from streams.engine.lane import Lane


class Hours:
    """A clock by which the next snapshot is always due."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        self.ms += lanes.SNAPSHOT_EVERY_MS
        return self.ms


def lane_of(broker: Broker, clock: Any) -> Lane:
    logic = Counting()
    source = ModelSource(broker, logic.topics)
    return Lane(logic, 0, upstream=broker.partitions, changelog_topic=changelog_of(logic),
                outbox=ModelOutbox(broker), source=source,
                changelog=ModelChangelog(broker, changelog_of(logic)),
                snapshots=ModelSnapshots(broker), clock=clock)


@pytest.fixture(autouse=True)
def two_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(snapshots, "AGE_MS_MAX", 10**12)


@pytest.mark.parametrize("seed", range(5))
def test_batches_are_processed_while_a_snapshot_is_written(seed: int) -> None:
    """Rows change before and after they were taken, come and go; what is recovered from any
    snapshot on the way and what the changelog holds behind it is what stands in the lane."""

    async def live() -> int:
        broker, clock, found = world(seed), Hours(), 0
        lane = lane_of(broker, clock)
        lane.recover()
        last, since = b"", 0
        for topic in lane.logic.topics * 20:
            start = lane.positions.get((topic, 0), 0)
            await lane.process(broker.records(topic, 0)[start:start + 4])
            await lane.checkpoint()
            if broker.snapshots.get(0, b"") == last:
                since += 1
                continue
            last, found = broker.snapshots[0], found + 1
            assert since > 0, "it was written all at once"
            since = 0
            assert_recovered(broker, clock, lane)
        return found

    assert asyncio.run(live()) > 1


def assert_recovered(broker: Broker, clock: Hours, lane: Lane) -> None:
    """From here on: what the next owner finds."""
    copy = Broker(broker.partitions, logs=broker.logs.copy(), offsets=dict(broker.offsets),
                  snapshots=dict(broker.snapshots))
    stored = snapshots.read(BytesIO(copy.snapshots[0]), layout=1, width=lane.state.slab.width,
                            ends={1: 10**9}, now_ms=clock.ms)
    assert stored is not None and stored.next_offset > 0
    # What lies before the snapshot is not read: it may as well be gone.
    where = (changelog_of(lane.logic), 0)
    copy.logs[where] = [(b"no key", b"no row")] * stored.next_offset + copy.logs[where][
        stored.next_offset:]
    other = lane_of(copy, clock)
    other.recover()
    assert rows(other) == rows(lane)
