"""Topics as code: the file is understood, applied once, and every difference is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from infra.kafka import topics
from streams import pipeline
from streams.kernel.errors import SetupError, UnreachableError
from streams.settings import Settings

HEAD = "defaults: {max.message.bytes: 1000}\ncompact: {cleanup.policy: compact}\ntopics:\n"


def write(folder: Path, lines: str) -> Path:
    file = folder / "topics.yml"
    file.write_text(HEAD + lines)
    return file


def test_every_topic_of_the_road_is_declared(settings: Settings) -> None:
    names = {topic.name for topic in topics.declared(settings)}
    road = {name for stage in pipeline.STAGES
            for name in (*stage.inputs, *stage.outputs, *stage.side_inputs, stage.keeps) if name}
    assert road <= names


def test_retention_and_compaction_become_the_brokers_own_words(settings: Settings) -> None:
    found = {topic.name: topic for topic in topics.declared(settings)}
    raw = found["events.raw"]
    assert raw.config["retention.ms"] == str(14 * 86_400_000)
    assert raw.config["message.timestamp.type"] == "LogAppendTime"
    assert raw.partitions == settings.partitions
    consents = found["consents.changed"]
    assert consents.config["cleanup.policy"] == "compact"
    assert int(consents.config["max.compaction.lag.ms"]) <= 86_400_000
    assert int(consents.config["delete.retention.ms"]) >= 7 * 86_400_000
    assert found["playbooks.published"].partitions == 1


@pytest.mark.parametrize(("entry", "words"), [
    ("  a: {retention: 1d, why: x}", "a needs partitions"),
    ("  a: {partitions: 0, retention: 1d, why: x}", "partitions must be"),
    ("  a: {partitions: many, retention: 1d, why: x}", "partitions must be"),
    ("  a: {partitions: 1, retention: soon, why: x}", "retention 'soon' is not understood"),
    ("  a: {partitions: 1, retention: 0d, why: x}", "retention '0d' is not understood"),
    ("  a: {partitions: 1, retention: 1d, why: x, colour: red}", "unknown field 'colour'"),
    ("  a: 1", "a needs partitions"),
    ("  a: [", "cannot be read"),
])
def test_a_faulty_file_is_refused_with_the_topic_and_the_field(
        settings: Settings, tmp_path: Path, entry: str, words: str) -> None:
    with pytest.raises(SetupError, match=words):
        topics.declared(settings, write(tmp_path, entry + "\n"))


def test_without_a_broker_there_is_one_sentence(settings: Settings) -> None:
    with pytest.raises(UnreachableError, match="no Kafka broker answers"):
        topics.drift(settings)


@pytest.mark.integration
def test_applying_twice_changes_nothing(broker: Settings) -> None:
    assert topics.apply(broker) == []
    assert topics.drift(broker) == []


@pytest.mark.integration
def test_a_changed_config_is_drift_and_is_mended(broker: Settings, tmp_path: Path) -> None:
    name = "drift.configs"
    file = write(tmp_path, f"  {name}: {{partitions: 1, retention: 1d, why: test}}\n")
    assert topics.apply(broker, file) == [topics.Change(name, "created")]
    alter(broker, name, "retention.ms", "5000")
    alter(broker, name, "segment.ms", "60000")
    drifts = topics.drift(broker, file)
    assert [(one.key, one.declared, one.actual) for one in drifts] == [
        ("retention.ms", "86400000", "5000"), ("segment.ms", "", "60000")]
    assert str(drifts[0]) == f"{name}: retention.ms is 5000 on the broker, 86400000 in the file"
    assert [(change.what, change.key) for change in topics.apply(broker, file)] == [
        ("set", "retention.ms"), ("unset", "segment.ms")]
    assert topics.drift(broker, file) == []


@pytest.mark.integration
def test_a_missing_topic_is_drift(broker: Settings, tmp_path: Path) -> None:
    file = write(tmp_path, "  drift.missing: {partitions: 1, retention: 1d, why: test}\n")
    assert [str(one) for one in topics.drift(broker, file)] == ["drift.missing is missing"]


@pytest.mark.integration
def test_a_partition_count_is_never_altered(broker: Settings, tmp_path: Path) -> None:
    name, other = "drift.partitions", "drift.beside"
    one = f"  {name}: {{partitions: 2, retention: 1d, why: test}}\n"
    topics.apply(broker, write(tmp_path, one))
    grow(broker, name, 3)
    file = write(tmp_path, one + f"  {other}: {{partitions: 1, retention: 1d, why: test}}\n")
    with pytest.raises(SetupError, match=f"{name}: partitions is 3 on the broker, 2 in the file"):
        topics.apply(broker, file)
    # All or nothing: the topic beside it was not created either.
    assert f"{other} is missing" in map(str, topics.drift(broker, file))


def alter(broker: Settings, topic: str, key: str, value: str) -> None:
    change = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    admin = AdminClient({**broker.kafka_client})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()


def grow(broker: Settings, topic: str, count: int) -> None:
    admin = AdminClient({**broker.kafka_client})
    for future in admin.create_partitions([NewPartitions(topic, count)]).values():
        future.result()
