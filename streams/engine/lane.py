"""Lane: one partition of one stage, strictly in order.

    records -> walk -> emissions (produced with every batch)
                    -> dirty rows, offsets (together, at a checkpoint per interval)

A checkpoint is *cut* between two batches: rows, mark and offsets of one instant, as bytes. While it
is *under way* (acknowledgements, commit) the lane works on; what changes then belongs to the next
cut, which waits until this one is committed.

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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from streams.engine import checkpoints
from streams.engine.bases import Bases
from streams.engine.checkpoints import Base, Mark
from streams.engine.cuts import ROWS_AT_ONCE, Cut, rows_of
from streams.engine.ports import (
    BarrierPort,
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
from streams.engine.spent import Spent
from streams.engine.stage import PartitionState, StageLogic
from streams.engine.versions import Lineage, Versions
from streams.kernel.errors import UnreachableError
from streams.kernel.moments import MINUTE_MS

log = logging.getLogger(__name__)

NEVER_COMMITTED = -1
SNAPSHOT_EVERY_MS = 5 * MINUTE_MS
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
        self._snapshots = snapshots
        self._bases = Bases(logic, partition, changelog=changelog, snapshots=snapshots, clock=clock,
                            standby=standby)
        self._snapshot_due_ms = clock.now_ms() + SNAPSHOT_EVERY_MS
        self._changelog_end = -1
        self.lock = asyncio.Lock()             # held by whoever changes the state
        self._under_way = asyncio.Lock()       # held from a cut to its commit; taken within `lock`
        self.positions: Offsets = {}
        self._committed: Offsets = {}
        self._barrier = outbox.barrier()
        self._state: PartitionState | None = None
        self._versions: Versions | None = None
        self._mark: Mark = checkpoints.EMPTY
        self._marked_ms = 0
        self._saving: Saving | None = None
        self._broken = False
        self._is_lost = False                  # a cut was never committed, or nobody knows
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
        self._read_back(own, self._bases.find(own, again=self._versions is not None))
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

    def snapshot(self) -> None:
        """Save the rows as the changelog holds them, all at once: before somebody else takes over.
        Right after a checkpoint. Blocks."""
        self._give_up_saving()
        if self._broken:
            return
        while not self._save_some(self._mark.number):
            if self._saving is None:
                return
        self._saved().finish()

    def _save_some(self, number: int) -> bool:
        """Take rows for a snapshot, a new one if none is begun; True when it has all of them.

        Of checkpoint `number`: committed, or just cut, so that no batch has changed them since."""
        slab = self.state.slab
        if self._changelog_end < 0 or self._dirty or self._is_lost or slab.dirty:
            return False
        if self._saving is None:
            self._saving = Saving(self._snapshots.begin(self.partition), slab, self.versions,
                                  self._mark.encode(), next_offset=self._changelog_end,
                                  written_ms=self._marked_ms)
        return self._saving.go_on(slab, number)

    def _due_snapshot(self, number: int) -> Saving | None:
        """Some rows more, if one is due; it, when it has all and is to be finished."""
        due = self._clock.now_ms() >= self._snapshot_due_ms
        return self._saved() if due and self._save_some(number) else None

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
                        await self._complete(await self._next_cut())

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What is begun is finished, or the lane is broken. Raises when it is broken already."""
        if self._broken:
            raise UnreachableError(
                f"{self.logic.name}/{self.partition} was left in the middle of its work",
                "its next owner goes on from the last checkpoint")
        self._broken = True
        yield
        self._broken = self._is_lost

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
        async with self._under_way:      # it decides where the lane goes back to
            self._refuse_if_lost()
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
            self._send(out.emissions)

    def _is_caught_up(self) -> bool:
        for topic in self.logic.topics:
            end = self._source.end_of(topic, self.partition)
            if end < 0 or self.positions.get((topic, self.partition), 0) < end:
                return False
        return True

    async def checkpoint(self) -> None:
        """Make rows and offsets durable together; see `checkpoints` for the order. Batches are
        taken meanwhile.

        Raises when the broker fails or ownership was lost: the lane must then be dropped.
        """
        cut = None
        async with self.lock:
            if self._dirty:
                with self._whole():
                    cut = await self._next_cut()
            else:
                async with self._under_way:
                    self._refuse_if_lost()
                    saved = None if self._broken else self._due_snapshot(self._mark.number)
        if cut is not None:
            await self._complete(cut)
        elif saved is not None:
            await self._aside(saved.finish)

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Within, no batch is being taken and no checkpoint is under way."""
        async with self.lock, self._under_way:
            yield

    async def _next_cut(self) -> Cut:
        """Cut once the checkpoint before is committed; `_complete` must follow."""
        await self._under_way.acquire()
        try:
            self._refuse_if_lost()
            return self._cut_now()
        except BaseException:
            self._is_lost = True
            self._under_way.release()
            raise

    def _cut_now(self) -> Cut:
        out = Out(self.logic.name, self._clock.now_ms())
        self.logic.before_checkpoint(self.state, out)
        self._send(out.emissions)
        mark = Mark.of(self._mark.number + 1, self.state)
        rows = rows_of(self.state.slab, self.versions, mark, self._changelog_topic, self.partition)
        emitted = self._barrier
        self._barrier, self._dirty = self._outbox.barrier(), False
        saved = self._due_snapshot(mark.number)
        self.state.slab.make_room()
        return Cut(mark, out.now_ms, dict(self.positions), emitted, rows, saved)

    async def _complete(self, cut: Cut) -> None:
        """Send, wait, commit. What is left in the middle is never gone on from."""
        try:
            await self._make_durable(cut)
        except BaseException:
            self._is_lost = self._broken = True
            self._give_up_saving()
            if cut.saved is not None:
                cut.saved.abandon()
            raise
        finally:
            self._under_way.release()
        if cut.saved is not None:
            await self._aside(cut.saved.finish)

    async def _make_durable(self, cut: Cut) -> None:
        with self.spent.on("acknowledgements"):
            await self._aside(self._outbox.wait, cut.emitted)
        barrier = self._outbox.barrier()
        for start in range(0, len(cut.rows), ROWS_AT_ONCE):
            self._outbox.send(cut.rows[start:start + ROWS_AT_ONCE], barrier)
            await asyncio.sleep(0)
        with self.spent.on("acknowledgements"):
            await self._aside(self._outbox.wait, barrier)
        lineage = self.versions.next(cut.mark.number)
        with self.spent.on("commits"):
            await self._aside(self._source.commit, cut.positions, lineage.metadata())
        self._committed_now(cut, barrier, lineage)

    def _committed_now(self, cut: Cut, barrier: BarrierPort, lineage: Lineage) -> None:
        """The commit was taken. Nothing that a walk reads or changes is touched."""
        self.versions.settle(lineage)
        self._mark, self._marked_ms = cut.mark, cut.marked_ms
        self._changelog_end = barrier.end_of(self._changelog_topic, self.partition)
        self._committed = cut.positions

    def _refuse_if_lost(self) -> None:
        if self._is_lost:
            raise UnreachableError(
                f"{self.logic.name}/{self.partition}: the checkpoint before did not end well",
                "its next owner goes on from the last one that was committed")


def _first(batch: Sequence[Record]) -> tuple[str, int]:
    """What names a batch of one record."""
    return batch[0].topic, batch[0].offset


def _ends(batch: Sequence[Record]) -> Offsets:
    """Where each partition of the batch goes on."""
    if isinstance(batch, Stretch):
        return {(batch.topic, batch.partition): batch.offsets[-1] + 1}
    return {(record.topic, record.partition): record.offset + 1 for record in batch}
