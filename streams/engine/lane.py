"""Lane: one partition of one stage, strictly in order.

    records -> walk -> emissions (produced with every batch)
                    -> dirty rows, offsets (together, at a checkpoint per interval)

A lane is total. When the walk itself raises, that is a bug, but one bad record may neither stop the
partition nor be lost: the lane goes back to its last checkpoint, takes records one at a time until
it meets the culprit, quarantines it with the fault, and goes on.

A lane that could not finish what it began (the broker failed, ownership was lost) is *broken*: its
rows may be further than its offsets, so it makes no checkpoint any more and must be dropped.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from streams.engine import checkpoints, snapshots
from streams.engine.checkpoints import MARK_KEY, Base, Mark
from streams.engine.ports import (
    ChangelogPort,
    ClockPort,
    Offsets,
    OutboxPort,
    SnapshotPort,
    SourcePort,
    StandbyPort,
)
from streams.engine.records import Emission, Out, Record, Stretch
from streams.engine.saving import Saving
from streams.engine.snapshots import DamagedError, Snapshot
from streams.engine.spent import Spent
from streams.engine.stage import PartitionState, StageLogic
from streams.engine.versions import Lineage, Versions, stamp_of
from streams.kernel.errors import UnreachableError
from streams.kernel.moments import MINUTE_MS

log = logging.getLogger(__name__)

NEVER_COMMITTED = -1
SNAPSHOT_EVERY_MS = 5 * MINUTE_MS
_ROWS_AT_ONCE = 256           # with two thousand bytes a row, what a core's own cache holds
Aside = Callable[..., Awaitable[Any]]


class Lane:
    """`upstream`: partitions that report watermarks into this stage. `aside` runs what blocks."""

    def __init__(self, logic: StageLogic, partition: int, *, upstream: int, changelog_topic: str,
                 outbox: OutboxPort, source: SourcePort, changelog: ChangelogPort,
                 snapshots: SnapshotPort, clock: ClockPort, standby: StandbyPort | None = None,
                 aside: Aside = asyncio.to_thread) -> None:
        self.logic, self.partition, self._aside = logic, partition, aside
        self._upstream, self._changelog_topic = upstream, changelog_topic
        self._outbox, self._source, self._changelog, self._clock = outbox, source, changelog, clock
        self._snapshots, self._standby = snapshots, standby
        self._snapshot_due_ms = clock.now_ms() + SNAPSHOT_EVERY_MS
        self._changelog_end = -1
        self.lock = asyncio.Lock()
        self.positions: Offsets = {}
        self._committed: Offsets = {}
        self._barrier = outbox.barrier()
        self._state: PartitionState | None = None
        self._versions: Versions | None = None
        self._mark: Mark = checkpoints.EMPTY
        self._marked_ms = 0
        self._saving: Saving | None = None
        self._broken = False
        self._poison: dict[tuple[str, int], str] = {}
        self._careful_until: Offsets = {}
        self._sought: Offsets = {}
        self._dirty = False
        self._quiet_since_ms = clock.now_ms()
        self.records_count = 0
        self.spent = Spent(clock)

    @property
    def state(self) -> PartitionState:
        assert self._state is not None, "recover() comes first"
        return self._state

    @property
    def versions(self) -> Versions:
        assert self._versions is not None, "recover() comes first"
        return self._versions

    def recover(self) -> Offsets:
        """Read the state back; returns where to go on reading, per input topic. Blocks.

        The commit at the end begins this lane's epoch. It is taken from the owner only: so nobody
        else has written since the changelog was read, or it fails, and with it the recovery.
        """
        found = self._source.committed([self.partition])
        lineage = checkpoints.newest(metadata for _, metadata in found.values())
        own = lineage.claimed() if self._versions is None else lineage
        self._give_up_saving()
        self._read_back(own, self._standing_by(own) or self._snapshot_base(own))
        self._committed = {where: max(offset, 0) for where, (offset, _) in found.items()}
        self._source.commit(self._committed, own.metadata())
        self.positions = dict(self._committed)
        self._barrier = self._outbox.barrier()
        self._dirty = False
        return dict(self._committed)

    def _read_back(self, lineage: Lineage, base: Base | None) -> None:
        start = 0 if base is None else base.next_offset
        self._state, self._versions, self._mark = checkpoints.recover(
            self.logic, self.partition, upstream=self._upstream, lineage=lineage,
            changelog=self._changelog.read(self.partition, start), base=base)

    def _standing_by(self, lineage: Lineage) -> Base | None:
        """What this process has followed while another one owned the partition."""
        if self._standby is None or self._versions is not None:
            return None
        base = self._standby.release(self.partition, lineage)
        if base is None or base.next_offset > self._changelog.end(self.partition):
            return None
        log.info("%s/%s: this worker stood by; the changelog is read from %d on", self.logic.name,
                 self.partition, base.next_offset)
        return base

    def _snapshot_base(self, lineage: Lineage) -> Base | None:
        snapshot = self._usable_snapshot(lineage)
        try:
            return None if snapshot is None else Base.begin(self.logic, lineage, snapshot)
        except DamagedError as fault:
            log.warning("%s/%s: the snapshot is damaged (%s); the whole changelog is read",
                        self.logic.name, self.partition, fault)
            return None

    def _usable_snapshot(self, lineage: Lineage) -> Snapshot | None:
        """The snapshot here, unless its checkpoint does not count or lies beyond the changelog."""
        stored = self._snapshots.load(self.partition)
        if stored is None:
            return None
        like = self.logic.make_slab()
        found = snapshots.read(stored, layout=like.layout, width=like.width,
                               ends=dict(lineage.ends), now_ms=self._clock.now_ms())
        if found is None or found.next_offset > self._changelog.end(self.partition):
            return None
        return found

    def snapshot(self) -> None:
        """Save the rows as the changelog holds them, all at once: before somebody else takes over.
        Right after a checkpoint. Blocks."""
        self._give_up_saving()
        while not self._save_some():
            if self._saving is None:
                return
        self._saved().finish()

    def _save_some(self) -> bool:
        """Take rows for a snapshot, a new one if none is begun; True when it has all of them."""
        slab = self.state.slab
        if self._changelog_end < 0 or self._dirty or self._broken or slab.dirty:
            return False
        if self._saving is None:
            self._saving = Saving(self._snapshots.begin(self.partition), slab, self.versions,
                                  self._mark.encode(), next_offset=self._changelog_end,
                                  written_ms=self._marked_ms)
        return self._saving.go_on(slab, self._mark.number)

    def _saved(self) -> Saving:
        """What was begun and is to be finished; the next one is due in a while."""
        saved, self._saving = self._saving, None
        self._snapshot_due_ms = self._clock.now_ms() + SNAPSHOT_EVERY_MS
        assert saved is not None, "it has all rows"
        return saved

    def _give_up_saving(self) -> None:
        if self._saving is not None:
            self._saving.abandon()
            self._saving = None

    async def process(self, records: Sequence[Record]) -> None:
        """Take records of this partition, in order."""
        async with self.lock:
            with self._whole():
                for batch in self._cut(self._fresh(records)):
                    is_culprit = bool(self._poison) and _first(batch) in self._poison
                    if not await self._walk(batch):
                        return      # gone back to the checkpoint; the records will come again
                    if is_culprit:      # behind us for good: the next one need not find it again
                        await self._checkpoint()

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What is begun is finished, or the lane is broken. Raises when it is broken already."""
        if self._broken:
            raise UnreachableError(
                f"{self.logic.name}/{self.partition} was left in the middle of its work",
                "its next owner goes on from the last checkpoint")
        self._broken = True
        yield
        self._broken = False

    def _fresh(self, records: Sequence[Record]) -> Sequence[Record]:
        """What is to be done of them; mostly all."""
        if isinstance(records, Stretch):
            where = (records.topic, records.partition)
            if where not in self._sought and records.offsets[0] >= self.positions.get(
                    where, NEVER_COMMITTED):
                return records
        return [record for record in records if self._is_next(record)]

    def _is_next(self, record: Record) -> bool:
        """False for what was done already, and for what was read ahead before the lane went back.

        Batches that were under way when the lane went back lie beyond `_sought`; to take them would
        pass over all that stands between. What is read again begins before it.
        """
        where = (record.topic, record.partition)
        if record.offset >= self._sought.get(where, record.offset + 1):
            return False
        self._sought.pop(where, None)
        return record.offset >= self.positions.get(where, NEVER_COMMITTED)

    def _cut(self, records: Sequence[Record]) -> list[Sequence[Record]]:
        """One batch; or, while a culprit is sought, every record alone."""
        if not records:
            return []
        if self._poison or (self._careful_until and any(
                r.offset < self._careful_until.get((r.topic, r.partition), 0) for r in records)):
            return [[r] for r in records]
        return [records]

    async def _walk(self, batch: Sequence[Record]) -> bool:
        """True when the batch is done; False when the lane went back to its checkpoint."""
        now_ms = self._clock.now_ms()
        out = Out(self.logic.name, now_ms)
        fault = None
        if self._poison:
            fault = self._poison.pop(_first(batch), None)
        try:
            if fault is not None:
                out.at(batch[0])
                out.quarantine("internal_error", detail=fault)
            else:
                with self.spent.on("walks"):
                    work = self.logic.walk(self.state, batch, out)
                    if inspect.isawaitable(work):
                        await work
        except UnreachableError:
            raise      # a foreign service is gone: nothing is wrong with the records
        except Exception as bug:
            log.exception("%s/%s: the walk failed on %d records", self.logic.name,
                          self.partition, len(batch))
            await self._go_back(batch, bug)
            return False
        self._send(out.emissions)
        self.positions.update(_ends(batch))
        self.records_count += len(batch)
        self._dirty = True
        self._quiet_since_ms = now_ms
        return True

    async def _go_back(self, batch: Sequence[Record], bug: Exception) -> None:
        if len(batch) == 1:
            self._poison[_first(batch)] = f"{type(bug).__name__}: {bug}"
        else:
            self._careful_until.update(_ends(batch))
        ahead = {(r.topic, r.partition): r.offset + 1 for r in reversed(batch)}
        ahead = {**ahead, **{where: position for where, position in self.positions.items()
                             if position > max(self._committed.get(where, 0), 0)}}
        await self._aside(self._outbox.wait, self._barrier)
        starts = await self._aside(self.recover)
        self._sought = {**self._sought, **ahead}
        self._source.seek({(topic, self.partition): starts.get((topic, self.partition), 0)
                           for topic in self.logic.topics})

    def _send(self, emissions: Sequence[Emission]) -> None:
        if emissions:
            self._outbox.send(emissions, self._barrier)

    async def idle(self) -> None:
        """Tell the stage when the partition has been read to its end and is quiet."""
        if self._broken or self.lock.locked() or not self._is_caught_up():
            return
        async with self.lock:
            now_ms = self._clock.now_ms()
            out = Out(self.logic.name, now_ms)
            self.logic.idle(self.state, out, idle_ms=now_ms - self._quiet_since_ms)
            if out.emissions:
                self._send(out.emissions)

    def _is_caught_up(self) -> bool:
        for topic in self.logic.topics:
            end = self._source.end_of(topic, self.partition)
            if end < 0 or self.positions.get((topic, self.partition), 0) < end:
                return False
        return True

    async def checkpoint(self) -> None:
        """Make rows and offsets durable together; see `checkpoints` for the order.

        Raises when the broker fails or ownership was lost: the lane must then be dropped.
        """
        saved = None
        async with self.lock:
            if self._dirty:
                with self._whole():
                    await self._checkpoint()
            if self._clock.now_ms() >= self._snapshot_due_ms:
                saved = self._saved() if self._save_some() else None
        if saved is not None:
            await self._aside(saved.finish)      # the partition's work goes on meanwhile

    async def _checkpoint(self) -> None:
        out = Out(self.logic.name, self._clock.now_ms())
        self.logic.before_checkpoint(self.state, out)
        self._send(out.emissions)
        with self.spent.on("acknowledgements"):
            await self._aside(self._outbox.wait, self._barrier)
        mark, marked_ms = Mark.of(self._mark.number + 1, self.state), self._clock.now_ms()
        barrier = self._outbox.barrier()
        self._outbox.send(self._rows(mark), barrier)
        with self.spent.on("acknowledgements"):
            await self._aside(self._outbox.wait, barrier)
        lineage = self.versions.next(mark.number)
        with self.spent.on("commits"):
            await self._aside(self._source.commit, self.positions, lineage.metadata())
        self.versions.settle(lineage)
        self._mark, self._marked_ms = mark, marked_ms
        self._changelog_end = barrier.end_of(self._changelog_topic, self.partition)
        self._committed = dict(self.positions)
        self._barrier = self._outbox.barrier()
        self._dirty = False
        self.state.slab.make_room()

    def _rows(self, mark: Mark) -> Iterator[Emission]:
        """Dirty rows and the mark, as versions. A None value is a tombstone.

        Some at a time: their bytes are given away while they are still in the processor's cache,
        and their memory is used again for the next.
        """
        slab = self.state.slab
        due = slab.take_dirty()
        moving = set(self.versions.take_moving()).difference(due, [MARK_KEY])
        keys = [*due, *sorted(moving)]
        some = (keys[at:at + _ROWS_AT_ONCE] for at in range(0, len(keys), _ROWS_AT_ONCE))
        stamp = stamp_of(mark.number)
        parts = chain(((each, slab.encode_all(each, stamp)) for each in some),
                      [([MARK_KEY], [stamp + mark.encode()])])
        topic, partition = self._changelog_topic, self.partition
        return (Emission(topic, key, value, partition)
                for key, value in self.versions.writing(mark.number, parts))


def _first(batch: Sequence[Record]) -> tuple[str, int]:
    """What names a batch of one record."""
    return batch[0].topic, batch[0].offset


def _ends(batch: Sequence[Record]) -> Offsets:
    """Where each partition of the batch goes on."""
    if isinstance(batch, Stretch):
        return {(batch.topic, batch.partition): batch.offsets[-1] + 1}
    return {(record.topic, record.partition): record.offset + 1 for record in batch}
