"""The local broker: real, restarts with its data, stops cleanly, says well what it lacks."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from conftest import settings_at, share_jars

from infra import checks, daemons, parts, processes, secrets
from infra.kafka import broker as kafka
from infra.kafka import topics
from infra.preflight import check_disk, check_home, check_jars, check_java, preflight
from sinks.offsets import reach
from sinks.topics import BY_TOPIC
from streams.kernel.errors import SetupError, UnreachableError
from streams.settings import Settings

TOPIC = "events.raw"


@pytest.fixture
def own(tmp_path: Path, broker: Settings) -> Iterator[Settings]:
    """A broker's home of this test's own: it will be stopped, killed and started again.

    `broker` is asked for first because it sees to it that the jars are there.
    """
    ours = settings_at(tmp_path / "home", kafka_heap_mb=256)
    share_jars(ours.home)
    yield ours
    processes.down(ours)


def of_kafka(settings: Settings) -> list[parts.Part]:
    return [part for part in parts.roster(settings) if part.name in ("kafka", "topics")]


def produce(settings: Settings, values: list[bytes]) -> None:
    producer = Producer({**settings.kafka_client, "acks": "all", "enable.idempotence": True})
    faults: list[object] = []
    for value in values:
        producer.produce(TOPIC, value, partition=0,
                         on_delivery=lambda fault, _: faults.append(fault))
    assert producer.flush(30) == 0 and faults == [None] * len(values)


def consume(settings: Settings, count: int) -> list[bytes | None]:
    consumer = Consumer({**settings.kafka_client, "group.id": "reader",
                         "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        return [message.value() for message in consumer.consume(count, 30)]
    finally:
        consumer.close()


def gone(settings: Settings, pid: int | None) -> bool:
    with socket.socket() as probe:
        closed = probe.connect_ex((settings.host, settings.kafka_port)) != 0
    return pid is not None and daemons.start_mark(pid) is None and closed


@pytest.mark.integration
def test_the_log_survives_a_clean_stop_and_a_kill(own: Settings) -> None:
    before = [b"one", b"two"]
    pid = processes.up(own, of_kafka(own))[0].pid
    produce(own, before)
    ended = processes.down(own)
    assert [str(one) for one in ended] == ["kafka stopped"] and gone(own, pid)

    processes.up(own, of_kafka(own))
    assert topics.drift(own) == []
    assert consume(own, 2) == before
    daemon = daemons.recall(parts.pid_file(own, "kafka"))
    assert daemon is not None
    produce(own, [b"three"])
    os.kill(daemon.pid, signal.SIGKILL)

    pid = processes.up(own, of_kafka(own))[0].pid
    for topic in BY_TOPIC:
        assert reach(own, topic), "a broker that is up leads its partitions, also after a kill"
    assert consume(own, 3) == [*before, b"three"]
    assert processes.status(own, of_kafka(own))[0].state == "running"
    processes.down(own)
    assert gone(own, pid) and list((own.home / "run").glob("*.pid")) == []


@pytest.mark.integration
def test_start_wait_ready_and_stop_serve_alone(own: Settings) -> None:
    with pytest.raises(UnreachableError, match="no Kafka broker answers"):
        kafka.wait_ready(own, wait_s=0.1)
    pid = kafka.start(own)
    kafka.wait_ready(own)
    assert kafka.answers(own) and not kafka.format(own)
    assert "kafka-server.log" in {file.name for file in (own.home / "logs").iterdir()}
    assert kafka.stop(own) == "stopped" and gone(own, pid)


@pytest.mark.integration
def test_a_broker_that_cannot_start_is_quoted(own: Settings) -> None:
    kafka.prepare(own)
    (kafka.data(own) / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=7\n")
    with pytest.raises(SetupError) as caught:
        processes.up(own, of_kafka(own))
    assert "kafka died at start" in caught.value.message and "node" in caught.value.message
    assert processes.status(own, of_kafka(own))[0].state == "stopped"


@pytest.mark.integration
def test_the_doctor_finds_the_broker_and_drift(broker: Settings) -> None:
    found = {check.name: check for check in checks.doctor(broker)}
    assert all(found[name].ok for name in ("python", "java", "jars", "kafka", "broker",
                                           "topics", "secrets", "home", "disk"))
    assert not found["worker-1"].ok and "kairos up" in found["worker-1"].remedy
    more = broker.model_copy(update={"partitions": broker.partitions + 1})
    drifted = {check.name: check for check in checks.doctor(more)}["topics"]
    assert not drifted.ok and "events.raw: partitions is" in drifted.detail


def test_the_doctor_never_raises_when_nothing_runs(settings: Settings) -> None:
    found = {check.name: check for check in checks.doctor(settings)}
    assert not found["broker"].ok and "topics" not in found
    assert all(check.remedy for check in found.values() if not check.ok)


JAVAS = [('openjdk version "17.0.15" 2025-04-15', "17.0.15"), ('java version "21" 2023', "21"),
         ('openjdk version "25-ea" 2025', "25-ea")]
OLD_JAVAS = [('java version "1.8.0_392"', "Java 8 is too old"),
             ('openjdk version "11.0.2"', "Java 11 is too old"), ("hello", "does not say")]


def pretend_java(folder: Path, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "jdk" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(folder / "jdk"))


@pytest.mark.parametrize(("says", "version"), JAVAS)
def test_java_of_17_or_newer_will_do(tmp_path: Path, says: str, version: str,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_java(tmp_path, says, monkeypatch)
    assert check_java() == version


@pytest.mark.parametrize(("says", "words"), OLD_JAVAS)
def test_an_older_java_is_refused(tmp_path: Path, says: str, words: str,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_java(tmp_path, says, monkeypatch)
    with pytest.raises(SetupError, match=words) as caught:
        check_java()
    assert "17" in caught.value.remedy and "KAIROS_KAFKA" in caught.value.remedy


def test_a_machine_without_java_or_maven_is_told_how_to_get_them(
        settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="Java is not installed"):
        preflight(settings)
    with pytest.raises(SetupError, match="Maven is not installed") as caught:
        check_jars(settings)
    assert "apt install maven" in caught.value.remedy
    # With a broker of your own neither is needed.
    preflight(settings.model_copy(update={"kafka": "there:9092"}))


@pytest.mark.parametrize("name", ["disk_free_mb_min", "clickhouse_free_mb_min"])
def test_too_little_disk_is_refused(settings: Settings, name: str) -> None:
    settings.home.mkdir()
    with pytest.raises(SetupError, match=f"MiB are free .*KAIROS_{name.upper()}"):
        check_disk(settings.model_copy(update={name: 10**12}))


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be written") as caught:
        check_home(settings_at(tmp_path / "file" / "home"))
    assert "KAIROS_HOME" in caught.value.remedy


def test_secrets_are_made_once_and_for_their_owner_only(settings: Settings) -> None:
    with pytest.raises(SetupError, match="link_key cannot be read"):
        secrets.read(settings, "link_key")
    secrets.ensure(settings)
    first = {name: secrets.read(settings, name) for name in secrets.NAMES}
    secrets.ensure(settings)
    assert first == {name: secrets.read(settings, name) for name in secrets.NAMES}
    assert len(set(first.values())) == len(secrets.NAMES)
    assert all(len(bytes.fromhex(value)) == 32 for value in first.values())
    assert secrets.loose(settings) == []
    assert {file.name for file in secrets.folder(settings).iterdir()} == set(secrets.NAMES)
    secrets.path(settings, "vault_key").chmod(0o640)
    assert secrets.loose(settings) == [secrets.path(settings, "vault_key")]
