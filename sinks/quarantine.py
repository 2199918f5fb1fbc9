"""The quarantine port on Kafka: culprits go to events.quarantined, bytes and all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas import contract
from sinks.decoding import Fault
from sinks.ports import Unavailable
from streams.kernel import ids
from streams.settings import Settings

TOPIC: Final = "events.quarantined"
SEND_WAIT_S: Final = 30.0


def entry(fault: Fault, recorded_ms: int) -> dict[str, object]:
    """The quarantine record; its id follows from the culprit's address, so repeats collapse."""
    record = fault.record
    return {
        "quarantine_id": ids.derive("quarantine", record.topic, record.partition, record.offset),
        "stage": "sink", "reason": fault.reason, "field": "", "detail": fault.detail,
        "topic": record.topic, "partition": record.partition, "offset": record.offset,
        "appended_ms": record.appended_ms, "recorded_ms": recorded_ms,
        "key": record.key, "payload": record.value or b""}


class KafkaQuarantine:
    """A culprit that stands in events.quarantined itself is only reported: it would come back."""

    def __init__(self, settings: Settings, warn: Callable[[str], None]) -> None:
        self._options = {**settings.kafka_client, "acks": "all", "enable.idempotence": True,
                         "partitioner": "murmur2_random", "client.id": "kairos-sink-quarantine",
                         "message.max.bytes": 2_000_000}
        self._warn = warn
        self._producer: Producer | None = None     # made at the first culprit; most never come

    def send(self, faults: Sequence[Fault]) -> None:
        reports: list[KafkaError | None] = []

        def reported(fault: KafkaError | None, _message: Message) -> None:
            reports.append(fault)

        sent = 0
        try:
            for fault in faults:
                record = fault.record
                self._warn(f"{record.topic}/{record.partition} offset {record.offset}: "
                           f"{fault.reason}, {fault.detail}")
                if record.topic != TOPIC:
                    self._out.produce(
                        TOPIC, contract(TOPIC).encode(entry(fault, int(time.time() * 1000))),
                        record.topic.encode(), partition=record.partition, on_delivery=reported)
                    sent += 1
            left = self._out.flush(SEND_WAIT_S) if sent else 0
        except (KafkaException, BufferError) as fault:
            raise Unavailable(f"Kafka does not take quarantined records: {fault}") from fault
        bad = [fault for fault in reports if fault is not None]
        if left or bad or len(reports) != sent:
            why = bad[0] if bad else "no answer"
            raise Unavailable(f"Kafka does not take quarantined records: {why}")

    @property
    def _out(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(self._options)
        return self._producer
