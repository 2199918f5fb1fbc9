"""The sink on the real broker and the real engine: killed, starved, poisoned; every record once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from infra import daemons, parts, processes
from schemas import contract
from sinks import offsets
from sinks.audit import audit
from sinks.client import connect
from sinks.consumer import GROUP
from sinks.offsets import produced, reach, topic_ids
from streams.kernel.errors import UnreachableError
from streams.settings import Settings
from tests.conftest import kairos, module_broker, module_stack, running

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker
stack = module_stack

WAIT_S = 120.0
OUTAGES, OUTAGE_S = 2, 9.0          # longer than a member of a group may be silent
_ZERO: dict[str, Any] = {"string": "", "int": 0, "long": 0, "double": 0.0, "boolean": False}


def record(topic: str, **fields: Any) -> bytes:
    blank = {name: _ZERO[field["type"]] for name, field in contract(topic).fields.items()}
    return contract(topic).encode({**blank, **fields})


def decision(number: int, **fields: Any) -> bytes:
    return record("decisions.made", **{"decision_id": f"d{number}", "tenant": "road", **fields})


def cost(number: int) -> bytes:
    return record("costs.incurred", cost_id=f"c{number}", tenant="road")


MARK = record("watermark")


def produce(settings: Settings, topic: str, values: list[bytes | None]) -> None:
    out = Producer({**settings.kafka_client, "partitioner": "murmur2_random", "acks": "all"})
    for number, value in enumerate(values):
        out.produce(topic, value, key=str(number))
    assert out.flush(30) == 0


def held(settings: Settings, topic: str) -> int:
    return sum(part.end - part.begin for part in reach(settings, topic))


def caught_up(settings: Settings) -> bool:
    """Whether the group has committed the end of every topic, with no intent left open.

    False while the broker does not say.
    """
    probe = Consumer({**settings.kafka_client, "group.id": GROUP})
    try:
        for topic in ("decisions.made", "costs.incurred", "events.quarantined"):
            ends = reach(settings, topic)
            asked = [TopicPartition(topic, part.partition) for part in ends if part.end]
            for found in probe.committed(asked, timeout=10) if asked else []:
                if found.offset != ends[found.partition].end or found.metadata:
                    return False
        return True
    except (KafkaException, UnreachableError):
        return False
    finally:
        probe.close()


def until(holds: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, f"{what}: not within {WAIT_S:.0f} s"
        time.sleep(0.2)


@contextmanager
def sinking(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with running(kairos("sink", "run"), env=parts.environment(settings), log=log) as child:
        yield child


def ready(settings: Settings) -> bool:
    return processes.ready_file(settings, "sink").exists()


@pytest.fixture
def reader(stack: Settings) -> Client:
    return connect(stack, user="reader")


def one(reader: Client, query: str) -> Any:
    return reader.query(query).result_rows[0][0]


def proves(settings: Settings, reader: Client) -> None:
    """The ledger covers every offset once, and the rows are what Kafka holds."""
    for found in audit(reader):
        assert found.verdict == "holds", found
        assert found.ledger_rows + found.poison_rows + found.control_rows \
            == held(settings, found.topic), found


def test_every_record_lands_once_although_the_sink_is_killed_again_and_again(
        stack: Settings, reader: Client, tmp_path: Path) -> None:
    seed = 20261122
    dice, log = random.Random(seed), tmp_path / "sink.log"
    values: list[bytes | None] = [decision(number) for number in range(4_000)]
    for place, value in ((0, MARK), (1_000, b"poison"), (2_000, None), (3_000, decision(9)[:40])):
        values.insert(place, value)
    for _ in range(6):
        produce(stack, "decisions.made", values)
        produce(stack, "costs.incurred", [cost(number) for number in range(500)])
        with sinking(stack, log) as child:
            until(lambda: ready(stack), "the sink is ready")
            time.sleep(dice.uniform(0.0, 2.0))
            child.kill()
            child.wait()
        processes.ready_file(stack, "sink").unlink(missing_ok=True)
    with sinking(stack, log) as child:
        until(lambda: caught_up(stack), f"{seed=}: the sink reaches the end")
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0, log.read_text()
    assert not ready(stack), "the ready file is taken away at a graceful stop"
    proves(stack, reader)
    assert one(reader, "SELECT count() FROM raw_decisions_made WHERE tenant = 'road'") == 24_000
    # Each round repeats the same ids at other offsets, as a replay does.
    assert one(reader, "SELECT count() FROM decisions WHERE tenant = 'road'") == 4_000
    assert one(reader, "SELECT count() FROM costs WHERE tenant = 'road'") == 500
    assert one(reader, "SELECT count() FROM quarantined WHERE stage = 'sink'") == 12
    assert one(reader, "SELECT sum(control_rows) FROM landed WHERE topic = 'decisions.made'") == 12


def test_poison_in_the_quarantine_itself_is_counted_and_does_not_come_back(
        stack: Settings, reader: Client, tmp_path: Path) -> None:
    before = held(stack, "events.quarantined")
    produce(stack, "events.quarantined", [b"poison", b"more poison"])
    with sinking(stack, tmp_path / "sink.log"):
        until(lambda: ready(stack) and caught_up(stack), "the sink reaches the end")
    assert held(stack, "events.quarantined") == before + 2
    proves(stack, reader)


def test_rows_that_clickhouse_refuses_are_halved_out_and_quarantined(
        stack: Settings, reader: Client, tmp_path: Path) -> None:
    writer = connect(stack, user="writer")
    writer.command("ALTER TABLE raw_decisions_made ADD CONSTRAINT sane CHECK moment_ms != 13")
    try:
        produce(stack, "decisions.made", [
            decision(number, tenant="halved", moment_ms=13 if number % 250 == 7 else 1)
            for number in range(1_000)])
        with sinking(stack, tmp_path / "sink.log"):
            until(lambda: ready(stack) and caught_up(stack), "the sink reaches the end")
    finally:
        writer.command("ALTER TABLE raw_decisions_made DROP CONSTRAINT sane")
    proves(stack, reader)
    assert one(reader, "SELECT count() FROM decisions WHERE tenant = 'halved'") == 996
    assert one(reader, "SELECT count() FROM quarantined WHERE reason = 'row_refused'") == 4


def test_clickhouse_goes_away_and_comes_back_and_nothing_is_lost(
        stack: Settings, tmp_path: Path) -> None:
    log = tmp_path / "sink.log"
    server = [part for part in parts.roster(stack) if part.name == "clickhouse"]
    processes.down(stack, server)
    try:
        with sinking(stack, log) as child:
            until(lambda: "nothing is lost" in log.read_text(), "the sink says that it waits")
            processes.up(stack, server)
            until(lambda: ready(stack), "the sink goes on")
            produce(stack, "decisions.made", [decision(n, tenant="back") for n in range(500)])
            until(lambda: caught_up(stack), "the sink reaches the end")
            processes.down(stack, server)
            produce(stack, "decisions.made", [decision(n, tenant="back") for n in range(500, 900)])
            until(lambda: log.read_text().count("nothing is lost") == 2, "it waits again")
            assert not caught_up(stack)
            processes.up(stack, server)
            until(lambda: caught_up(stack), "the sink reaches the end")
            assert child.poll() is None
    finally:
        processes.up(stack, server)
    reader = connect(stack, user="reader")
    assert one(reader, "SELECT count() FROM raw_decisions_made WHERE tenant = 'back'") == 900
    proves(stack, reader)


def test_a_broker_that_does_not_answer_for_a_session_does_not_end_the_sink(
        stack: Settings, reader: Client, tmp_path: Path) -> None:
    log, daemon = tmp_path / "sink.log", daemons.recall(parts.pid_file(stack, "kafka"))
    assert daemon is not None
    with sinking(stack, log) as child:
        until(lambda: ready(stack) and caught_up(stack), "the sink reaches the end")
        for _ in range(OUTAGES):
            produce(stack, "costs.incurred", [cost(number) for number in range(300)])
            os.kill(daemon.pid, signal.SIGSTOP)
            time.sleep(OUTAGE_S)
            os.kill(daemon.pid, signal.SIGCONT)
            until(lambda: child.poll() is not None or caught_up(stack),
                  "the sink reaches the end")
            assert child.poll() is None, log.read_text()
        assert "for a whole session" in log.read_text()
    proves(stack, reader)


def test_a_broker_that_does_not_answer_is_no_topic_that_is_missing(
        settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "WAIT_S", 1.0)
    with pytest.raises(UnreachableError, match="Kafka does not answer"):
        topic_ids(settings, ["events.raw"])


def test_the_id_of_a_topic_that_is_missing_is_left_out(broker: Settings) -> None:
    assert topic_ids(broker, ["events.raw", "events.none"]).keys() == {"events.raw"}


def test_what_was_produced_is_read_from_kafka_and_noted(stack: Settings, reader: Client,
                                                        tmp_path: Path) -> None:
    before = sum(produced(stack).values())
    produce(stack, "events.raw", [b"{}"] * 25)
    assert sum(produced(stack).values()) == before + 25
    with sinking(stack, tmp_path / "sink.log"):
        until(lambda: one(reader, "SELECT produced FROM accounting_total") == before + 25,
              "the sink notes the ends of events.raw")
