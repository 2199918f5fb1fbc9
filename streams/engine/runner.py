"""Runner: all lanes of one stage in one process, and the life of partitions.

The agent hands every batch to `take`; each partition's share goes to its lane; lanes overlap, so
a slow partition (a model call takes seconds) delays no other. Each lane checkpoints by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from streams.engine.lane import Lane
from streams.engine.ports import Offsets
from streams.engine.records import Record
from streams.engine.spent import Tally

log = logging.getLogger(__name__)

Shares = Mapping[int, Sequence[Record]]       # partition -> its records, in order
_LANE_BATCHES_MAX = 2
_IDLE_EVERY_S = 0.5
_TELL_EVERY_S = 60.0
_GOLDEN = 0.618034      # its multiples lie far apart within 1, however many there are


class Runner:
    """`make_lane(partition)` builds a lane; `failed` is told of what cannot be gone on from."""

    def __init__(self, make_lane: Callable[[int], Lane], *, flush_ms: int,
                 failed: Callable[[BaseException], None]) -> None:
        self._make_lane, self._flush_s, self._failed = make_lane, flush_ms / 1000, failed
        self.lanes: dict[int, Lane] = {}
        self._queues: dict[int, asyncio.Queue[Sequence[Record]]] = {}
        self._tasks: dict[int, list[asyncio.Task[None]]] = {}
        self._told: Tally | None = None

    async def take(self, shares: Shares) -> None:
        """Pass each partition's share of a batch on to its lane; waits while one has enough."""
        for partition, share in shares.items():
            queue = self._queues.get(partition)
            if queue is not None:      # else: revoked meanwhile; its new owner reads it again
                await queue.put(share)

    async def assigned(self, partitions: Sequence[int]) -> Offsets:
        """Recover the partitions; returns the offsets to start reading from."""
        starts: Offsets = {}
        for partition in partitions:
            lane = self._make_lane(partition)
            starts.update(await asyncio.to_thread(lane.recover))
            self.lanes[partition] = lane
            queue: asyncio.Queue[Sequence[Record]] = asyncio.Queue(_LANE_BATCHES_MAX)
            self._queues[partition] = queue
            self._tasks[partition] = [
                asyncio.create_task(self._guard(self._work(lane, queue))),
                asyncio.create_task(self._guard(self._tend(lane)))]
        return starts

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Finish what was taken, checkpoint, and let go."""
        for partition in partitions:
            queue = self._queues.pop(partition, None)
            if queue is not None:
                await queue.join()
        for partition in partitions:
            lane = self.lanes.pop(partition, None)
            if lane is not None:
                async with lane.at_rest():      # never in the middle of a checkpoint
                    await self._cancel(partition)
                await self._last_checkpoint(lane)

    def lost(self, partitions: Sequence[int]) -> None:
        """Somebody else has them already: drop the state, commit nothing."""
        for partition in partitions:
            self.lanes.pop(partition, None)
            self._queues.pop(partition, None)
            for task in self._tasks.pop(partition, []):
                task.cancel()

    async def _last_checkpoint(self, lane: Lane) -> None:
        try:
            await lane.checkpoint()
            await asyncio.to_thread(lane.snapshot)
        except Exception as fault:
            # Ownership went meanwhile: the new owner replays from the last checkpoint.
            log.warning("partition %s left without a checkpoint: %s", lane.partition, fault)

    async def _cancel(self, partition: int) -> None:
        tasks = self._tasks.pop(partition, [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guard(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as fault:
            self._failed(fault)

    async def _work(self, lane: Lane, queue: asyncio.Queue[Sequence[Record]]) -> None:
        while True:
            records = await queue.get()
            try:
                await lane.process(records)
            finally:
                queue.task_done()

    async def _tend(self, lane: Lane) -> None:
        """Checkpoint once an interval; let the stage know when its partition is quiet.

        Lanes that begin together would send their rows all at once, and every batch would wait for
        all of them: so each has its own place in the interval, and keeps it.
        """
        loop = asyncio.get_running_loop()
        flush_at = loop.time() + self._flush_s * (1 + lane.partition * _GOLDEN % 1) / 2
        idle_at = loop.time() + min(_IDLE_EVERY_S, self._flush_s)
        while True:
            await asyncio.sleep(max(min(idle_at, flush_at) - loop.time(), 0))
            if loop.time() >= idle_at:
                await lane.idle()
                idle_at = loop.time() + min(_IDLE_EVERY_S, self._flush_s)
            if loop.time() >= flush_at:
                await lane.checkpoint()
                while flush_at <= loop.time():
                    flush_at += self._flush_s
            self._tell(lane.logic.name, loop.time())

    def _tell(self, stage: str, now_s: float) -> None:
        """Once a minute: what the lanes have done, and where their time went."""
        if self._told is not None and now_s < self._told.at_s + _TELL_EVERY_S:
            return
        before, self._told = self._told, Tally.of(
            now_s, [(lane.records_count, lane.spent) for lane in self.lanes.values()])
        if before is not None and (words := self._told.since(before)):
            log.info("%s: %s", stage, words)
