"""Control topics for the command line: read one whole, publish one record and know it arrived."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from schemas import contract
from streams.adapters.reading import read_whole
from streams.kernel.errors import UnreachableError
from streams.settings import Settings

_ANSWER_S = 10.0
_START_IT = "start the broker with kairos up, or set KAIROS_KAFKA; --offline works without one"


def read_compacted(settings: Settings, topic: str, asked: Callable[[bytes], bool] = lambda _: True,
                   ) -> dict[str, dict[str, Any]]:
    """The newest record of each key of a compacted topic that is `asked` for; tombstones take a key
    away.

    Bytes that are no such record are passed over, as workers do: anyone may write to a topic.
    Raises UnreachableError when the broker does not answer or has no such topic.
    """
    records: dict[str, dict[str, Any]] = {}
    for partition in _partitions(settings, topic):
        said: dict[bytes, list[bytes | None]] = {}
        for key, value in _read_patiently(settings, topic, partition):
            if asked(key):
                said.setdefault(key, []).append(value)
        for key, values in said.items():
            with suppress(ValueError):
                found = _newest(topic, values)
                if found is None:
                    records.pop(key.decode(), None)
                else:
                    records[key.decode()] = found
    return records


def _newest(topic: str, values: list[bytes | None]) -> dict[str, Any] | None:
    """The last of a key's values that is a record, None: that is a tombstone. What compaction has
    yet to take away need not be decoded. Raises ValueError when none is a record."""
    for value in reversed(values):
        if value is None:
            return None
        with suppress(ValueError):
            return contract(topic).decode(value)
    raise ValueError("there is no record")


def _read_patiently(settings: Settings, topic: str,
                    partition: int) -> list[tuple[bytes, bytes | None]]:
    """One partition, whole. A topic that was just created has no leader for a moment: that passes.
    """
    end_s = time.monotonic() + _ANSWER_S
    while True:
        try:
            return list(read_whole(settings, topic, partition))
        except UnreachableError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.3)


def publish(settings: Settings, topic: str, key: str, record: dict[str, Any]) -> None:
    """Produce one record and wait until the broker has it.

    Raises UnreachableError when it could not be delivered.
    """
    faults: list[str] = []

    def reported(fault: KafkaError | None, _message: Message) -> None:
        if fault is not None:
            faults.append(fault.str())

    producer = Producer({**settings.kafka_client, "acks": "all", "enable.idempotence": True,
                         "partitioner": "murmur2_random", "delivery.timeout.ms": 15_000,
                         "log_level": 0})
    producer.produce(topic, key=key.encode(), value=contract(topic).encode(record),
                     on_delivery=reported)
    left = producer.flush(2 * _ANSWER_S)
    if left or faults:
        raise UnreachableError(f"{topic}: the record was not delivered "
                               f"({faults[0] if faults else 'no answer'})", _START_IT)


def _partitions(settings: Settings, topic: str) -> list[int]:
    consumer = Consumer({**settings.kafka_client, "group.id": "kairos-control",
                         "enable.auto.commit": False, "log_level": 0})
    try:
        found = consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic]
    except KafkaException as fault:
        raise UnreachableError(f"{settings.bootstrap} does not answer",
                               _START_IT) from fault
    finally:
        consumer.close()
    if found.error is not None:
        raise UnreachableError(f"{topic}: {found.error}", "create the topics with kairos up")
    return sorted(found.partitions)
