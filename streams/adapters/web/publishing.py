"""Publishing from a web request: one await per record, ended by the broker's delivery report."""

from __future__ import annotations

import asyncio
import threading
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.kernel.errors import UnreachableError
from streams.settings import Settings

_OPTIONS = {
    "acks": "all", "enable.idempotence": True, "partitioner": "murmur2_random",
    "compression.type": "lz4", "linger.ms": 2, "message.max.bytes": 2_000_000,
    "delivery.timeout.ms": 10_000, "request.timeout.ms": 5_000,
    # librdkafka's own log would repeat every second that the broker is away: each request that
    # fails says so anyway
    "log_level": 2, "reconnect.backoff.max.ms": 2_000,
}
_BY_KEY = -1                         # librdkafka's "partition unassigned": the partitioner chooses
_REMEDY = "look at the broker: kairos status, kairos doctor"


class PublishPort(Protocol):
    async def publish(self, topic: str, value: bytes, *, key: bytes | None = None,
                      partition: int | None = None) -> None:
        """Return when the broker has the record. Raises UnreachableError when it has not."""
        ...

    def close(self) -> None: ...


class Publisher:
    """A PublishPort over librdkafka; its delivery reports come back into the event loop."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._producer = Producer({**settings.kafka_client, **_OPTIONS, "client.id": name})
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="delivery-reports", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)

    async def publish(self, topic: str, value: bytes, *, key: bytes | None = None,
                      partition: int | None = None) -> None:
        loop = asyncio.get_running_loop()
        report: asyncio.Future[KafkaError | None] = loop.create_future()

        def reported(fault: KafkaError | None, _message: Message) -> None:
            loop.call_soon_threadsafe(_settle, report, fault)

        try:
            self._producer.produce(topic, key=key, value=value, on_delivery=reported,
                                   partition=_BY_KEY if partition is None else partition)
        except (BufferError, KafkaException) as full:
            raise UnreachableError(f"Kafka does not take records now: {full}", _REMEDY) from full
        fault = await report
        if fault is not None:
            raise UnreachableError(f"Kafka did not take a record: {fault.str()}", _REMEDY)

    def close(self) -> None:
        self._producer.flush(10)
        self._closing.set()
        self._thread.join(2)


def _settle(report: asyncio.Future[KafkaError | None], fault: KafkaError | None) -> None:
    if not report.done():            # the request may have gone away
        report.set_result(fault)
