"""Reading Kafka: the batch feed of a stage, a changelog from end to end, the control topics.

A batch feed owns one confluent-kafka consumer in a thread of its own; only that thread calls it:
the client holds a lock around each call, also while a rebalance callback runs, so a call from
elsewhere in the middle of one would wait for ever. librdkafka waits for a full batch when asked for
one, so: poll for the first message, then drain what is already here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from streams.engine.records import Record
from streams.kernel.errors import UnreachableError
from streams.settings import Settings

log = logging.getLogger(__name__)

_POLL_S = 0.02         # also the longest that a commit waits for its turn
_ENDS_EVERY_S = 0.2
_PATIENCE_S = 5.0      # a stage that takes longer over a batch is waited for with polls, paused
Rebalance = Callable[[list[int]], Awaitable[dict[tuple[str, int], int]]]


def record_of(message: Message) -> Record:
    """Our record of a Kafka message. Raises nothing: absent key and value become empty bytes."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None
    key, value = message.key(), message.value()
    raw_key = key.encode() if isinstance(key, str) else key or b""
    raw_value = value.encode() if isinstance(value, str) else value or b""
    return Record(topic, partition, offset, raw_key, raw_value, message.timestamp()[1])


class BatchFeed:
    """Hands batches of one consumer group to `deliver`, and rebalances through the runner.

    Partitions come and go as a whole: partition p of every topic of the stage belongs to the same
    member (the `range` assignor on equally partitioned topics), so a stage can join its inputs.
    """

    def __init__(self, settings: Settings, *, group: str, topics: Sequence[str],
                 loop: asyncio.AbstractEventLoop,
                 deliver: Callable[[list[Record]], Awaitable[None]],
                 assigned: Rebalance, revoked: Callable[[list[int]], Awaitable[None]],
                 lost: Callable[[list[int]], None], failed: Callable[[BaseException], None]
                 ) -> None:
        self._settings, self._group = settings, group
        self._topics, self._loop = list(topics), loop
        self._deliver, self._assigned, self._revoked = deliver, assigned, revoked
        self._lost, self._failed = lost, failed
        self._batch_events = settings.batch_events
        self._closing = threading.Event()
        self._seeks: queue.SimpleQueue[list[TopicPartition]] = queue.SimpleQueue()
        self._commits: queue.SimpleQueue[tuple[list[TopicPartition], Future[None]]] = (
            queue.SimpleQueue())
        self._ends: dict[tuple[str, int], int] = {}
        self._ends_at = 0.0
        self.subscribed = asyncio.Event()
        self._consumer = Consumer({
            **settings.kafka_client, "group.id": group, "client.id": group,
            "enable.auto.commit": False, "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "range", "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500, "max.poll.interval.ms": 600_000,
            "fetch.wait.max.ms": 20, "fetch.min.bytes": 1, "queued.min.messages": 20_000,
            "isolation.level": "read_committed",
        })
        self._thread = threading.Thread(target=self._run, name=f"feed-{group}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Leave the group; partitions are revoked on the way, which checkpoints them."""
        self._closing.set()
        await asyncio.to_thread(self._thread.join, 60)

    def seek(self, offsets: dict[tuple[str, int], int]) -> None:
        """Read again from `offsets`; carried out by the feed's thread before its next batch."""
        self._seeks.put([TopicPartition(t, p, o) for (t, p), o in offsets.items()])

    def commit(self, offsets: dict[tuple[str, int], int], metadata: str) -> None:
        """Commit and wait for the broker. Raises KafkaException when ownership was lost."""
        wanted = [TopicPartition(topic, partition, offset, metadata)
                  for (topic, partition), offset in offsets.items()]
        done: Future[None] = Future()
        self._commits.put((wanted, done))
        done.result(60)

    def committed(self, partitions: Sequence[int]) -> dict[tuple[str, int], tuple[int, str | None]]:
        """(offset, metadata) of every input partition; offset -1001 when never committed."""
        wanted = [TopicPartition(t, p) for t in self._topics for p in partitions]
        # Asked through a connection of its own: the member's is held back while a rebalance waits,
        # and this is called in the middle of one.
        asking = Consumer({**self._settings.kafka_client, "group.id": self._group,
                           "enable.auto.commit": False})
        try:
            answers = asking.committed(wanted, timeout=30)
        finally:
            asking.close()
        return {(a.topic, a.partition): (a.offset, a.metadata) for a in answers}

    def end_of(self, topic: str, partition: int) -> int:
        """The partition's end as of a moment ago; below 0 when not known yet."""
        return self._ends.get((topic, partition), -1)

    def _run(self) -> None:
        try:
            self._consumer.subscribe(self._topics, on_assign=self._on_assign,
                                     on_revoke=self._on_revoke, on_lost=self._on_lost)
            while not self._closing.is_set():
                self._turn()
                self._serve()
        except BaseException as fault:
            self._failed(fault)
        finally:
            self._consumer.close()

    def _turn(self) -> None:
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return
        messages = [first, *self._consumer.consume(self._batch_events - 1, 0)]
        if self._sought():
            return
        records = [record_of(m) for m in messages if not _is_transient(m.error())]
        if records:
            self._wait(self._deliver(records))

    def _sought(self) -> bool:
        """Carry out seeks; True when there was one: what was read before it is read again."""
        found = False
        with contextlib.suppress(queue.Empty):
            while True:
                for place in self._seeks.get_nowait():
                    self._consumer.seek(place)
                found = True
        return found

    def _serve(self) -> None:
        """Do what other threads have asked of the consumer."""
        with contextlib.suppress(queue.Empty):
            while True:
                wanted, done = self._commits.get_nowait()
                try:
                    answers = self._consumer.commit(offsets=wanted, asynchronous=False) or []
                    faults = [a.error for a in answers if a.error is not None]
                    if faults:
                        raise KafkaException(faults[0])
                    done.set_result(None)
                except KafkaException as fault:
                    done.set_exception(fault)
        if time.monotonic() >= self._ends_at:
            self._ends_at = time.monotonic() + _ENDS_EVERY_S
            for place in self._consumer.assignment():
                self._ends[place.topic, place.partition] = self._consumer.get_watermark_offsets(
                    place, cached=True)[1]

    def _wait(self, work: Awaitable[Any]) -> None:
        """Wait for the stage to take the batch; poll on, paused, so that the group keeps us."""
        future = asyncio.run_coroutine_threadsafe(_await(work), self._loop)
        paused: list[TopicPartition] = []
        patience = time.monotonic() + _PATIENCE_S
        while not _is_done(future):
            self._serve()
            if self._closing.is_set() and future.cancel():
                break
            if time.monotonic() > patience:
                paused = paused or self._consumer.assignment()
                self._consumer.pause(paused)
                self._consumer.poll(0)
        if paused:
            self._consumer.resume(self._consumer.assignment())

    def _settle(self, work: Awaitable[Any], limit_s: float) -> Any:
        """Wait for `work` inside a rebalance, serving commits: nobody else can."""
        future = asyncio.run_coroutine_threadsafe(_await(work), self._loop)
        end = time.monotonic() + limit_s
        while not _is_done(future):
            self._serve()
            if time.monotonic() > end:
                raise UnreachableError(f"{self._group}: a rebalance did not end in {limit_s:g} s",
                                       "look at the broker: kairos status, kairos doctor")
        return future.result()

    def _on_assign(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        partitions = sorted({p.partition for p in places})
        log.info("assigned partitions %s", partitions)
        starts = self._settle(self._assigned(partitions), 300)
        for place in places:
            place.offset = starts.get((place.topic, place.partition), OFFSET_BEGINNING)
        self._consumer.assign(places)
        self._loop.call_soon_threadsafe(self.subscribed.set)

    def _on_revoke(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        partitions = sorted({p.partition for p in places})
        log.info("revoked partitions %s", partitions)
        self._settle(self._revoked(partitions), 120)
        for place in places:
            self._ends.pop((place.topic, place.partition), None)

    def _on_lost(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        self._loop.call_soon_threadsafe(self._lost, sorted({p.partition for p in places}))


async def _await(work: Awaitable[Any]) -> Any:
    return await work


def _is_done(future: Future[Any]) -> bool:
    """True when `future` ended within a few milliseconds; raises what it raised."""
    try:
        future.result(0.005)
    except FutureTimeout:
        return False
    return True


def _is_transient(fault: KafkaError | None) -> bool:
    """True for error events to skip; raises for what cannot be waited out."""
    if fault is None:
        return False
    if fault.fatal():
        raise KafkaException(fault)
    log.warning("kafka: %s", fault)
    return True


def read_whole(settings: Settings, topic: str, partition: int) -> Iterator[
        tuple[bytes, bytes | None]]:
    """All (key, value) of one partition from its beginning to its present end, in order.

    Gaps (compaction, control records) are normal. Raises UnreachableError when the broker stops
    answering in the middle.
    """
    consumer = Consumer({**settings.kafka_client, "group.id": "kairos-readers",
                         "enable.auto.commit": False, "enable.partition.eof": True,
                         "auto.offset.reset": "earliest"})
    try:
        place = TopicPartition(topic, partition, OFFSET_BEGINNING)
        low, high = consumer.get_watermark_offsets(place, timeout=30)
        if high <= low:
            return
        consumer.assign([place])
        silent = 0
        while True:
            messages = consumer.consume(10_000, 0.5)
            silent = 0 if messages else silent + 1
            if silent > 120:
                raise UnreachableError(f"{topic}/{partition}: the broker stopped answering "
                                       "during recovery", "look at the broker: kairos status")
            for message in messages:
                fault = message.error()
                if fault is not None:
                    if fault.code() == KafkaError._PARTITION_EOF:
                        return
                    raise UnreachableError(f"{topic}/{partition}: {fault}", "kairos doctor")
                value, key = message.value(), message.key()
                assert not isinstance(value, str) and isinstance(key, bytes)
                yield key, value
                offset = message.offset()
                if offset is not None and offset + 1 >= high:
                    return
    except KafkaException as fault:
        raise UnreachableError(f"{topic}/{partition}: {fault}", "kairos doctor") from fault
    finally:
        consumer.close()


class ControlFeed:
    """Follows control topics in full: every process holds all of them. No consumer group."""

    def __init__(self, settings: Settings, topics: Sequence[str],
                 take: Callable[[Record], None]) -> None:
        self._settings, self._topics, self._take = settings, list(topics), take
        self._closing = threading.Event()
        self._consumer = Consumer({
            **settings.kafka_client, "group.id": "kairos-readers", "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20,
            "topic.metadata.refresh.interval.ms": 30_000})
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def bootstrap(self) -> int:
        """Read everything there is now; returns the number of records. Blocks."""
        places, ends = [], {}
        for topic in self._topics:
            meta = self._consumer.list_topics(topic, timeout=30).topics[topic]
            if meta.error is not None:
                raise UnreachableError(f"{topic}: {meta.error}", "run: kairos up")
            for partition in meta.partitions:
                place = TopicPartition(topic, partition, OFFSET_BEGINNING)
                ends[topic, partition] = self._consumer.get_watermark_offsets(
                    place, timeout=30)[1]
                places.append(place)
        self._consumer.assign(places)
        count, silent = 0, 0
        while any(self._position(where) < end for where, end in ends.items()) and silent < 60:
            messages = self._consumer.consume(5000, 0.5)
            silent = 0 if messages else silent + 1
            count += self._pass_on(messages)
        return count

    def _position(self, where: tuple[str, int]) -> int:
        """Next offset to be read; 0 before the first one of an empty partition."""
        answer = self._consumer.position([TopicPartition(*where)])[0].offset
        if answer >= 0:
            return int(answer)
        return int(self._consumer.get_watermark_offsets(TopicPartition(*where), cached=True)[0])

    def _pass_on(self, messages: Sequence[Message]) -> int:
        taken = 0
        for message in messages:
            if not _is_transient(message.error()):
                self._take(record_of(message))
                taken += 1
        return taken

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._pass_on(self._consumer.consume(1000, 0.05))
        self._consumer.close()

    async def stop(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 10)
