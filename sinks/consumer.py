"""The sink's side of Kafka: one consumer group over every topic that lands.

A member of a cooperative group, and no static one: a static member that Kafka did not hear for a
session is fenced by its own return (docs/decisions/0007-the-sink-has-no-static-id.md). Polling
never stops, not even while ClickHouse is down, so that the group keeps the sink; what stops then is
the fetching.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from sinks.intents import Arrival, Intent, Where
from sinks.offsets import topic_ids
from sinks.ports import OwnershipChanged, Unavailable
from sinks.topics import BY_TOPIC
from sinks.writer import Writer
from streams.kernel.errors import SetupError, UnreachableError
from streams.settings import Settings

GROUP: Final = "kairos-sink"
WAIT_S: Final = 10.0
POLL_RECORDS_MAX: Final = 10_000

_LOG = logging.getLogger("kairos.sink")

_CHANGED: Final = frozenset({
    KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.STALE_MEMBER_EPOCH, KafkaError._ASSIGNMENT_LOST})
_QUIET: Final = frozenset({KafkaError._PARTITION_EOF, KafkaError.UNKNOWN_TOPIC_OR_PART,
                           KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT})


class KafkaSource:
    """Reads records into a writer, and keeps offsets for it (the Log port)."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._writer: Writer | None = None
        self._ready: Callable[[], None] = lambda: None
        self._paused = False
        self.consumer = Consumer({
            **settings.kafka_client, "group.id": GROUP, "client.id": f"kairos-{name}",
            "partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500, "max.poll.interval.ms": 300_000,
            "enable.auto.commit": False, "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest", "enable.partition.eof": True,
            "topic.metadata.refresh.interval.ms": 10_000, "queued.max.messages.kbytes": 4096,
            # A queue of 4 MiB a partition is soon full when the sink catches up; the client would
            # then wait a whole second before it fetches again.
            "fetch.queue.backoff.ms": 5,
            # Rows wait to be cut for longer than this: fetching each record as it comes would only
            # make the broker answer some hundred times a second.
            "fetch.wait.max.ms": 100, "fetch.min.bytes": 65_536}, logger=_LOG)

    def start(self, writer: Writer, ready: Callable[[], None]) -> None:
        """Join the group; `ready` is called at the first assignment."""
        self._writer, self._ready = writer, ready
        self.consumer.subscribe(list(BY_TOPIC), on_assign=self._assigned,
                                on_revoke=self._revoked, on_lost=self._lost)

    def poll(self, wait_s: float) -> None:
        """Hand what has come to the writer; waits at most `wait_s` for the first record."""
        assert self._writer is not None
        first = self.consumer.poll(wait_s)
        if first is None:
            return
        now_ms = int(time.time() * 1000)
        for message in (first, *self.consumer.consume(POLL_RECORDS_MAX, 0)):
            self._take(message, now_ms)

    def _take(self, message: Message, now_ms: int) -> None:
        assert self._writer is not None
        where = Where(message.topic() or "", message.partition() or 0)
        fault = message.error()
        if fault is None:
            self._writer.take(Arrival(where.topic, where.partition, message.offset() or 0,
                                      message.key(), message.value(), message.timestamp()[1]),
                              now_ms)
        elif fault.code() == KafkaError._PARTITION_EOF:
            self._writer.reached(where, message.offset() or 0)
        elif _is_fatal(fault):
            raise _gave_up(fault)
        elif fault.code() not in _QUIET:
            _LOG.warning("Kafka: %s", fault.str())

    def commit(self, offsets: Mapping[Where, tuple[int, str]]) -> None:
        wanted = [TopicPartition(where.topic, where.partition, offset, metadata)
                  for where, (offset, metadata) in offsets.items()]
        try:
            answer = self.consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException as fault:
            _raise(fault.args[0])
            return
        for partition in answer or ():
            if partition.error is not None:
                _raise(partition.error)

    def pause(self, paused: bool) -> None:
        """Stop or resume fetching of everything assigned."""
        self._paused = paused
        owned = self.consumer.assignment()
        if owned:
            (self.consumer.pause if paused else self.consumer.resume)(owned)

    def close(self) -> None:
        self.consumer.close()

    def _revoked(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        assert self._writer is not None
        self._writer.revoke(Where(p.topic, p.partition) for p in partitions)

    def _lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        _LOG.warning("Kafka was out of reach for a whole session: %d partitions are given up, and "
                     "read again from what is committed", len(partitions))
        self._revoked(consumer, partitions)

    def _assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        starts = self._patiently(lambda: self._starts(partitions)) if partitions else []
        consumer.incremental_assign(starts)
        if starts:
            # The client remembers a pause of what was lost meanwhile: it must be told either way.
            (consumer.pause if self._paused else consumer.resume)(starts)
        self._ready()

    def _starts(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Where each partition is to be read from; tells the writer."""
        assert self._writer is not None
        names = topic_ids(self._settings, {p.topic for p in partitions})
        starts = []
        for found in self.consumer.committed(list(partitions), timeout=WAIT_S):
            low, high = self.consumer.get_watermark_offsets(
                TopicPartition(found.topic, found.partition), timeout=WAIT_S)
            topic_id = names.get(found.topic, "")
            begin = _begin(found, low=low, high=high, topic_id=topic_id)
            self._writer.assign(Where(found.topic, found.partition), begin, found.metadata or "",
                                topic_id=topic_id)
            starts.append(TopicPartition(found.topic, found.partition, max(begin, low)))
        return starts

    def _patiently(self, question: Callable[[], list[TopicPartition]]) -> list[TopicPartition]:
        """Ask until Kafka answers: an assignment without its offsets would be a guess."""
        while True:
            try:
                return question()
            except (KafkaException, UnreachableError) as fault:
                _LOG.warning("cannot read committed offsets, trying again: %s", fault)
                time.sleep(1.0)


def _begin(found: TopicPartition, *, low: int, high: int, topic_id: str) -> int:
    """The offset a partition is owned from: committed, or the oldest that Kafka still has."""
    where = f"{found.topic}/{found.partition}"
    if found.offset < 0:
        return low
    intent = Intent.of_metadata(found.metadata)
    if intent is not None and intent.topic_id == topic_id:
        return found.offset
    if found.offset > high:
        _LOG.warning("%s was made anew: reading it from offset %d", where, low)
        return low
    if found.offset < low:
        _LOG.error("%s: offsets %d to %d expired before they were read; the ledger shows the gap",
                   where, found.offset, low - 1)
        return low
    return found.offset


def _raise(fault: KafkaError) -> None:
    if fault.code() in _CHANGED:
        raise OwnershipChanged(fault.str())
    if _is_fatal(fault):
        raise _gave_up(fault)
    raise Unavailable(f"Kafka: {fault.str()}")


def _is_fatal(fault: KafkaError) -> bool:
    """Whether the client has given up; an event that only reports it is not marked as fatal."""
    return fault.fatal() or fault.code() == KafkaError._FATAL


def _gave_up(fault: KafkaError) -> SetupError:
    return SetupError(f"Kafka's client has given up: {fault.str()}",
                      "start the sink again; if that does not help, look at the broker's log")
