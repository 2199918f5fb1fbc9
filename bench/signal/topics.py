"""The broker's side of the benchmark: topics, the producer of streams, readers of firings."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from bench.signal.data import Stream
from bench.signal.workloads import Firing

ANSWER_WAIT_S = 60.0


def _client(bootstrap: str) -> dict[str, str | int | float | bool]:
    """Options of every client; librdkafka's own log is kept to emergencies."""
    return {"bootstrap.servers": bootstrap, "log_level": 2}


def create(bootstrap: str, *names: str, partitions: int) -> None:
    """Topics that stamp records with the time of their append: latency is read off that."""
    admin = AdminClient(_client(bootstrap))
    made = admin.create_topics(
        [NewTopic(name, partitions, 1, config={"message.timestamp.type": "LogAppendTime"})
         for name in names])
    for future in made.values():
        future.result(ANSWER_WAIT_S)


def delete(bootstrap: str, *names: str) -> None:
    admin = AdminClient(_client(bootstrap))
    for future in admin.delete_topics(list(names)).values():
        future.result(ANSWER_WAIT_S)


def produce(bootstrap: str, topic: str, stream: Stream, form: str, *, closing: bool = True,
            rate: float = 0.0) -> None:
    """Append a stream, keyed by user, at `rate` events a second (0: as fast as it goes).

    Raises RuntimeError when a record was not acknowledged.
    """
    failed: list[Any] = []
    producer = Producer({
        **_client(bootstrap), "partitioner": "murmur2_random", "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 2 if rate else 20, "batch.num.messages": 20_000,
        "queue.buffering.max.messages": 200_000, "delivery.report.only.error": True,
        "on_delivery": lambda fault, _: failed.append(fault)})
    begun = time.perf_counter()
    for number, (key, value) in enumerate(stream.records(form)):
        _send(producer, topic, key=key, value=value)
        if number == 0:
            # Records given before the topic is known may overtake one another.
            producer.flush(ANSWER_WAIT_S)
        if rate and number % 50 == 0:
            ahead = number / rate - (time.perf_counter() - begun)
            if ahead > 0:
                producer.poll(0)
                time.sleep(ahead)
    for partition, key, value in stream.closing(form) if closing else ():
        _send(producer, topic, key=key, value=value, partition=partition)
    left = producer.flush(ANSWER_WAIT_S)
    if failed or left:
        raise RuntimeError(f"{topic}: {left} records left, {failed[:1]}; look at the broker's log")


def _send(producer: Producer, topic: str, **record: Any) -> None:
    while True:
        try:
            return producer.produce(topic, **record)
        except BufferError:
            producer.poll(0.1)


def delete_all_of(bootstrap: str, group: str) -> None:
    """Delete what a system made for itself: changelogs and the like, named after its group."""
    admin = AdminClient(_client(bootstrap))
    names = [name for name in admin.list_topics(timeout=ANSWER_WAIT_S).topics
             if name.startswith(group) or name.startswith(f"changelog__{group}")]
    if names:
        delete(bootstrap, *names)


def sizes(bootstrap: str, topic: str, partitions: int) -> list[int]:
    """Records in each partition."""
    consumer = _reader(bootstrap)
    try:
        return [consumer.get_watermark_offsets(TopicPartition(topic, p), ANSWER_WAIT_S)[1]
                for p in range(partitions)]
    finally:
        consumer.close()


def committed(bootstrap: str, group: str, topic: str, partitions: int) -> int:
    """Records before the group's committed offsets, all partitions together."""
    consumer = Consumer({**_client(bootstrap), "group.id": group, "enable.auto.commit": False})
    try:
        found = consumer.committed([TopicPartition(topic, p) for p in range(partitions)],
                                   ANSWER_WAIT_S)
        return sum(max(0, each.offset) for each in found)
    finally:
        consumer.close()


def append_ms(bootstrap: str, topic: str, partitions: int) -> dict[int, int]:
    """Event time -> time of append, for a whole input topic of JSON records."""
    found: dict[int, int] = {}
    for message in _whole(bootstrap, topic, partitions):
        found[orjson.loads(message.value())["event_ms"]] = message.timestamp()[1]
    return found


def _whole(bootstrap: str, topic: str, partitions: int) -> Iterable[Any]:
    todo = sum(sizes(bootstrap, topic, partitions))
    consumer = _reader(bootstrap)
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    try:
        while todo:
            messages = consumer.consume(min(todo, 5000), ANSWER_WAIT_S)
            assert messages, f"{topic} gives nothing more although {todo} records are there"
            todo -= len(messages)
            yield from messages
    finally:
        consumer.close()


def _reader(bootstrap: str) -> Consumer:
    return Consumer({**_client(bootstrap), "group.id": "bench-reader",
                     "enable.auto.commit": False, "auto.offset.reset": "earliest",
                     "fetch.wait.max.ms": 50})


@dataclass
class Firings:
    """Reads a system's output while it runs. `at` has (time of append, user, ms) of each record."""

    bootstrap: str
    topic: str
    partitions: int
    at: list[tuple[int, str, int]] = field(default_factory=list)
    distinct: set[Firing] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._consumer = _reader(self.bootstrap)
        self._consumer.assign([TopicPartition(self.topic, p, 0) for p in range(self.partitions)])

    def poll(self, wait_s: float) -> None:
        time.sleep(wait_s)
        while messages := self._consumer.consume(5000, 0.001):
            for message in messages:
                firing = orjson.loads(message.value() or b"{}")
                if firing.get("diff", 1) < 0:
                    continue      # an update stream takes back what it replaces: no firing
                self.at.append((message.timestamp()[1], firing["user_id"], firing["event_ms"]))
                self.distinct.add((firing["user_id"], firing["event_ms"]))

    def close(self) -> None:
        self._consumer.close()
