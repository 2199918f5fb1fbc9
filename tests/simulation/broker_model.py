"""A deterministic broker with a fuse: it stops the world before any effect we choose.

Every append and every commit is one effect. With `fuse=n` the (n+1)-th effect raises Crash instead
of happening, exactly as a `kill -9` between two effects would leave things: what happened stays.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO

from streams.engine.lane import Lane
from streams.engine.records import Emission, Record
from streams.engine.stage import StageLogic
from streams.kernel.ids import partition_of


class Crash(BaseException):
    """The process is gone."""


@dataclass
class Broker:
    partitions: int = 2
    logs: dict[tuple[str, int], list[tuple[bytes, bytes | None]]] = field(
        default_factory=lambda: defaultdict(list))
    offsets: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)
    snapshots: dict[int, bytes] = field(default_factory=dict)
    fuse: int = 10**9
    effects: int = 0

    def effect(self) -> None:
        if self.effects >= self.fuse:
            raise Crash
        self.effects += 1

    def append(self, topic: str, key: bytes, value: bytes | None, partition: int | None) -> None:
        self.effect()
        where = partition_of(key, self.partitions) if partition is None else partition
        self.logs[topic, where].append((key, value))

    def records(self, topic: str, partition: int) -> list[Record]:
        return [Record(topic, partition, offset, key, value or b"", 1_000 + offset)
                for offset, (key, value) in enumerate(self.logs[topic, partition])]


class ModelBarrier:
    pending = 0
    fault = ""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def end_of(self, topic: str, partition: int) -> int:
        return len(self._broker.logs[topic, partition])


class ModelOutbox:
    """Appends at once; acknowledged as soon as it is appended."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def barrier(self) -> ModelBarrier:
        return ModelBarrier(self._broker)

    def send(self, emissions: Iterable[Emission], barrier: object) -> None:
        for each in emissions:
            self._broker.append(each.topic, each.key, each.value, each.partition)

    def wait(self, barrier: object) -> None:
        return


class ModelSource:
    def __init__(self, broker: Broker, topics: Sequence[str]) -> None:
        self._broker, self._topics = broker, topics
        self.sought: dict[tuple[str, int], int] = {}

    def commit(self, offsets: dict[tuple[str, int], int], metadata: str) -> None:
        self._broker.effect()
        for where, offset in offsets.items():
            self._broker.offsets[where] = (offset, metadata)

    def committed(self, partitions: Sequence[int]) -> dict[tuple[str, int],
                                                           tuple[int, str | None]]:
        return {(t, p): self._broker.offsets.get((t, p), (-1001, None))
                for t in self._topics for p in partitions}

    def seek(self, offsets: dict[tuple[str, int], int]) -> None:
        self.sought.update(offsets)

    def end_of(self, topic: str, partition: int) -> int:
        return len(self._broker.logs[topic, partition])


class ModelChangelog:
    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker, self._topic = broker, topic

    def read(self, partition: int, start: int) -> list[tuple[bytes, bytes | None]]:
        return self._broker.logs[self._topic, partition][start:]

    def end(self, partition: int) -> int:
        return len(self._broker.logs[self._topic, partition])


class ModelSnapshots:
    """A snapshot replaces the one before as a whole, in one effect."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def load(self, partition: int) -> BytesIO | None:
        stored = self._broker.snapshots.get(partition)
        return None if stored is None else BytesIO(stored)

    def begin(self, partition: int) -> ModelSnapshotFile:
        return ModelSnapshotFile(self._broker, partition)


class ModelSnapshotFile:
    def __init__(self, broker: Broker, partition: int) -> None:
        self._broker, self._partition = broker, partition
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> None:
        self._parts.append(part)

    def finish(self) -> None:
        self._broker.effect()
        self._broker.snapshots[self._partition] = b"".join(self._parts)

    def abandon(self) -> None:
        self._parts.clear()


class StillClock:
    def __init__(self, now_ms: int = 1_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms


def changelog_of(logic: StageLogic) -> str:
    return f"{logic.name}-changelog"


async def run_to_end(broker: Broker, logic: StageLogic, partition: int, *, batch: int,
                     checkpoint_every: int) -> Lane:
    """Recover, read everything there is in batches, checkpoint now and then and at the end."""
    source = ModelSource(broker, logic.topics)
    lane = Lane(logic, partition, upstream=broker.partitions,
                changelog_topic=changelog_of(logic), outbox=ModelOutbox(broker), source=source,
                changelog=ModelChangelog(broker, changelog_of(logic)),
                snapshots=ModelSnapshots(broker), clock=StillClock())
    lane.recover()
    waiting = True
    rounds = 0
    while waiting:
        waiting = False
        for topic in logic.topics:
            start = lane.positions.get((topic, partition), 0)
            todo = broker.records(topic, partition)[start:start + batch]
            if todo:
                waiting = True
                await lane.process(todo)
                rounds += 1
                if rounds % checkpoint_every == 0:
                    await lane.checkpoint()
                    if rounds % (2 * checkpoint_every) == 0:
                        lane.snapshot()
    await lane.checkpoint()
    return lane


def drive(broker: Broker, logic: StageLogic, partition: int, *, batch: int = 5,
          checkpoint_every: int = 3) -> Lane | None:
    """`run_to_end`, or None when the fuse blew."""
    try:
        return asyncio.run(run_to_end(broker, logic, partition, batch=batch,
                                      checkpoint_every=checkpoint_every))
    except Crash:
        return None
