"""clickhouse-connect, unchanged, against the embedded engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import pyarrow
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from clickhouse_process import ClickHouseProcess

pytestmark = pytest.mark.integration
COMPRESSION = [True, False, "lz4", "zstd", "gzip"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseProcess]:
    served = ClickHouseProcess(tmp_path_factory.mktemp("clickhouse")).start()
    yield served
    served.stop()


@pytest.fixture
def table(engine: ClickHouseProcess) -> str:
    engine.sql("CREATE OR REPLACE TABLE rows (id UInt64, word String, tags Array(String), "
               "at DateTime64(3), price Nullable(Decimal(10, 2))) "
               "ENGINE = MergeTree ORDER BY id")
    return "rows"


@pytest.mark.parametrize("compress", COMPRESSION)
def test_rows_go_in_and_come_out(engine: ClickHouseProcess, table: str, compress: Any) -> None:
    client = engine.client(compress=compress)
    rows = [[at, f"it's №{at}", ["a", "b"], at * 1000, None] for at in range(2000)]
    summary = client.insert(table, rows, column_names=["id", "word", "tags", "at", "price"])
    assert summary.written_rows == 2000
    found = client.query("SELECT word, tags FROM rows WHERE id = {id:UInt64}",
                         parameters={"id": 42}).result_rows
    assert found == [("it's №42", ["a", "b"])]
    assert client.query("SELECT sum(id) FROM rows").first_row == (1999000,)
    client.close()


def test_arrow_and_data_frames(engine: ClickHouseProcess, table: str) -> None:
    client = engine.client()
    rows = pyarrow.table({"id": pyarrow.array(range(150_000), pyarrow.uint64()),
                          "word": ["x"] * 150_000})
    client.insert_arrow(table, rows)
    arrow = client.query_arrow("SELECT id, word FROM rows ORDER BY id")
    assert (arrow.num_rows, arrow["id"][149_999].as_py()) == (150_000, 149_999)
    frame = client.query_df("SELECT id, word FROM rows WHERE id < 10 ORDER BY id")
    assert list(frame["id"]) == list(range(10))
    client.insert_df(table, frame)
    assert client.command("SELECT count() FROM rows") == 150_010


def test_raw_inserts_and_raw_queries(engine: ClickHouseProcess, table: str) -> None:
    client = engine.client()
    client.raw_insert(table, ["id", "word"], b"1,a\n2,b\n", fmt="CSV", compression=None)
    client.raw_insert(table, ["id", "word"], iter([b"3\tc\n", b"4\td\n"]), fmt="TSV")
    raw = client.raw_query("SELECT id, word FROM rows ORDER BY id", fmt="TabSeparated")
    assert raw == b"1\ta\n2\tb\n3\tc\n4\td\n"


def test_large_results_stream(engine: ClickHouseProcess) -> None:
    client = engine.client()
    with client.query_rows_stream("SELECT number, toString(number) FROM numbers(500000)") as rows:
        assert sum(row[0] for row in rows) == 499_999 * 250_000


def test_empty_results_are_empty(engine: ClickHouseProcess, table: str) -> None:
    client = engine.client()
    assert client.query("SELECT id FROM rows WHERE id = 1").result_rows == []
    assert client.query_df("SELECT id FROM rows WHERE id = 1").empty


def test_settings_database_and_query_id_arrive(engine: ClickHouseProcess) -> None:
    client = engine.client(database="system", settings={"max_block_size": 77})
    said = client.query("SELECT currentDatabase(), getSetting('max_block_size')",
                        settings={"query_id": "my own"})
    assert said.result_rows == [("system", 77)]
    assert said.query_id == "my own"
    assert engine.client().command("SELECT currentDatabase()") == "kairos"


def test_a_session_of_the_client_keeps_temporary_tables(engine: ClickHouseProcess) -> None:
    client = engine.client()
    client.command("CREATE TEMPORARY TABLE held (a Int32)")
    client.insert("held", [[1], [2]], column_names=["a"], column_type_names=["Int32"])
    assert client.command("SELECT sum(a) FROM held") == 3


@pytest.mark.parametrize(("sql", "code"), [
    ("SELECT * FROM nowhere", 60), ("SELEC 1", 62), ("SELECT throwIf(1)", 395)])
def test_errors_carry_the_code(engine: ClickHouseProcess, sql: str, code: int) -> None:
    with pytest.raises(DatabaseError, match=f"[Cc]ode:? {code}"):
        engine.client().query(sql)


@pytest.mark.parametrize("compress", COMPRESSION)
def test_an_error_in_mid_stream_is_never_a_short_result(
        engine: ClickHouseProcess, compress: Any) -> None:
    client = engine.client(compress=compress)
    sql = "SELECT throwIf(number = 3000000) AS x FROM numbers(5000000)"
    with (pytest.raises(StreamFailureError, match="395"),
          client.query_row_block_stream(sql) as blocks):
        for _ in blocks:
            continue
    assert client.command("SELECT 1") == 1


def test_a_bad_row_stores_nothing(engine: ClickHouseProcess, table: str) -> None:
    client = engine.client()
    with pytest.raises(DatabaseError):
        client.raw_insert(table, ["id"], b"1\n2\nthree\n", fmt="CSV")
    assert client.command("SELECT count() FROM rows") == 0


def test_the_reader_reads_and_no_more(engine: ClickHouseProcess, table: str) -> None:
    client = engine.client("kairos_reader")
    assert client.query("SELECT count() FROM rows").first_row == (0,)
    assert "rows" in client.query("SHOW TABLES").result_columns[0]
    with pytest.raises(DatabaseError, match="READONLY"):
        client.insert(table, [[1]], column_names=["id"])
    with pytest.raises(DatabaseError, match="READONLY"):
        client.command("DROP TABLE rows")


def test_the_async_client_runs_many_at_once(engine: ClickHouseProcess, table: str) -> None:
    async def work() -> list[int]:
        client = await clickhouse_connect.get_async_client(
            host="127.0.0.1", port=engine.port, username="kairos_writer",
            password=engine.password("kairos_writer"), autogenerate_session_id=False)
        await asyncio.gather(*(client.insert("rows", [[at]], column_names=["id"])
                               for at in range(20)))
        answers = await asyncio.gather(*(
            client.query("SELECT count() FROM rows WHERE id <= {top:UInt64}",
                         parameters={"top": top}) for top in range(20)))
        await client.close()
        return [answer.first_row[0] for answer in answers]

    assert asyncio.run(work()) == list(range(1, 21))
