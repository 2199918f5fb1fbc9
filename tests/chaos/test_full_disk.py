"""A full disk, and space that comes back: said clearly, nothing acknowledged is lost, work goes on.

The worker is given a limit on the size of its files while it runs: the system refuses its writes
from then on as a full disk does, for this process only. ClickHouse has a floor of free space of its
own, below which it takes no inserts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chaos_findings import await_landed, landed, log_of, outcomes
from chaos_workers import Workers, await_calm, full_disk, until
from chaos_world import OUTLASTS_S, START, World, producer
from confluent_kafka import KafkaError, Message, Producer
from conftest import module_broker, module_stack

from infra import daemons, processes
from infra.parts import log_file, pid_file, roster
from schemas import contract
from sinks.client import connect
from sinks.topics import BY_TOPIC
from streams import pipeline
from streams.adapters.vault import SqliteVault
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker
stack = module_stack


def test_a_vault_without_space_holds_admission_up_and_loses_no_address(
        broker: Settings, tmp_path: Path) -> None:
    world = World("full", count=0, people=1500, pause_s=0.0)
    world.prepare(broker)
    workers = Workers(broker, tmp_path)
    try:
        workers.start("admit", "admit")
        workers.await_ready("admit")
        await_calm(broker, workers, ("admit",))
        vault = broker.path("vault", "vault.db")
        with full_disk(workers.running["admit"].pid, 100_000):
            world.produce(broker)
            until(lambda: workers.said("admit").count("restarting from") >= 2,
                  "the worker says what is wrong and tries again", workers)
            said = workers.said("admit")
            assert f"the vault {vault} does not answer" in said
            assert "check the disk's space" in said and "Traceback" not in said
        await_calm(broker, workers, ("admit",))
        codes = workers.stop()
    finally:
        workers.kill_all()
    assert codes == {"admit": 0}
    assert outcomes(broker)["admitted"] >= len(world.events)
    keeper = SqliteVault(vault, world.vault_key(broker))
    try:
        for number in range(world.people):
            assert keeper.get(world.profile(broker, f"u{number}"), "email") \
                == f"u{number}@{world.tenant}.example"
    finally:
        keeper.close()


def test_a_clickhouse_without_space_holds_the_sink_up_and_every_record_lands_once(
        stack: Settings, tmp_path: Path) -> None:
    """The engine refuses inserts below a floor of free space; here the floor is out of reach."""
    workers, engine = Workers(stack, tmp_path), connect(stack, user="writer")
    try:
        workers.run("sink", "sink", "run")
        workers.await_ready("sink")
        await_landed(stack, workers)
        engine.command("ALTER TABLE raw_decisions_made "
                       f"MODIFY SETTING min_free_disk_bytes_to_perform_insert = {1 << 60}")
        _decide(stack, 3_000)
        until(lambda: "its disk is nearly full" in workers.said("sink"), "the sink says it",
              workers)
        assert "nothing is lost" in workers.said("sink") and not landed(stack)
        engine.command("ALTER TABLE raw_decisions_made "
                       "RESET SETTING min_free_disk_bytes_to_perform_insert")
        await_landed(stack, workers)
        assert "going on after" in workers.said("sink")
        codes = workers.stop()
    finally:
        workers.kill_all()
    assert codes == {"sink": 0}


def test_blocks_that_the_system_cuts_short_under_clickhouse_are_sent_again(
        stack: Settings, tmp_path: Path) -> None:
    """The engine's files may not grow: what it writes is damaged, and must be in nobody's way."""
    daemon = daemons.recall(pid_file(stack, "clickhouse"))
    assert daemon is not None
    workers = Workers(stack, tmp_path)
    try:
        workers.run("sink", "sink", "run")
        workers.await_ready("sink")
        await_landed(stack, workers)
        with full_disk(daemon.pid, 2_000):
            _decide(stack, 3_000)
            until(lambda: "its disk is nearly full" in workers.said("sink"), "the sink says it",
                  workers)
            assert not landed(stack)
        await_landed(stack, workers)
        assert "going on after" in workers.said("sink")
        codes = workers.stop()
    finally:
        workers.kill_all()
    assert codes == {"sink": 0}
    engine = connect(stack, user="reader")
    for table in sorted({topic.table for topic in BY_TOPIC.values()}):
        engine.query(f"SELECT count() FROM {table} WHERE NOT ignore(*)")    # reads every column


def _decide(settings: Settings, count: int) -> None:
    zero: dict[str, Any] = {"string": "", "int": 0, "long": 0, "double": 0.0, "boolean": False}
    kind, out = contract(pipeline.DECISIONS), producer(settings)
    blank = {name: zero[field["type"]] for name, field in kind.fields.items()}
    for number in range(count):
        out.produce(pipeline.DECISIONS, kind.encode(
            {**blank, "tenant": "full", "decision_id": f"d{number * 7919}", "moment_ms": START,
             "origin_partition": 98, "origin_offset": number, "playbook": "none"}), str(number))
    assert out.flush(OUTLASTS_S) == 0


def test_a_broker_without_space_ends_and_has_all_it_acknowledged_when_space_is_back(
        broker: Settings) -> None:
    taken: dict[int, bytes] = {}

    def reported(fault: KafkaError | None, message: Message) -> None:
        offset, value = message.offset(), message.value()
        if fault is None and offset is not None and isinstance(value, bytes):
            taken[offset] = value

    kafka = [part for part in roster(broker) if part.name == "kafka"]
    daemon = daemons.recall(pid_file(broker, "kafka"))
    assert daemon is not None
    app = Producer({**broker.kafka_client, "acks": "all"})
    # Room for an index file, which Kafka allocates in full; not for twice as much log.
    with full_disk(daemon.pid, 12 * 2**20):
        for number in range(400):
            app.produce(pipeline.RAW, f"{number:03}".encode() * 20_000, partition=0,
                        on_delivery=reported)
        until(lambda: app.poll(0) >= 0 and processes.status(broker, kafka)[0].state == "died",
              "the broker ends", moving=lambda: len(taken))
    app.purge()                        # nobody is there any more to acknowledge the rest
    assert app.flush(OUTLASTS_S) == 0
    said = log_file(broker, "kafka").read_text()
    assert "File too large" in said and "have failed" in said
    assert 0 < len(taken) < 400
    processes.up(broker, kafka)
    held = {record.offset: record.value for record in log_of(broker, pipeline.RAW, 0)}
    assert taken.items() <= held.items()
