"""Standing by: this worker follows the changelogs of a stage's partitions that others own.

A shortcut and nothing more: whatever goes wrong here is said, and a take-over reads the snapshot or
the whole changelog instead.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.adapters.clock import WallClock
from streams.adapters.reading import READER, end_of, unreachable
from streams.adapters.snapshots import SnapshotFiles
from streams.engine import checkpoints, snapshots
from streams.engine.checkpoints import Base
from streams.engine.snapshots import DamagedError
from streams.engine.stage import StageLogic
from streams.engine.standby import Follower, Placed
from streams.engine.versions import Lineage
from streams.kernel.errors import KairosError
from streams.pipeline import Stage
from streams.settings import Settings

log = logging.getLogger(__name__)

_ENTRIES_AT_ONCE = 5_000
_WAIT_S = 0.2
_SETTLE_EVERY_S = 1.0
_AGAIN_S = 10.0


class StandbyFeed:
    """A thread that keeps a `Follower` per partition that is wanted, nearly up to date."""

    def __init__(self, settings: Settings, stage: Stage, logic: StageLogic,
                 files: SnapshotFiles) -> None:
        self._settings, self._stage, self._logic, self._files = settings, stage, logic, files
        self._clock = WallClock()
        self._lock = threading.Lock()
        self._wanted: set[int] = set()
        self._followers: dict[int, Follower] = {}
        self._assigned: dict[int, Follower] = {}
        self._at_end: set[int] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"standby-{stage.name}",
                                        daemon=True)

    def start(self) -> None:
        self._thread.start()

    def follow(self, partitions: Iterable[int]) -> None:
        """From now on, follow these and no others."""
        with self._lock:
            self._wanted = set(partitions)
            for partition in self._followers.keys() - self._wanted:
                del self._followers[partition]

    def release(self, partition: int, lineage: Lineage) -> Base | None:
        """Stop following; the partition's rows up to some place of the changelog, if there are."""
        with self._lock:
            self._wanted.discard(partition)
            follower = self._followers.pop(partition, None)
        return None if follower is None else follower.base(lineage, self._clock.now_ms())

    async def stop(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 10)

    def _run(self) -> None:
        while not self._closing.is_set():
            reading = Consumer({**self._settings.kafka_client, **READER,
                                "enable.partition.eof": True})
            asking = Consumer({**self._settings.kafka_client, "group.id": self._stage.group,
                               "enable.auto.commit": False})
            try:
                self._follow(reading, asking)
            except (KafkaException, KairosError) as fault:
                log.warning("%s: standing by begins anew: %s", self._stage.name, fault)
                self._closing.wait(_AGAIN_S)
            finally:
                with self._lock:
                    self._followers.clear()
                self._assigned = {}
                reading.close()
                asking.close()

    def _follow(self, reading: Consumer, asking: Consumer) -> None:
        settle_at = 0.0
        while not self._closing.is_set():
            self._take(reading.consume(_ENTRIES_AT_ONCE, _WAIT_S))
            if time.monotonic() >= settle_at:
                settle_at = time.monotonic() + _SETTLE_EVERY_S
                self._settle(asking)
                self._begin(asking)
                self._assign(reading)

    def _take(self, messages: Sequence[Message]) -> None:
        found: dict[int, list[Placed]] = {}
        for message in messages:
            partition, offset, fault = message.partition(), message.offset(), message.error()
            assert partition is not None and offset is not None
            if fault is not None and fault.code() == KafkaError._PARTITION_EOF:
                if partition not in self._at_end:
                    log.info("%s/%d: standing by, changelog read to %d", self._stage.name,
                             partition, offset)
                self._at_end.add(partition)
            elif fault is not None:
                raise KafkaException(fault)
            else:
                key, value = message.key(), message.value()
                assert not isinstance(key, str) and not isinstance(value, str)
                found.setdefault(partition, []).append((offset, key or b"", value))
        for partition, entries in found.items():
            with self._lock:
                follower = self._followers.get(partition)
                if follower is not None:
                    follower.take(entries, entries[-1][0] + 1, self._clock.now_ms())

    def _settle(self, asking: Consumer) -> None:
        """Take in what was committed meanwhile. To be answered by the broker also means that who
        has read to the end has heard everything."""
        for partition, lineage in self._lineages(asking, tuple(self._followers)).items():
            with self._lock:
                follower = self._followers.get(partition)
                if follower is None:
                    continue
                now_ms = self._clock.now_ms()
                if partition in self._at_end:
                    follower.take((), follower.next_offset, now_ms)
                if follower.is_usable(now_ms):
                    follower.settle(lineage)
                else:
                    del self._followers[partition]

    def _begin(self, asking: Consumer) -> None:
        """Followers for partitions that have none yet, from the snapshots that lie here."""
        missing = self._wanted - self._followers.keys()
        for partition, lineage in self._lineages(asking, tuple(missing)).items():
            base = self._base(partition, lineage)
            with self._lock:
                if partition in self._wanted:
                    self._followers[partition] = Follower(base, self._clock.now_ms())

    def _base(self, partition: int, lineage: Lineage) -> Base:
        stored, like = self._files.load(partition), self._logic.make_slab()
        found = None if stored is None else snapshots.read(
            stored, layout=like.layout, width=like.width, ends=dict(lineage.ends),
            now_ms=self._clock.now_ms())
        if found is not None and found.next_offset <= end_of(self._settings, self._stage.keeps,
                                                             partition):
            try:
                return Base.begin(self._logic, lineage, found)
            except DamagedError as fault:
                log.warning("%s/%d: the snapshot is damaged (%s)", self._stage.name, partition,
                            fault)
        return Base.begin(self._logic, lineage)

    def _assign(self, reading: Consumer) -> None:
        """Read on for these followers. One that began anew in the place of another reads from its
        own beginning: what the other had heard is not known to it."""
        with self._lock:
            followers = dict(self._followers)
        if followers != self._assigned:
            self._assigned = followers
            self._at_end.clear()
            reading.assign([TopicPartition(self._stage.keeps, partition, follower.next_offset)
                            for partition, follower in followers.items()])

    def _lineages(self, asking: Consumer, partitions: Sequence[int]) -> dict[int, Lineage]:
        """As committed now, of each partition."""
        if not partitions:
            return {}
        try:
            answers = asking.committed([TopicPartition(topic, partition) for partition in partitions
                                        for topic in self._stage.inputs], timeout=30)
        except KafkaException as fault:
            raise unreachable(f"{self._stage.name}: committed offsets cannot be read",
                              fault) from fault
        return {partition: checkpoints.newest(answer.metadata for answer in answers
                                              if answer.partition == partition)
                for partition in partitions}
