"""The batch feed of a stage.

It owns one confluent-kafka consumer in a thread of its own; only that thread calls it:
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
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    Message,
    TopicPartition,
)

from streams.adapters.reading import is_transient, record_of, stretch_of, unreachable
from streams.engine.records import Record
from streams.kernel.errors import UnreachableError
from streams.settings import Settings

log = logging.getLogger(__name__)

_POLL_S = 0.02         # also the longest that a commit waits for its turn
_ENDS_EVERY_S = 0.2
_ANSWER_S = 60.0
_PATIENCE_S = 5.0      # a stage that takes longer over a batch is waited for with polls, paused
Rebalance = Callable[[list[int]], Awaitable[dict[tuple[str, int], int]]]


class BatchFeed:
    """Hands batches of one consumer group to `deliver`, and rebalances through the runner.

    Partitions come and go as a whole: partition p of every topic of the stage belongs to the same
    member (the `range` assignor on equally partitioned topics), so a stage can join its inputs.
    """

    def __init__(self, settings: Settings, *, group: str, topics: Sequence[str],
                 loop: asyncio.AbstractEventLoop,
                 deliver: Callable[[dict[int, Sequence[Record]]], Awaitable[None]],
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
            # What comes is answered at once; the wait is only how long the broker holds an answer
            # of nothing.
            "fetch.wait.max.ms": 100, "fetch.min.bytes": 1,
            # With its queue full the client stops fetching, and then for a whole second unless told
            # otherwise: a stage that catches up would wait for most of the time.
            "queued.min.messages": 50_000, "fetch.queue.backoff.ms": 5,
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
        """Commit and wait for the broker.

        Raises UnreachableError when it does not answer, or when ownership was lost.
        """
        wanted = [TopicPartition(topic, partition, offset, metadata)
                  for (topic, partition), offset in offsets.items()]
        done: Future[None] = Future()
        self._commits.put((wanted, done))
        try:
            done.result(_ANSWER_S)
        except FutureTimeout:
            raise unreachable(f"{self._group}: a commit was not answered in {_ANSWER_S:g} s",
                               None) from None
        except KafkaException as fault:
            raise unreachable(f"{self._group}: a commit was not taken", fault) from fault

    def committed(self, partitions: Sequence[int]) -> dict[tuple[str, int], tuple[int, str | None]]:
        """(offset, metadata) of every input partition; offset -1001 when never committed."""
        wanted = [TopicPartition(t, p) for t in self._topics for p in partitions]
        # Asked through a connection of its own: the member's is held back while a rebalance waits,
        # and this is called in the middle of one.
        asking = Consumer({**self._settings.kafka_client, "group.id": self._group,
                           "enable.auto.commit": False})
        try:
            answers = asking.committed(wanted, timeout=30)
        except KafkaException as fault:
            raise unreachable(f"{self._group}: committed offsets cannot be read",
                               fault) from fault
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
        except KafkaException as fault:
            self._failed(unreachable(f"{self._group}: reading failed", fault))
        except BaseException as fault:
            self._failed(fault)
        finally:
            self._consumer.close()

    def _turn(self) -> None:
        self._sought()                     # also when nothing new comes
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return
        messages = [first, *self._consumer.consume(self._batch_events - 1, 0)]
        sought = self._sought()            # asked for while we read: what we hold of it is stale
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            if message.error() is None or not is_transient(message.error()):
                by_partition.setdefault(message.partition() or 0, []).append(message)
        shares: dict[int, Sequence[Record]] = {}
        for partition, found in by_partition.items():
            if len(self._topics) > 1:
                shares[partition] = [r for r in map(record_of, found)
                                     if (r.topic, r.partition) not in sought]
            elif (self._topics[0], partition) not in sought:
                shares[partition] = stretch_of(self._topics[0], partition, found)
        if any(shares.values()):
            self._wait(self._deliver(shares))

    def _sought(self) -> set[tuple[str, int]]:
        """Carry out seeks; whatever had been read of these partitions is read again."""
        found = set()
        with contextlib.suppress(queue.Empty):
            while True:
                for place in self._seeks.get_nowait():
                    self._consumer.seek(place)
                    found.add((place.topic, place.partition))
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
        paused, patience = False, time.monotonic() + _PATIENCE_S
        while not _is_done(future):
            self._serve()
            if self._closing.is_set() and future.cancel():
                break
            if time.monotonic() > patience:
                paused = True
                self._consumer.pause(self._consumer.assignment())     # anew: a poll may rebalance
                self._put_back(self._consumer.poll(0))
        if paused:
            self._consumer.resume(self._consumer.assignment())

    def _put_back(self, message: Message | None) -> None:
        """What came although everything is paused is read again when it is not."""
        if message is not None and not is_transient(message.error()):
            record = record_of(message)
            self._consumer.seek(TopicPartition(record.topic, record.partition, record.offset))

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
        self._consumer.resume(places)     # the client remembers a pause of what we owned before
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
