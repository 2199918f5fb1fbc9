"""What Kafka itself says about topics: how many records were produced, and which topic it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from streams.kernel.errors import UnreachableError
from streams.settings import Settings

WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Reach:
    """A partition's offsets. `end` is the offset of the next record.

    On a topic without transactions and compaction, as events.raw is, every offset is one record:
    `end` records were ever produced, `end - begin` are still held. On other topics there are gaps
    (control records, compacted records), and `end` is only an upper bound.
    """

    topic: str
    partition: int
    begin: int
    end: int


def reach(settings: Settings, topic: str) -> list[Reach]:
    """The reach of each partition of `topic`, [] when there is no such topic.

    Raises UnreachableError when Kafka does not answer.
    """
    probe = Consumer({**settings.kafka_client, "group.id": "kairos-offsets",
                      "enable.auto.commit": False})
    try:
        return reach_by(probe, topic)
    except KafkaException as fault:
        raise UnreachableError(f"Kafka does not answer at {settings.bootstrap}",
                               "start it with `kairos up`, or check KAIROS_KAFKA") from fault
    finally:
        probe.close()


def reach_by(consumer: Consumer, topic: str) -> list[Reach]:
    """`reach` through a consumer that is there already. Raises KafkaException."""
    found = consumer.list_topics(topic, timeout=WAIT_S).topics[topic]
    if found.error is not None:
        return []
    return [Reach(topic, partition, *consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=WAIT_S))
            for partition in sorted(found.partitions)]


def produced(settings: Settings, topic: str = "events.raw") -> dict[int, int]:
    """Records ever produced to each partition of `topic`; see Reach for when this is exact."""
    return {where.partition: where.end for where in reach(settings, topic)}


def topic_ids(settings: Settings, topics: Iterable[str]) -> dict[str, str]:
    """Kafka's id of each topic that exists.

    Raises UnreachableError. A broker that does not answer must not look like a topic that is not
    there: an open intent would be taken for another topic's, and its rows inserted twice.
    """
    admin = AdminClient(dict(settings.kafka_client))
    found = {}
    try:
        asked = admin.describe_topics(TopicCollection(list(topics)), request_timeout=WAIT_S)
        for topic, answer in asked.items():
            try:
                found[topic] = str(answer.result().topic_id)
            except KafkaException as fault:
                if fault.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
    except KafkaException as fault:
        raise UnreachableError(f"Kafka does not answer at {settings.bootstrap}: {fault}",
                               "start it with `kairos up`, or check KAIROS_KAFKA") from fault
    return found
