"""Publishing from a web request: one await per record, ended by the broker's delivery report."""

from __future__ import annotations

import asyncio
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Message

from streams.adapters.producing import PARTITION_BY_KEY, REMEDY, Reporting
from streams.kernel.errors import UnreachableError
from streams.settings import Settings

_OPTIONS = {
    "linger.ms": 2, "delivery.timeout.ms": 10_000, "request.timeout.ms": 5_000,
    # librdkafka's own log would repeat every second that the broker is away: each request that
    # fails says so anyway
    "log_level": 2, "reconnect.backoff.max.ms": 2_000,
}


class PublishPort(Protocol):
    async def publish(self, topic: str, value: bytes, *, key: bytes | None = None,
                      partition: int | None = None) -> None:
        """Return when the broker has the record. Raises UnreachableError when it has not."""
        ...

    def close(self) -> None: ...


class Publisher:
    """A PublishPort over librdkafka; its delivery reports come back into the event loop."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._reporting = Reporting(settings, name, _OPTIONS)

    async def publish(self, topic: str, value: bytes, *, key: bytes | None = None,
                      partition: int | None = None) -> None:
        loop = asyncio.get_running_loop()
        report: asyncio.Future[KafkaError | None] = loop.create_future()

        def reported(fault: KafkaError | None, _message: Message) -> None:
            loop.call_soon_threadsafe(_settle, report, fault)

        try:
            self._reporting.producer.produce(
                topic, key=key, value=value, on_delivery=reported,
                partition=PARTITION_BY_KEY if partition is None else partition)
        except (BufferError, KafkaException) as full:
            raise UnreachableError(f"Kafka does not take records now: {full}", REMEDY) from full
        fault = await report
        if fault is not None:
            raise UnreachableError(f"Kafka did not take a record: {fault.str()}", REMEDY)

    def close(self) -> None:
        self._reporting.close()


def _settle(report: asyncio.Future[KafkaError | None], fault: KafkaError | None) -> None:
    if not report.done():            # the request may have gone away
        report.set_result(fault)
