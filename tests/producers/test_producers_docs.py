"""Every producer in docs/producing.md, run as it stands there, against the real broker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.kafka import broker as local_broker
from schemas.events import decode
from streams.kernel.ids import partition_of
from streams.settings import PROJECT, Settings

PAGE = (PROJECT / "docs" / "producing.md").read_text()
BLOCKS = {name: body for _, name, body in re.findall(
    r"^```(\w+) (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)}
KEY = b"shopper-42"
KAFKAJS = "kafkajs@2.2.4"


def test_the_example_event_keeps_the_contract() -> None:
    event = decode(BLOCKS["example"].encode())
    assert isinstance(event, dict) and event["value"] == 12.5


def test_every_program_of_the_page_is_run_by_a_test() -> None:
    assert set(BLOCKS) == {"example", *PROGRAMS}


def _python(file: Path, settings: Settings) -> list[str]:
    return [sys.executable, str(file)]


def _java(file: Path, settings: Settings) -> list[str]:
    return [_found("java"), "-cp", f"{local_broker.libs(settings)}/*", str(file)]


def _node(file: Path, settings: Settings) -> list[str]:
    node, npm = _found("node"), _found("npm")
    done = subprocess.run([npm, "install", "--no-save", "--no-audit", "--no-fund", "--silent",
                           "--prefix", str(file.parent), KAFKAJS],
                          capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {KAFKAJS} here: {done.stderr.strip()[-200:]}")
    return [node, str(file)]


def _shell(file: Path, settings: Settings) -> list[str]:
    _found("kcat")
    return [_found("sh"), str(file)]


def _found(program: str) -> str:
    where = shutil.which(program)
    if where is None:
        pytest.skip(f"{program} is not installed here")
    return where


PROGRAMS = {
    "producer_aiokafka.py": (_python, "aiokafka"),
    "producer_confluent.py": (_python, "confluent-kafka"),
    "producer_avro.py": (_python, "avro"),
    "EventProducer.java": (_java, "java"),
    "producer.js": (_node, "node"),
    "producer_kcat.sh": (_shell, "kcat"),
}


@pytest.mark.integration
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_producer_from_the_page_works_as_it_stands(
        name: str, broker: Settings, tmp_path: Path) -> None:
    start, source = PROGRAMS[name]
    file = tmp_path / name
    file.write_text(BLOCKS[name].replace("127.0.0.1:19092", broker.bootstrap))
    before_ms = int(time.time() * 1000) - 1000
    ends = _ends(broker)
    done = subprocess.run(start(file, broker), cwd=PROJECT, capture_output=True, text=True,
                          timeout=180, check=False,
                          env={**os.environ, "KAFKAJS_NO_PARTITIONER_WARNING": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    [(partition, key, value)] = _since(broker, ends)
    event = decode(value)
    assert isinstance(event, dict), event
    assert (event["source"], event["user_id"], event["consent"]) == (
        source, "shopper-42", {"measure": True})
    assert before_ms <= event["event_ms"] <= int(time.time() * 1000) + 1000
    assert key == KEY
    assert partition == partition_of(KEY, broker.partitions), "not murmur2"


def _consumer(settings: Settings) -> Consumer:
    return Consumer({**settings.kafka_client, "group.id": "producers-test",
                     "enable.auto.commit": False})


def _ends(settings: Settings) -> dict[int, int]:
    consumer = _consumer(settings)
    try:
        return {partition: _end(consumer, partition) for partition in range(settings.partitions)}
    finally:
        consumer.close()


def _end(consumer: Consumer, partition: int) -> int:
    """Asked again while the broker has only just made the topic and elects its leaders."""
    for wait_s in (0.1, 0.5, 1, 2, 4, 0):
        try:
            return int(consumer.get_watermark_offsets(TopicPartition("events.raw", partition),
                                                      timeout=20)[1])
        except KafkaException:
            time.sleep(wait_s)
    raise AssertionError("the topic has no leader")


def _since(settings: Settings, ends: dict[int, int]) -> list[tuple[int, bytes, bytes]]:
    """(partition, key, value) of what was appended after `ends`."""
    now = _ends(settings)
    consumer = _consumer(settings)
    found = []
    try:
        for partition, end in now.items():
            if end == ends[partition]:
                continue
            consumer.assign([TopicPartition("events.raw", partition, ends[partition])])
            for _ in range(end - ends[partition]):
                message = consumer.poll(20)
                assert message is not None and message.error() is None
                found.append((partition, message.key() or b"", message.value() or b""))
    finally:
        consumer.close()
    return found
