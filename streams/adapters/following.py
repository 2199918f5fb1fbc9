"""Following the control topics: every process holds all of them, so there is no consumer group."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from streams.adapters.reading import (
    READER,
    is_transient,
    reach_of,
    record_of,
    unreachable,
    words_of,
)
from streams.engine.records import Record
from streams.kernel.errors import UnreachableError
from streams.settings import Settings

log = logging.getLogger(__name__)

_META_WAIT_S = 5.0
_POLL_S = 0.02
_SILENCES_MAX = 60     # empty polls of half a second, one after the other


class ControlFeed:
    """Follows control topics in full: every process holds all of them. No consumer group."""

    def __init__(self, settings: Settings, topics: Sequence[str], take: Callable[[Record], None],
                 failed: Callable[[BaseException], None]) -> None:
        self._settings, self._topics = settings, list(topics)
        self._take, self._failed = take, failed
        self._last_words = ""
        self._closing = threading.Event()
        self._consumer = Consumer({
            **settings.kafka_client, **READER, "fetch.wait.max.ms": 100,
            "topic.metadata.refresh.interval.ms": 30_000, "error_cb": self._heard})
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def bootstrap(self) -> int:
        """Read everything there is now; returns the number of records. Blocks.

        Raises UnreachableError: to go on without consents or playbooks would be wrong.
        """
        try:
            ends = self._ends()
            self._consumer.assign([TopicPartition(*where, OFFSET_BEGINNING) for where in ends])
            count, silent = 0, 0
            while any(self._position(where) < end for where, end in ends.items()):
                messages = self._consumer.consume(5000, 0.5)
                silent = 0 if messages else silent + 1
                if silent > _SILENCES_MAX:
                    raise unreachable("the broker stopped answering amid the control topics", None)
                count += self._pass_on(messages)
            return count
        except KafkaException as fault:
            self._consumer.poll(0)      # why, comes to the callback: refused, a wrong password
            why = self._last_words or words_of(fault)
            raise unreachable(f"Kafka does not answer at {self._settings.bootstrap}: {why}",
                               None) from fault

    def _heard(self, fault: KafkaError) -> None:
        if fault.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_words = fault.str()
        if fault.code() == KafkaError._AUTHENTICATION:
            log.warning("kafka: %s", fault.str())

    def _ends(self) -> dict[tuple[str, int], int]:
        """The present end of every partition. Raises KafkaException, UnreachableError."""
        ends = {}
        for topic in self._topics:
            meta = self._consumer.list_topics(topic, timeout=_META_WAIT_S).topics[topic]
            if meta.error is not None:
                raise UnreachableError(f"{topic}: {meta.error.str()}", "run: kairos up")
            for partition in meta.partitions:
                ends[topic, partition] = reach_of(
                    self._consumer, TopicPartition(topic, partition))[1]
        return ends

    def _position(self, where: tuple[str, int]) -> int:
        """Next offset to be read; 0 before the first one of an empty partition."""
        answer = self._consumer.position([TopicPartition(*where)])[0].offset
        if answer >= 0:
            return int(answer)
        return int(self._consumer.get_watermark_offsets(TopicPartition(*where), cached=True)[0])

    def _pass_on(self, messages: Sequence[Message]) -> int:
        taken = 0
        for message in messages:
            if not is_transient(message.error()):
                self._take(record_of(message))
                taken += 1
        return taken

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                # First one, then what else is here: a withdrawal must not wait for company.
                first = self._consumer.poll(_POLL_S)
                if first is not None:
                    self._pass_on([first, *self._consumer.consume(999, 0)])
        except BaseException as fault:
            # Without fresh consents nothing may be sent.
            self._failed(fault)
        finally:
            self._consumer.close()

    async def stop(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 10)
