"""An insert is answered 200 when its rows are in, and with the engine's own error when not."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_process import ClickHouseProcess

pytestmark = pytest.mark.integration
INSERTERS = 8
INSERTS_EACH = 25
ROWS_EACH = 3
BLOCK = b"5\n" * 1_200_000  # more rows than the engine puts into one block
TABLES = (
    "CREATE TABLE strict (a Int64, CONSTRAINT positive CHECK a > 0) ENGINE = MergeTree ORDER BY a "
    "SETTINGS non_replicated_deduplication_window = 100",
    "CREATE TABLE split (a Int64) ENGINE = MergeTree PARTITION BY a ORDER BY a",
    "CREATE TABLE cramped (a Int64) ENGINE = MergeTree ORDER BY a "
    f"SETTINGS min_free_disk_bytes_to_perform_insert = {1 << 60}",
    "CREATE TABLE viewed (a Int64) ENGINE = MergeTree ORDER BY a",
    "CREATE MATERIALIZED VIEW picky ENGINE = MergeTree ORDER BY a AS "
    "SELECT a + throwIf(a < 0, 'below zero') AS a FROM viewed")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseProcess]:
    process = ClickHouseProcess(tmp_path_factory.mktemp("clickhouse")).start()
    for table in TABLES:
        process.sql(table)
    yield process
    process.stop()


@pytest.fixture
def engine(served: ClickHouseProcess) -> ClickHouseProcess:
    for table in ("strict", "split", "viewed", "picky"):
        served.sql(f"TRUNCATE TABLE {table}")
    return served


def insert(engine: ClickHouseProcess, table: str, rows: bytes | Iterator[bytes],
           **settings: str) -> httpx.Response:
    return httpx.post(engine.url, content=rows, auth=engine.auth(), timeout=60, trust_env=False,
                      params={"query": f"INSERT INTO {table} FORMAT CSV", **settings})


def count(engine: ClickHouseProcess, table: str) -> int:
    return int(engine.sql(f"SELECT count() FROM {table}"))


@pytest.mark.parametrize("asynchronous", ["0", "1"])
@pytest.mark.parametrize(("table", "rows", "settings", "code", "name", "text"), [
    ("strict", b"1\n-2\n", {}, 469, "VIOLATED_CONSTRAINT", "Constraint `positive` for table"),
    ("split", b"\n".join(b"%d" % part for part in range(101)), {}, 252, "TOO_MANY_PARTS",
     "Too many partitions for single INSERT block (more than 100)"),
    ("cramped", b"1\n", {}, 243, "NOT_ENOUGH_SPACE", "Could not perform insert"),
    ("strict", b"1\n-2\n", {"log_queries": "0"}, 469, "VIOLATED_CONSTRAINT", "Constraint"),
    ("strict SETTINGS log_queries = 0", b"1\n-2\n", {}, 469, "VIOLATED_CONSTRAINT", "Constraint"),
    ("strict", b"x\n", {}, 117, "INCORRECT_DATA", "Expected end of line")])
def test_a_failure_in_the_last_step_is_told_in_the_engines_words(
        engine: ClickHouseProcess, table: str, rows: bytes, settings: dict[str, str], code: int,
        name: str, text: str, asynchronous: str) -> None:
    answer = insert(engine, table, rows, async_insert=asynchronous, **settings)
    assert answer.headers.get("x-clickhouse-exception-code") == str(code), answer.text
    assert answer.status_code == (400 if code == 117 else 500)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: {text}")
    assert f"({name}) (version " in answer.text
    assert "x-clickhouse-summary" not in answer.headers
    assert count(engine, table.split()[0]) == 0


@pytest.mark.parametrize("asynchronous", ["0", "1"])
def test_a_materialized_view_that_throws_fails_the_insert(
        engine: ClickHouseProcess, asynchronous: str) -> None:
    bad = insert(engine, "viewed", b"1\n-1\n", async_insert=asynchronous)
    assert bad.headers.get("x-clickhouse-exception-code") == "395", bad.text
    assert "below zero" in bad.text and "while pushing to view kairos.picky" in bad.text
    assert count(engine, "picky") == 0
    good = insert(engine, "viewed", b"1\n2\n", async_insert=asynchronous)
    assert (good.status_code, count(engine, "picky")) == (200, 2)


@pytest.mark.parametrize("pieces", [
    (b"-5\n" + BLOCK, BLOCK), (BLOCK, BLOCK, b"-5\n")], ids=["first", "last"])
def test_a_failure_in_any_block_of_a_long_insert_is_told(
        engine: ClickHouseProcess, pieces: tuple[bytes, ...]) -> None:
    answer = insert(engine, "strict", iter(pieces))
    assert answer.headers.get("x-clickhouse-exception-code") == "469", answer.text


def test_a_failed_insert_does_not_use_up_its_token(engine: ClickHouseProcess) -> None:
    token = {"insert_deduplication_token": "once"}
    assert insert(engine, "strict", b"1\n-1\n", **token).status_code == 500
    assert insert(engine, "strict", b"1\n2\n", **token).status_code == 200
    assert insert(engine, "strict", b"1\n2\n", **token).status_code == 200
    assert count(engine, "strict") == 2


@pytest.mark.parametrize(("table", "first", "settings", "kept"), [
    ("strict", b"1\n", {}, 2),
    ("strict", b"x\n1\n", {"input_format_allow_errors_num": "1"}, 2),
    ("viewed", b"1\n-1\n", {"materialized_views_ignore_errors": "1"}, 3),
    ("strict", b"1\n", {"log_queries": "0", "log_queries_probability": "0"}, 2)])
def test_errors_that_were_forgiven_or_are_anothers_fail_nobody(
        engine: ClickHouseProcess, table: str, first: bytes, settings: dict[str, str],
        kept: int) -> None:
    def rows() -> Iterator[bytes]:
        yield first
        yield b""
        for bad in (("strict", b"-1\n"), ("viewed", b"-1\n")):
            assert insert(engine, *bad).status_code == 500
        engine.sql(f"TRUNCATE TABLE {table}")
        yield b"2\n"

    answer = insert(engine, table, rows(), **settings)
    assert answer.status_code == 200, answer.text
    assert "written_rows" in json.loads(answer.headers["x-clickhouse-summary"])
    assert count(engine, table) == kept


def test_good_and_bad_inserts_at_the_same_time_each_get_their_own_answer(
        engine: ClickHouseProcess) -> None:
    seed = random.randrange(1 << 32)
    print(f"{seed=}")

    def one(number: int) -> list[tuple[int, bool, httpx.Response]]:
        """Even inserters send good rows, odd ones bad ones after a good one."""
        dice, answers = random.Random(seed + number), []
        for turn in range(INSERTS_EACH):
            base, bad = (number * INSERTS_EACH + turn) * ROWS_EACH + 1, number % 2 == 1
            table = dice.choice(("strict", "viewed")) if bad else "strict"
            values = [base + row for row in range(ROWS_EACH - bad)] + [-base] * bad
            rows = b"".join(b"%d\n" % value for value in values)
            answers.append((base, bad, insert(engine, table, rows)))
        return answers

    with ThreadPoolExecutor(INSERTERS) as pool:
        answers = [each for some in pool.map(one, range(INSERTERS)) for each in some]
    stored = {int(row) for row in engine.sql("SELECT a FROM strict").split()}
    for base, bad, answer in answers:
        code = answer.headers.get("x-clickhouse-exception-code")
        assert (code in ("469", "395")) if bad else answer.status_code == 200, answer.text
        if code == "469":
            assert f"Column values: a = -{base}." in answer.text
        wanted = set() if bad else set(range(base, base + ROWS_EACH))
        assert stored & set(range(base, base + ROWS_EACH)) == wanted


def test_a_session_keeps_its_own_settings_and_hears_of_each_failure(
        engine: ClickHouseProcess) -> None:
    session = {"session_id": "inserter"}
    engine.sql("SET log_queries = 0", **session)
    for rows in (b"1\n", b"2\n"):
        assert insert(engine, "strict", rows, **session).status_code == 200
        assert insert(engine, "strict", b"-1\n", **session).status_code == 500
    seen = engine.sql("SELECT getSetting('log_queries'), getSetting('log_queries_min_type')",
                      **session)
    assert seen == "false\tQUERY_START"
    assert count(engine, "strict") == 2


def test_a_client_library_raises(engine: ClickHouseProcess) -> None:
    client = engine.client()
    with pytest.raises(DatabaseError, match="VIOLATED_CONSTRAINT"):
        client.insert("strict", [[1], [-1]], column_names=["a"])
    client.insert("strict", [[1], [2]], column_names=["a"])
    assert count(engine, "strict") == 2


@pytest.mark.parametrize("sql", [
    "INSERT INTO strict VALUES (1), (-1)", "INSERT INTO strict SELECT number - 1 FROM numbers(3)",
    "INSERT INTO strict WITH 0 AS x SELECT x",
    "WITH -1 AS x INSERT INTO strict SELECT x"])
def test_every_form_of_insert_tells_its_failure(engine: ClickHouseProcess, sql: str) -> None:
    answer = engine.post(sql.encode())
    assert answer.headers.get("x-clickhouse-exception-code") == "469", answer.text
    assert count(engine, "strict") == 0
