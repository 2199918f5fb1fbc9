"""A partition taken away in the middle of a checkpoint is let go after it, or without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

import pytest
from broker_model import (
    Broker,
    ModelChangelog,
    ModelOutbox,
    ModelSnapshots,
    ModelSource,
    StillClock,
    changelog_of,
    drive,
)
from test_crashes import Counting, rows

from streams.engine.lane import Lane
from streams.engine.records import Emission
from streams.engine.runner import Runner
from streams.kernel.errors import UnreachableError


class SlowOutbox(ModelOutbox):
    """Holds the rows of the first checkpoint back until told; then they arrive, or do not."""

    def __init__(self, broker: Broker, *, arrives: bool) -> None:
        super().__init__(broker)
        self._arrives = arrives
        self.asked, self.told = threading.Event(), threading.Event()
        self._held: list[Emission] = []

    def send(self, emissions: Iterable[Emission], barrier: object) -> None:
        due = list(emissions)
        if not self.asked.is_set() and any("changelog" in each.topic for each in due):
            self._held = due
        else:
            super().send(due, barrier)

    def wait(self, barrier: object) -> None:
        if self._held:
            held, self._held = self._held, []
            self.asked.set()
            self.told.wait(30)
            if not self._arrives:
                raise UnreachableError("Kafka refused a message")
            super().send(held, barrier)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_partition_taken_in_the_middle_of_a_checkpoint_loses_nothing(arrives: bool) -> None:
    broker = Broker(partitions=1)
    for number in range(10):
        broker.logs["in", 0].append((f"k{number % 3}".encode(), b"x"))
    faults = asyncio.run(_taken_amid(broker, SlowOutbox(broker, arrives=arrives)))
    assert len(faults) == (0 if arrives else 1)
    assert broker.offsets["in", 0][0] == (10 if arrives else 0)
    lane = drive(broker, Counting(), 0)
    assert lane is not None and rows(lane) == {b"k0": 4.0, b"k1": 3.0, b"k2": 3.0}


async def _taken_amid(broker: Broker, outbox: SlowOutbox) -> list[BaseException]:
    """Read ten records, begin a checkpoint, lose the partition, and only then hear of the rows."""
    logic, faults = Counting(), list[BaseException]()
    runner = Runner(lambda partition: Lane(
        logic, partition, upstream=1, changelog_topic=changelog_of(logic), outbox=outbox,
        source=ModelSource(broker, logic.topics),
        changelog=ModelChangelog(broker, changelog_of(logic)),
        snapshots=ModelSnapshots(broker), clock=StillClock()), flush_ms=20, failed=faults.append)
    await runner.assigned([0])
    await runner.take({0: broker.records("in", 0)})
    await asyncio.to_thread(outbox.asked.wait, 30)
    letting_go = asyncio.create_task(runner.revoked([0]))
    for _ in range(20):
        await asyncio.sleep(0)          # as far as it comes while the broker is silent
    outbox.told.set()
    await letting_go
    return faults
