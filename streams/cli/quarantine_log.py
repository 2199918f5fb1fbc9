"""What `kairos quarantine` reads: the two topics of faults, and single records by their address."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas import contract
from streams.kernel.errors import UnreachableError
from streams.pipeline import QUARANTINE, REFUSALS
from streams.settings import Settings

WAIT_S = 10.0
ATTEMPTS_MAX = 5
RETRY_S = 0.5
Address = tuple[str, int, int]          # topic, partition, offset
Span = tuple[int, int]                  # first offset, and the one after the last


@dataclass(frozen=True, slots=True)
class Kept:
    """One quarantined or refused record. `payload` is None where only the address is kept."""

    id: str
    outcome: str
    fields: dict[str, Any]
    key: bytes | None
    payload: bytes | None

    @property
    def address(self) -> Address:
        return self.fields["topic"], self.fields["partition"], self.fields["offset"]

    def summary(self) -> dict[str, Any]:
        names = ("stage", "reason", "field", "detail", "topic", "partition", "offset",
                 "recorded_ms")
        return {"id": self.id, "outcome": self.outcome,
                **{name: self.fields[name] for name in names}}


def _address(message: Message) -> Address:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    return topic or "", -1 if partition is None else partition, -1 if offset is None else offset


class Log:
    """Reads whole topics from their beginning to where they end now, and single records."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = Consumer({
            **settings.kafka_client, "group.id": "kairos-quarantine", "log_level": 0,
            "enable.auto.commit": False, "auto.offset.reset": "error",
            "enable.partition.eof": True})

    def records(self, topic: str) -> Iterator[Message]:
        """Every record of `topic`. Raises UnreachableError when the broker does not answer."""
        yield from self._read({(topic, partition): self._ends(topic, partition)
                               for partition in self._partitions(topic)})

    def at(self, addresses: Iterable[Address]) -> dict[Address, Message]:
        """The records at these addresses; those that the broker keeps no longer are missing."""
        wanted, spans = set(addresses), dict[tuple[str, int], Span]()
        for topic, partition, offset in wanted:
            low, high = spans.get((topic, partition), (offset, offset + 1))
            spans[topic, partition] = min(low, offset), max(high, offset + 1)
        for where, (first, last) in spans.items():
            low, high = self._ends(*where)
            spans[where] = max(first, low), min(last, high)
        found = ((_address(message), message) for message in self._read(spans))
        return {address: message for address, message in found if address in wanted}

    def close(self) -> None:
        self._consumer.close()

    def _read(self, spans: dict[tuple[str, int], Span]) -> Iterator[Message]:
        """The records of every span, all partitions at once: each new assignment costs a second."""
        open_ends = {where: high for where, (low, high) in spans.items() if low < high}
        self._consumer.assign([TopicPartition(*where, spans[where][0]) for where in open_ends])
        while open_ends:
            message = self._consumer.poll(WAIT_S)
            if message is None:
                raise self._unreachable("no answer")
            topic, partition, offset = _address(message)
            fault, end = message.error(), open_ends.get((topic, partition))
            if fault is not None and fault.code() != KafkaError._PARTITION_EOF:
                raise self._unreachable(fault.str())
            if end is None:
                continue                               # this span has been read to its end
            if fault is None and offset < end:
                yield message
            if fault is not None or offset >= end - 1:
                del open_ends[topic, partition]

    def _partitions(self, topic: str) -> list[int]:
        try:
            found = self._consumer.list_topics(topic, timeout=WAIT_S).topics[topic]
        except KafkaException as fault:
            raise self._unreachable(fault.args[0].str()) from fault
        return sorted(found.partitions) if found.error is None else []

    def _ends(self, topic: str, partition: int) -> tuple[int, int]:
        where, fault = TopicPartition(topic, partition), ""
        for _ in range(ATTEMPTS_MAX):
            try:
                low, high = self._consumer.get_watermark_offsets(where, timeout=WAIT_S)
                return low, high
            except KafkaException as error:
                fault = error.args[0].str()
                if not error.args[0].retriable():
                    break
                time.sleep(RETRY_S)                # a leader is being elected
        raise self._unreachable(fault)

    def _unreachable(self, fault: str) -> UnreachableError:
        return UnreachableError(f"Kafka at {self._settings.bootstrap} does not answer: {fault}",
                                "`kairos up` starts it; `kairos doctor` says more")


def kept(log: Log, *, refused: bool, quarantined: bool = True) -> Iterator[Kept]:
    """What was quarantined and, with `refused`, what was refused, in the topics' order.

    A replay after a crash repeats records; each id comes once.
    """
    seen: set[str] = set()
    for topic, wanted in ((QUARANTINE, quarantined), (REFUSALS, refused)):
        for message in log.records(topic) if wanted else ():
            found = _kept(topic, message.value() or b"")
            if found is not None and found.id not in seen:
                seen.add(found.id)
                yield found


def _kept(topic: str, value: bytes) -> Kept | None:
    if not contract(topic).is_mine(value):
        return None                                # written by another release
    fields = contract(topic).decode(value)
    if topic == QUARANTINE:
        return Kept(fields["quarantine_id"], "quarantined", fields, fields["key"],
                    fields["payload"])
    if fields["outcome"] != "refused":
        return None                                # duplicates, skips and clocks are no faults
    return Kept(fields["refusal_id"], "refused", fields, None, None)
