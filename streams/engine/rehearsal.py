"""Rehearsal: a stage plays over a lane of which nothing leaves the process.

Compiled code is compiled, or read from disk, when it is called for the first time. A worker that
does so while it holds partitions lets their events wait for it; so before it joins its group it
plays what may come. What the stage says goes nowhere, and its rows into a changelog in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from streams.engine.deadlines import Deadlines
from streams.engine.lane import Lane
from streams.engine.ports import Offsets
from streams.engine.records import Emission, Out, Record
from streams.engine.rows import Rows
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState, StageLogic
from streams.engine.tags import Tags

_CHANGELOG, _KEYS = "rehearsal", 100        # more than what a table of tags begins with
NOW_MS = 1_700_000_000_000


class Memory:
    """An arena of nothing but memory."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.uint8)

    def grow(self, size: int) -> npt.NDArray[np.uint8]:
        grown = np.zeros(size, np.uint8)
        grown[:len(self._held)] = self._held
        self._held = grown
        return grown


class _Barrier:
    """All is acknowledged at once."""

    pending, fault = 0, ""

    def __init__(self, end: int) -> None:
        self._end = end

    def end_of(self, topic: str, partition: int) -> int:
        return self._end


class _World:
    """All that a lane knows of the outside: a changelog, what was committed, a snapshot, a clock
    that stands still."""

    def __init__(self) -> None:
        self._changelog: list[tuple[bytes, bytes | None]] = []
        self._committed: dict[tuple[str, int], tuple[int, str | None]] = {}
        self.snapshot = b""
        self.said: list[Emission] = []

    def barrier(self) -> _Barrier:
        return _Barrier(len(self._changelog))

    def send(self, emissions: Iterable[Emission], barrier: object) -> None:
        for each in emissions:
            if each.topic == _CHANGELOG:
                self._changelog.append((each.key, each.value))
            else:
                self.said.append(each)

    def wait(self, barrier: object) -> None:
        return

    def commit(self, offsets: Offsets, metadata: str) -> None:
        self._committed.update({where: (offset, metadata) for where, offset in offsets.items()})

    def committed(self, partitions: Sequence[int]) -> dict[tuple[str, int],
                                                           tuple[int, str | None]]:
        return dict(self._committed)

    def seek(self, offsets: Offsets) -> None:
        return

    def end_of(self, topic: str, partition: int) -> int:
        return -1

    def read(self, partition: int, start: int) -> Iterator[tuple[bytes, bytes | None]]:
        return iter(self._changelog[start:])

    def end(self, partition: int) -> int:
        return len(self._changelog)

    def load(self, partition: int) -> BinaryIO | None:
        return BytesIO(self.snapshot) if self.snapshot else None

    def begin(self, partition: int) -> _Snapshot:
        return _Snapshot(self)

    def now_ms(self) -> int:
        return NOW_MS


class _Snapshot:
    def __init__(self, world: _World) -> None:
        self._world, self._parts = world, list[bytes]()

    def write(self, part: bytes) -> None:
        self._parts.append(part)

    def finish(self) -> None:
        self._world.snapshot = b"".join(self._parts)

    def abandon(self) -> None:
        self._parts.clear()


class Rehearsal:
    """One partition of `logic`, which is nobody's: made for this, and thrown away with it."""

    def __init__(self, logic: StageLogic) -> None:
        self._logic, self._world = logic, _World()
        for topic in logic.topics:
            self._world.commit({(topic, 0): 0}, "")
        self._recover()

    def play(self, records: Sequence[Record]) -> list[Emission]:
        """A batch and a checkpoint; what the stage says at both."""
        self._world.said = []
        asyncio.run(self._play(records))
        return self._world.said

    async def _play(self, records: Sequence[Record]) -> None:
        await self._lane.process(records)
        await self._lane.checkpoint()

    def recover(self) -> None:
        """The next owner takes over: from a snapshot, and one more from the changelog alone."""
        self._lane.snapshot()
        self._recover()
        self._world.snapshot = b""
        self._recover()

    def _recover(self) -> None:
        self._lane = Lane(
            self._logic, 0, upstream=1, changelog_topic=_CHANGELOG, outbox=self._world,
            source=self._world, changelog=self._world, snapshots=self._world, clock=self._world,
            aside=_at_once)
        self._lane.recover()


async def _at_once(work: Callable[..., Any], *given: Any) -> Any:
    return work(*given)


class _Plain:
    """A stage that keeps an empty row for each record's key."""

    name, topics = "rehearsal", ("rehearsed",)

    def make_slab(self) -> Slab:
        return Slab(topics=1)

    def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        for record in batch:
            state.slab.stamp(state.slab.slot(record.key), 0, record.offset)

    def recovered(self, state: PartitionState) -> None:
        return

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None:
        return

    def before_checkpoint(self, state: PartitionState, out: Out) -> None:
        return


def rehearse() -> None:
    """Have ready what the lanes of every stage need."""
    rehearsal = Rehearsal(_Plain())
    for start in range(2):
        rehearsal.play([Record("rehearsed", 0, start * _KEYS + n, b"%032x" % n, b"", NOW_MS)
                        for n in range(_KEYS)])
        rehearsal.recover()
    # What few lanes come to: more timers than a heap begins with, and a lineage of so many owners
    # that what the oldest of them wrote is asked for.
    timers = Deadlines(Rows(row_bytes=64, layout=1, owner=1), 1)
    due_ms = np.ones(2 * len(timers.heap), np.int64)
    timers.push(due_ms, np.zeros_like(due_ms))
    tags = Tags()
    tags.change([b"a", b"b"], [2, 3])
    tags.up_to(3, 1)
