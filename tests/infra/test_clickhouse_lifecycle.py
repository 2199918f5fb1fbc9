"""Start, stop, crash and second owners of the embedded engine's path."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from clickhouse_process import PROJECT, ClickHouseProcess

pytestmark = pytest.mark.integration
TABLE = ("CREATE TABLE kept (block UInt32, id UInt32) ENGINE = MergeTree ORDER BY id "
         "SETTINGS non_replicated_deduplication_window = 100")
BLOCK_ROWS = 20_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ClickHouseProcess]:
    served = ClickHouseProcess(tmp_path / "home").start()
    yield served
    if served.process is not None and served.process.poll() is None:
        served.signal(signal.SIGKILL)


def run_second(engine: ClickHouseProcess, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(engine.command(), cwd=PROJECT, env={**engine.environment, **settings},
                          capture_output=True, text=True, timeout=60)


def test_a_second_process_is_told_who_owns_the_path(engine: ClickHouseProcess) -> None:
    assert engine.process is not None
    second = run_second(engine)
    assert second.returncode == 1
    assert f"pid {engine.process.pid}" in second.stderr and "KAIROS_HOME" in second.stderr
    assert "Traceback" not in second.stderr
    assert engine.sql("SELECT 1") == "1", "the first one is unharmed"


def test_a_taken_port_is_one_clear_sentence(engine: ClickHouseProcess, tmp_path: Path) -> None:
    second = run_second(engine, KAIROS_HOME=str(tmp_path / "other"))
    assert second.returncode == 1
    assert "KAIROS_CLICKHOUSE_PORT" in second.stderr and "Traceback" not in second.stderr


def test_with_a_server_of_ones_own_there_is_nothing_to_serve(
        engine: ClickHouseProcess) -> None:
    second = run_second(engine, KAIROS_CLICKHOUSE="clickhouse://u:p@db:8123/kairos")
    assert second.returncode == 1 and "unset KAIROS_CLICKHOUSE" in second.stderr


def test_a_restart_keeps_data_and_passwords(engine: ClickHouseProcess) -> None:
    password = engine.password("kairos_writer")
    engine.sql(TABLE)
    engine.sql("INSERT INTO kept VALUES (1, 1)")
    assert engine.signal(signal.SIGTERM) == 0
    engine.start()
    assert engine.password("kairos_writer") == password
    assert engine.sql("SELECT count() FROM kept") == "1"


def test_sigterm_ends_it_although_queries_and_streams_run(engine: ClickHouseProcess) -> None:
    slow = b"SELECT count() FROM numbers_mt(1000000000000) WHERE sipHash64(number) = 1"
    reading = threading.Event()

    def read_slowly() -> None:
        with (pytest.raises(httpx.TransportError),
              httpx.stream("POST", engine.url, content=b"SELECT number FROM numbers(1000000000000)",
                           auth=engine.auth(), timeout=30) as answer):
            for _ in answer.iter_raw():
                reading.set()

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(engine.post, slow)
        streaming = pool.submit(read_slowly)
        assert reading.wait(timeout=30)
        assert engine.signal(signal.SIGTERM) == 0
        streaming.result()
        with suppress(httpx.TransportError):  # it may be cut off before it can be told
            assert waiting.result().headers["x-clickhouse-exception-code"] == "394"


def test_kill_9_during_inserts_loses_no_acknowledged_block(engine: ClickHouseProcess) -> None:
    engine.sql(TABLE)
    acknowledged: list[int] = []

    def insert(block: int) -> None:
        rows = b"".join(b"%d,%d\n" % (block, at) for at in range(BLOCK_ROWS))
        try:
            engine.post(rows, query="INSERT INTO kept FORMAT CSV").raise_for_status()
        except httpx.HTTPError:
            return
        acknowledged.append(block)

    for life in range(3):
        with ThreadPoolExecutor(3) as pool:
            for block in range(life * 100, life * 100 + 12):
                pool.submit(insert, block)
            while len(acknowledged) < 4 * (life + 1):
                time.sleep(0.001)
            engine.signal(signal.SIGKILL)
        engine.start()
        sizes = engine.sql("SELECT block, count() FROM kept GROUP BY block ORDER BY block")
        stored = dict(line.split("\t") for line in sizes.splitlines())
        assert set(stored.values()) == {str(BLOCK_ROWS)}, "blocks are whole or absent"
        assert {str(block) for block in acknowledged} <= set(stored)


def test_the_memory_limit_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    engine = ClickHouseProcess(tmp_path / "home", KAIROS_CLICKHOUSE_MEMORY_MB="1024").start()
    try:
        answer = engine.post(b"SELECT length(groupArray(number)) FROM numbers(1000000000)")
        assert answer.headers["x-clickhouse-exception-code"] == "241"
        assert engine.sql("SELECT 1") == "1"
    finally:
        engine.stop()
