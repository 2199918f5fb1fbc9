"""The only file that builds Faust apps: one app a process, one agent a stage.

Faust is the frame: lifecycle, agents, channels, sensors. Records do not travel through its own
Kafka transport (one event at a time, and it loses or repeats on errors); a batch feed hands whole
batches to the agents through bounded channels. See docs/decisions/0001-batches-through-faust.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import faust
from faust.app.base import BootStrategy
from mode import Service

from schemas import CONTRACTS
from streams import pipeline
from streams.adapters.clock import WallClock
from streams.adapters.consuming import BatchFeed
from streams.adapters.following import ControlFeed
from streams.adapters.producing import Outbox
from streams.adapters.reading import end_of, read_whole
from streams.adapters.snapshots import SnapshotFiles
from streams.adapters.standby import StandbyFeed
from streams.engine.lane import Lane
from streams.engine.records import Record
from streams.engine.runner import Runner
from streams.engine.stage import StageLogic
from streams.kernel.errors import UnreachableError
from streams.kernel.side_inputs import SideInputs
from streams.settings import Settings

log = logging.getLogger(__name__)

Failed = Callable[[BaseException], None]


class _NoTransport(BootStrategy):
    """Agents, channels and lifecycle, without Faust's own Kafka clients and web server."""

    enable_kafka = False
    enable_kafka_consumer = False
    enable_kafka_producer = False
    enable_web = False


class Worker(faust.App):
    """A Faust app whose agents read channels only."""

    BootStrategy = _NoTransport

    async def on_start(self) -> None:
        """Open the channels. Faust opens them when its own consumer gets partitions; ours does."""
        self.finalize()
        self.flow_control.resume()

    async def _wait_for_table_recovery_completed(self) -> bool:
        return False      # there are no Faust tables


class Changelog:
    """A stage's changelog topic, read partition by partition."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings, self._topic = settings, topic

    def read(self, partition: int, start: int) -> Iterator[tuple[bytes, bytes | None]]:
        return read_whole(self._settings, self._topic, partition, start)

    def end(self, partition: int) -> int:
        return end_of(self._settings, self._topic, partition)


class StageService(Service):
    """One stage in one process: its feed, its runner and the channel between them."""

    def __init__(self, settings: Settings, stage: pipeline.Stage, logic: StageLogic,
                 outbox: Outbox, hand_over: Callable[[Any], Awaitable[None]],
                 failed: Failed) -> None:
        super().__init__()
        self._settings, self._stage, self._logic, self._outbox = settings, stage, logic, outbox
        self._hand_over, self._failed = hand_over, failed
        self.runner = Runner(self._lane, flush_ms=settings.flush_ms, failed=failed)
        self.feed: BatchFeed | None = None
        self._snapshots = SnapshotFiles(settings.path("state", stage.name))
        self._standby = (StandbyFeed(settings, stage, logic, self._snapshots)
                         if settings.standby else None)

    def _lane(self, partition: int) -> Lane:
        assert self.feed is not None
        return Lane(self._logic, partition, upstream=self._settings.partitions,
                    changelog_topic=self._stage.keeps, outbox=self._outbox, source=self.feed,
                    changelog=Changelog(self._settings, self._stage.keeps),
                    snapshots=self._snapshots, clock=WallClock(), standby=self._standby)

    async def _assigned(self, partitions: list[int]) -> dict[tuple[str, int], int]:
        starts = await self.runner.assigned(partitions)
        if self._standby is not None:
            self._standby.follow(set(range(self._settings.partitions)) - self.runner.lanes.keys())
        return starts

    async def on_start(self) -> None:
        self.feed = BatchFeed(
            self._settings, group=self._stage.group, topics=self._stage.inputs,
            loop=asyncio.get_running_loop(), deliver=self._hand_over,
            assigned=self._assigned, revoked=self.runner.revoked, lost=self._lost,
            failed=self._failed)
        self.feed.start()
        if self._standby is not None:
            self._standby.start()

    async def joined(self) -> None:
        """Come back when the stage has joined its group."""
        assert self.feed is not None
        await self.feed.subscribed.wait()

    def _lost(self, partitions: list[int]) -> None:
        """Somebody else may own them by now, and what this process has under way must not follow.

        Rows that wait in the producer would reach the changelog behind the new owner's. Only a
        restart takes them back.
        """
        self.runner.lost(partitions)
        self._failed(UnreachableError(
            f"{self._stage.name}: the broker was out of reach for so long that partitions "
            f"{', '.join(map(str, partitions))} may belong to another worker",
            "look at the broker: kairos status, kairos doctor"))

    async def on_stop(self) -> None:
        if self.feed is not None:
            await self.feed.stop()
        if self._standby is not None:
            await self._standby.stop()


class ControlService(Service):
    """Keeps the side inputs: all of the control topics before the first batch, then onwards."""

    def __init__(self, settings: Settings, topics: Sequence[str],
                 publish: Callable[[Record], None], failed: Failed) -> None:
        super().__init__()
        self._feed = ControlFeed(settings, topics, publish, failed)

    async def on_start(self) -> None:
        count = await asyncio.to_thread(self._feed.bootstrap)
        log.info("control topics: %d records", count)
        self._feed.start()

    async def on_stop(self) -> None:
        await self._feed.stop()


def take_control(side: SideInputs, record: Record) -> None:
    """Apply one record of a control topic; bytes that are no such record are passed over."""
    if not record.value:
        return
    try:
        side.take(record.topic, CONTRACTS[record.topic].decode(record.value))
    except (ValueError, KeyError) as fault:
        log.warning("%s/%s@%s is no %s record and is passed over: %s", record.topic,
                    record.partition, record.offset, record.topic, fault)


def attach(app: Worker, settings: Settings, stage: pipeline.Stage, logic: StageLogic,
           outbox: Outbox, failed: Failed) -> StageService:
    """Add one stage to `app`: a channel, the agent that reads it, and the feed that fills it."""
    channel = app.channel(maxsize=2)
    service = StageService(settings, stage, logic, outbox,
                           channel.put, failed)

    async def agent(batches: Any) -> None:
        async for batch in batches:
            try:
                await service.runner.take(batch)
            except Exception as fault:
                failed(fault)

    agent.__doc__, agent.__qualname__ = stage.steps[0].asks, stage.name
    app.agent(channel, name=stage.name)(agent)
    return service


def build(settings: Settings, logics: Mapping[str, StageLogic], side: SideInputs,
          outbox: Outbox, failed: Failed) -> tuple[Worker, list[StageService], ControlService]:
    """An app that runs the named stages. Two apps in one process do not know of each other."""
    app = Worker(f"kairos-{'-'.join(logics)}", broker=f"kafka://{settings.bootstrap}",
                 store="memory://", autodiscover=False, topic_disable_leader=True,
                 datadir=str(settings.path("faust", "data")))
    services = [attach(app, settings, pipeline.BY_NAME[name], logic, outbox, failed)
                for name, logic in logics.items()]
    topics = sorted({t for name in logics for t in pipeline.BY_NAME[name].side_inputs})
    control = ControlService(settings, topics, lambda record: take_control(side, record), failed)
    return app, services, control
