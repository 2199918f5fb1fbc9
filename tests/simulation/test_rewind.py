"""When a walk fails, the lane goes back; what had been read ahead by then must not be taken."""

from __future__ import annotations

import asyncio

from broker_model import (
    Broker,
    ModelChangelog,
    ModelOutbox,
    ModelSnapshots,
    ModelSource,
    StillClock,
    changelog_of,
)
from test_crashes import Counting, rows

from streams.engine.lane import Lane


async def _life(broker: Broker) -> Lane:
    logic = Counting()
    source = ModelSource(broker, logic.topics)
    lane = Lane(logic, 0, upstream=broker.partitions, changelog_topic=changelog_of(logic),
                outbox=ModelOutbox(broker), source=source,
                changelog=ModelChangelog(broker, changelog_of(logic)),
                snapshots=ModelSnapshots(broker), clock=StillClock())
    lane.recover()
    log = broker.records("in", 0)
    await lane.process(log[0:5])
    await lane.process(log[5:10])                # fails
    await lane.process(log[10:15])               # was on its way when the lane went back
    for _ in range(3):                           # read again from where the lane went back to
        start = source.sought.get(("in", 0), 0)
        for at in range(start, len(log), 5):
            await lane.process(log[at:at + 5])
    await lane.checkpoint()
    return lane


def test_batches_read_ahead_of_a_failed_walk_pass_nothing_over() -> None:
    broker, keys = Broker(), [f"k{n % 3}".encode() for n in range(20)]
    for number, key in enumerate(keys):
        broker.logs["in", 0].append((key, b"bad" if number == 7 else b"x"))
    lane = asyncio.run(_life(broker))
    assert rows(lane) == {key: float(sum(k == key for n, k in enumerate(keys) if n != 7))
                          for key in set(keys)}
    assert len(broker.logs["events.quarantined", 0]) == 1
