"""Reading Kafka without a group: one partition from end to end, faults in one sentence."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import chain
from typing import cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from streams.engine.records import Record, Stretch
from streams.kernel.errors import UnreachableError
from streams.settings import Settings

log = logging.getLogger(__name__)

# Of a consumer that is assigned partitions, and belongs to no group but by name.
READER: dict[str, str | int | bool] = {
    "group.id": "kairos-readers", "enable.auto.commit": False, "auto.offset.reset": "earliest",
    # With its queue full the client stops fetching, for a whole second unless told otherwise.
    "fetch.queue.backoff.ms": 5}
_WAIT_S = 30.0         # for an answer, and for a partition's leader
_ASK_AGAIN_S = 0.2
# Rows of two thousand bytes: what one batch took in memory is still at hand for the next. Ten times
# as many cost three times the work, all of it for memory that is new each time.
_AT_ONCE = 1000
_PATIENCE_S, _SILENCE_S = 0.05, 60.0        # for some messages; for any
_LEADERLESS = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE,
                         KafkaError._UNKNOWN_PARTITION})


def record_of(message: Message) -> Record:
    """Our record of a Kafka message. Raises nothing: absent key and value become empty bytes."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None
    key, value = message.key(), message.value()
    return Record(topic, partition, offset, _raw(key), _raw(value), message.timestamp()[1])


def stretch_of(topic: str, partition: int, messages: list[Message]) -> Stretch:
    """Messages of one partition as columns."""
    return Stretch(topic, partition, [m.offset() or 0 for m in messages],
                   [_raw(m.value()) for m in messages], lambda n: record_of(messages[n]))


def _raw(value: bytes | str | None) -> bytes:
    return value if isinstance(value, bytes) else (value or "").encode()


def unreachable(what: str, fault: KafkaException | BufferError | None) -> UnreachableError:
    """One sentence: what was not possible, and Kafka's own words."""
    said = "" if fault is None else f": {words_of(fault)}"
    return UnreachableError(what + said, "look at the broker: kairos status, kairos doctor")


def words_of(fault: KafkaException | BufferError) -> str:
    said = fault.args[0]
    return said.str() if isinstance(said, KafkaError) else str(said)


def is_transient(fault: KafkaError | None) -> bool:
    """True for error events to skip; raises for what cannot be waited out."""
    if fault is None:
        return False
    # An event that reports that the client has given up is not itself marked as fatal.
    if fault.fatal() or fault.code() == KafkaError._FATAL:
        raise KafkaException(fault)
    log.warning("kafka: %s", fault)
    return True


def reach_of(consumer: Consumer, place: TopicPartition) -> tuple[int, int]:
    """(first offset, offset after the last message) of a partition.

    Waits for its leader: a broker that comes back answers before it leads its partitions. Raises
    KafkaException.
    """
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            low, high = consumer.get_watermark_offsets(place, timeout=_WAIT_S)
            return int(low), int(high)
        except KafkaException as fault:
            if fault.args[0].code() not in _LEADERLESS or time.monotonic() > end:
                raise
            time.sleep(_ASK_AGAIN_S)


def end_of(settings: Settings, topic: str, partition: int) -> int:
    """The offset after the last message of one partition. Raises UnreachableError."""
    consumer = Consumer({**settings.kafka_client, "group.id": "kairos-readers"})
    try:
        return reach_of(consumer, TopicPartition(topic, partition))[1]
    except KafkaException as fault:
        raise UnreachableError(f"{topic}/{partition}: {fault}", "kairos doctor") from fault
    finally:
        consumer.close()


def read_whole(settings: Settings, topic: str, partition: int, start: int = OFFSET_BEGINNING,
               ) -> Iterator[tuple[bytes, bytes | None]]:
    """All (key, value) of one partition from offset `start` to its present end, in order.

    Gaps (compaction, control records) are normal; a record without a key has an empty one. Raises
    UnreachableError when the broker stops answering in the middle.
    """
    return chain.from_iterable(
        zip(cast("list[bytes]", [message.key() or b"" for message in messages]),
            cast("list[bytes | None]", [message.value() for message in messages]), strict=True)
        for messages in read_messages(settings, topic, partition, start))


def read_messages(settings: Settings, topic: str, partition: int, start: int = OFFSET_BEGINNING,
                  ) -> Iterator[list[Message]]:
    """`read_whole`, as messages, some hundred at a time."""
    consumer = Consumer({**settings.kafka_client, **READER, "enable.partition.eof": True})
    try:
        place = TopicPartition(topic, partition, start)
        low, high = reach_of(consumer, place)
        if high <= max(low, start):
            return
        consumer.assign([place])
        silent = 0
        while True:
            # It comes back early with as many as asked for, but not at the partition's end.
            messages = consumer.consume(_AT_ONCE, _PATIENCE_S)
            silent = 0 if messages else silent + 1
            if silent * _PATIENCE_S > _SILENCE_S:
                raise UnreachableError(f"{topic}/{partition}: the broker stopped answering "
                                       "in the middle", "look at the broker: kairos status")
            whole, ends = _up_to_end(messages, f"{topic}/{partition}", high)
            yield whole
            if ends:
                return
    except KafkaException as fault:
        raise unreachable(f"{topic}/{partition} cannot be read", fault) from fault
    finally:
        consumer.close()


def _up_to_end(messages: list[Message], where: str, high: int) -> tuple[list[Message], bool]:
    """(the messages before `high`, whether that or the partition's end is reached)."""
    for n, message in enumerate(messages):
        fault = message.error()
        if fault is not None:
            if fault.code() == KafkaError._PARTITION_EOF:
                return messages[:n], True
            raise UnreachableError(f"{where}: {fault.str()}",
                                   "look at the broker: kairos status, kairos doctor")
        if (message.offset() or 0) + 1 >= high:
            return messages[:n + 1], True
    return messages, False
