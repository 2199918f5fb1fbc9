"""The HTTP interface as curl sees it: statements, rows, headers, errors, sessions, users."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import lz4.frame
import pytest
import zstandard
from clickhouse_process import ClickHouseProcess

from infra.clickhouse import compression, native_blocks

pytestmark = pytest.mark.integration
SLOW = "SELECT count() FROM numbers_mt(1000000000000) WHERE sipHash64(number) = 1"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseProcess]:
    served = ClickHouseProcess(tmp_path_factory.mktemp("clickhouse")).start()
    served.sql("CREATE TABLE seen (id UInt32, word String) ENGINE = MergeTree ORDER BY id "
               "SETTINGS non_replicated_deduplication_window = 100")
    yield served
    served.stop()


@pytest.fixture
def seen(engine: ClickHouseProcess) -> ClickHouseProcess:
    engine.sql("TRUNCATE TABLE seen")
    return engine


def test_health_and_unknown_paths_need_no_password(engine: ClickHouseProcess) -> None:
    assert httpx.get(f"{engine.url}/ping").text == "Ok.\n"
    assert httpx.get(f"{engine.url}/replicas_status").text == "Ok.\n"
    assert httpx.get(f"{engine.url}/").text == "Ok.\n"
    assert httpx.get(f"{engine.url}/play").status_code == 404


def test_the_answer_carries_clickhouses_headers(engine: ClickHouseProcess) -> None:
    answer = engine.post(b"SELECT number FROM numbers(10) FORMAT JSONEachRow", query_id="mine")
    headers = answer.headers
    assert headers["x-clickhouse-query-id"] == "mine"
    assert headers["x-clickhouse-format"] == "JSONEachRow"
    assert headers["x-clickhouse-timezone"].endswith("UTC")
    assert headers["x-clickhouse-server-display-name"] == "kairos"
    summary = json.loads(headers["x-clickhouse-summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("10", "10")
    assert "x-clickhouse-format" not in engine.post(b"SET max_threads = 1").headers


@pytest.mark.parametrize("in_url", ["", "SELECT", "SELECT 40 +", "SELECT 40 + 2"])
def test_a_statement_may_come_in_the_url_the_body_or_both(
        engine: ClickHouseProcess, in_url: str) -> None:
    body = "SELECT 40 + 2"[len(in_url):]
    assert engine.sql(body, **({"query": in_url} if in_url else {})) == "42"


def test_a_multipart_form_brings_statement_and_parameters(engine: ClickHouseProcess) -> None:
    fields = {"query": (None, "SELECT {x: UInt8} + 1"), "param_x": (None, "41")}
    answer = httpx.post(engine.url, files=fields, auth=engine.auth())
    assert answer.text == "42\n"
    external = {"query": (None, "SELECT 1"), "t": ("t.csv", b"1")}
    refused = httpx.post(engine.url, files=external, auth=engine.auth())
    assert (refused.status_code, refused.headers["x-clickhouse-exception-code"]) == (501, "48")


@pytest.mark.parametrize(("url_part", "body"), [
    ("", b"INSERT INTO seen FORMAT CSV\n1,a\n2,b\n"),
    ("INSERT INTO seen FORMAT CSV", b"1,a\n2,b\n"),
    ("INSERT INTO seen", b"FORMAT CSV\n1,a\n2,b\n"),
    ("INSERT INTO seen (word, id) VALUES", b"('a', 1), ('b', 1 + 1);"),
    ("", b"INSERT INTO seen VALUES (1, 'a'), (2, {w: String})"),
    ("", b'INSERT INTO {t: Identifier} FORMAT JSONEachRow {"id":1,"word":"a"}{"id":2,"word":"b"}'),
    ("INSERT INTO seen FORMAT RowBinary\n", b"\x01\0\0\0\x01a\x02\0\0\0\x01b"),
    ("INSERT INTO seen SELECT number + 1, char(97 + number) FROM numbers(2)", b"")])
def test_rows_may_follow_their_insert_in_every_way(
        seen: ClickHouseProcess, url_part: str, body: bytes) -> None:
    query = {"query": url_part} if url_part else {}
    answer = seen.post(body, param_w="b", param_t="seen", **query)
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.headers["x-clickhouse-summary"])["written_rows"] == "2"
    assert seen.sql("SELECT * FROM seen ORDER BY id FORMAT CSV") == '1,"a"\n2,"b"'


@pytest.mark.parametrize("output", ["Native", "RowBinary", "Parquet", "Arrow", "ArrowStream",
                                    "Avro", "CSVWithNames", "JSONEachRow", "TSVWithNamesAndTypes",
                                    "RowBinaryWithNamesAndTypes", "JSONCompactEachRow"])
def test_what_goes_out_in_a_format_comes_back_in_it(
        seen: ClickHouseProcess, output: str) -> None:
    rows = seen.post(f"SELECT toUInt32(number) AS id, repeat('é', number % 7) AS word "
                     f"FROM numbers(150000) FORMAT {output}".encode()).content
    seen.post(rows, query=f"INSERT INTO seen FORMAT {output}").raise_for_status()
    assert seen.sql("SELECT count(), sum(id), sum(length(word)) FROM seen") == (
        "150000\t11249925000\t899988")


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lz4"])
def test_bodies_are_compressed_both_ways(seen: ClickHouseProcess, encoding: str) -> None:
    pack = {"gzip": gzip.compress, "lz4": lz4.frame.compress,
            "zstd": zstandard.ZstdCompressor().compress}[encoding]
    rows = b"".join(b"%d,word\n" % number for number in range(200_000))
    sent = seen.post(pack(rows), query="INSERT INTO seen FORMAT CSV",
                     headers={"content-encoding": encoding})
    assert sent.status_code == 200, sent.text
    with httpx.stream("POST", seen.url, content=b"SELECT id, word FROM seen ORDER BY id FORMAT CSV",
                      params={"enable_http_compression": "1"}, auth=seen.auth(),
                      headers={"accept-encoding": encoding}) as answer:
        assert answer.headers["content-encoding"] == encoding
        raw = b"".join(answer.iter_raw())
    decoder = compression.decoder(encoding)
    plain = b"".join(decoder.feed(raw))
    decoder.finish()
    assert plain == rows.replace(b"word", b'"word"')


def test_clickhouses_own_blocks_go_both_ways(seen: ClickHouseProcess) -> None:
    rows = native_blocks.Packer().feed(b"1,a\n2,b\n")
    assert seen.post(rows, query="INSERT INTO seen FORMAT CSV", decompress="1").status_code == 200
    raw = seen.post(b"SELECT id FROM seen ORDER BY id", compress="1").content
    assert b"".join(native_blocks.Unpacker().feed(raw)) == b"1\n2\n"


@pytest.mark.parametrize(("sql", "code", "status"), [
    ("SELECT * FROM nowhere", "60", 404), ("SELEC 1", "62", 400), ("SELECT nofun(1)", "46", 404),
    ("SELECT nothing", "47", 404), ("SELECT 1 FORMAT Nope", "73", 404), ("", "62", 400),
    ("SELECT toUInt8('x')", "6", 400), ("INSERT INTO seen FORMAT CSV\nx,y\n", "27", 400),
    ("SELECT 1; SELECT 2", "62", 400), ("SELECT 1 INTO OUTFILE 'x'", "126", 500),
    ("INSERT INTO seen FROM INFILE 'x' FORMAT CSV", "78", 404),
    ("SELECT file('/etc/hostname')", "497", 403),
    ("SELECT * FROM file('/etc/hostname')", "497", 403),
    ("SELECT * FROM url('http://127.0.0.1/', 'TSV')", "497", 403),
    ("SELECT * FROM remote('127.0.0.1', 'system.one')", "497", 403),
    ("SELECT * FROM default.`/etc/hostname`", "497", 403),
    ("CREATE TABLE x (a Int8) ENGINE = Kafka", "497", 403),
    ("CREATE TABLE x (a Int8) ENGINE = URL('http://127.0.0.1/', 'TSV')", "497", 403),
    ("CREATE DATABASE other", "497", 403), ("DROP DATABASE kairos", "497", 403),
    ("CREATE USER somebody", "497", 403), ("GRANT SELECT ON *.* TO somebody", "497", 403),
    ("BACKUP DATABASE kairos TO Disk('a', 'b')", "497", 403), ("SYSTEM SHUTDOWN", "497", 403),
    ("SELECT * FROM input('a Int8')", "48", 501),
    ("SELECT count() FROM numbers(1000000000000) SETTINGS max_execution_time = 1", "159", 408),
    ("SELECT groupArray(number) FROM numbers(1000000000) SETTINGS max_memory_usage = 100000000",
     "241", 500)])
def test_errors_have_clickhouses_codes_and_statuses(
        engine: ClickHouseProcess, sql: str, code: str, status: int) -> None:
    answer = engine.post(sql.encode())
    assert (answer.headers.get("x-clickhouse-exception-code"), answer.status_code) == (
        code, status), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")


@pytest.mark.parametrize(("params", "code"), [
    ({"no_such_setting": "1"}, "115"), ({"max_threads": "x"}, "27"),
    ({"max_memory_usage": "0"}, "452"), ({"max_memory_usage": "99999999999999"}, "452"),
    ({"database": "nowhere"}, "81"), ({"a'; DROP TABLE seen; --": "1"}, "115"),
    ({"max_threads": "1'; --"}, "27"), ({"chdb_client_name": "x"}, "497")])
def test_settings_are_checked(engine: ClickHouseProcess, params: dict[str, str],
                              code: str) -> None:
    answer = engine.post(b"SELECT 1", **params)
    assert answer.headers.get("x-clickhouse-exception-code") == code, answer.text


def test_settings_and_parameters_hold_for_their_request(engine: ClickHouseProcess) -> None:
    assert engine.sql("SELECT getSetting('max_block_size')", max_block_size="7") == "7"
    assert engine.sql("SELECT getSetting('max_block_size')") != "7"
    tricky = "it's \\\\ a\\ttab №"
    assert engine.sql("SELECT length({x: String}), {y: Array(UInt8)}[2]", param_x=tricky,
                      param_y="[1,2]") == f"{len(tricky.encode()) - 2}\t2"


def test_an_error_in_mid_stream_breaks_the_answer_and_is_told(engine: ClickHouseProcess) -> None:
    sql = b"SELECT throwIf(number = 3000000) FROM numbers(5000000)"
    gathered = bytearray()
    with (pytest.raises(httpx.RemoteProtocolError),
          httpx.stream("POST", engine.url, content=sql, auth=engine.auth()) as answer):
        tag = answer.headers["x-clickhouse-exception-tag"].encode()
        for part in answer.iter_raw():
            gathered += part
    head, _, told = bytes(gathered).partition(b"\r\n__exception__\r\n" + tag + b"\r\n")
    assert head.startswith(b"0\n0\n") and b"Code: 395." in told
    assert told.endswith(tag + b"\r\n__exception__\r\n")
    size = told.index(b"\n") + 1
    assert told[size:].startswith(f"{size} ".encode() + tag), "the length of the message follows it"


def test_nobody_enters_without_the_password(engine: ClickHouseProcess) -> None:
    password = engine.password("kairos_reader")
    for auth in (None, ("default", ""), ("kairos_reader", "x"), ("nobody", password)):
        answer = httpx.post(engine.url, content=b"SELECT 1", auth=auth)
        assert (answer.status_code, answer.headers["x-clickhouse-exception-code"]) == (403, "516")
    by_header = {"x-clickhouse-user": "kairos_reader", "x-clickhouse-key": password}
    assert httpx.post(engine.url, content=b"SELECT 1", headers=by_header).text == "1\n"
    by_url = {"user": "kairos_reader", "password": password, "query": "SELECT 1"}
    assert httpx.get(engine.url, params=by_url).text == "1\n"
    for name in ("clickhouse_reader", "clickhouse_writer"):
        assert (engine.home / "secrets" / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("sql", [
    "INSERT INTO seen VALUES (1, 'a')", "INSERT INTO seen SELECT 1, 'a'", "TRUNCATE TABLE seen",
    "DROP TABLE seen", "ALTER TABLE seen DELETE WHERE 1", "CREATE TABLE x (a Int8) ENGINE = Null",
    "OPTIMIZE TABLE seen", "SYSTEM FLUSH LOGS", "SET readonly = 0",
    "SELECT 1 SETTINGS readonly = 0", "WITH 1 AS a INSERT INTO seen SELECT a, 'a'"])
def test_the_reader_changes_nothing(engine: ClickHouseProcess, sql: str) -> None:
    answer = engine.post(sql.encode(), user="kairos_reader")
    assert answer.headers.get("x-clickhouse-exception-code") == "164", answer.text


def test_the_reader_chooses_harmless_settings_only(engine: ClickHouseProcess) -> None:
    assert engine.post(b"SELECT getSetting('max_threads')", user="kairos_reader",
                       max_threads="1").text == "1\n"
    assert engine.post(b"SELECT 1", user="kairos_reader", readonly="0").status_code == 500
    assert engine.post(b"SELECT 1", user="kairos_reader", max_execution_time="0").status_code == 500


def test_a_get_is_read_only_even_for_the_writer(engine: ClickHouseProcess) -> None:
    for session in ({}, {"session_id": uuid.uuid4().hex}):
        answer = httpx.get(engine.url, auth=engine.auth(),
                           params={"query": "TRUNCATE TABLE seen", **session})
        assert answer.headers["x-clickhouse-exception-code"] == "164"


def test_a_session_keeps_its_state_and_nothing_else(engine: ClickHouseProcess) -> None:
    mine = uuid.uuid4().hex
    engine.sql("CREATE TEMPORARY TABLE held (a UInt8)", session_id=mine)
    engine.sql("INSERT INTO held VALUES (7)", session_id=mine, max_block_size="11")
    engine.sql("SET max_threads = 1", session_id=mine)
    engine.sql("USE system", session_id=mine)
    assert engine.sql("SELECT a, getSetting('max_threads'), getSetting('max_block_size') = 11, "
                      "currentDatabase() FROM held", session_id=mine) == "7\t1\t0\tsystem"
    assert engine.sql("SELECT currentDatabase()", session_id=mine, database="kairos") == "kairos"
    assert engine.sql("SELECT currentDatabase()", session_id=mine) == "system"
    missing = engine.post(b"SELECT 1", session_id=uuid.uuid4().hex, session_check="1")
    assert missing.headers["x-clickhouse-exception-code"] == "372"
    other = engine.post(b"SELECT a FROM held", session_id=mine, user="kairos_reader")
    assert other.headers["x-clickhouse-exception-code"] == "60"


def test_a_busy_session_is_locked_and_a_query_id_unique(engine: ClickHouseProcess) -> None:
    mine = uuid.uuid4().hex
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(engine.post, SLOW.encode(), session_id=mine, query_id=mine)
        wait_running(engine, mine)
        busy = engine.post(b"SELECT 1", session_id=mine)
        assert busy.headers["x-clickhouse-exception-code"] == "373"
        twin = engine.post(b"SELECT 1", query_id=mine)
        assert twin.headers["x-clickhouse-exception-code"] == "216"
        assert engine.sql("SELECT 2", query_id=mine, replace_running_query="1") == "2"
        assert slow.result().headers["x-clickhouse-exception-code"] == "394"


def wait_running(engine: ClickHouseProcess, query_id: str) -> None:
    """Until the engine really works on it."""
    sql = ("SELECT count() FROM system.processes WHERE elapsed > 0.05 AND "
           f"endsWith(Settings['chdb_client_name'], '/{query_id}')")
    while engine.sql(sql) == "0":
        continue


def test_a_client_kills_by_its_own_query_id(engine: ClickHouseProcess) -> None:
    mine = uuid.uuid4().hex
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(engine.post, SLOW.encode(), query_id=mine)
        wait_running(engine, mine)
        others = engine.post(f"KILL QUERY WHERE query_id = '{mine}' SYNC".encode(),
                             user="kairos_reader")
        assert others.text == "", "a reader may not stop the writer's query"
        assert "finished" in engine.sql(f"KILL QUERY WHERE query_id = '{mine}' SYNC")
        assert slow.result().headers["x-clickhouse-exception-code"] == "394"


@pytest.mark.parametrize("sql", [SLOW, "SELECT number FROM numbers(1000000000000)"])
def test_a_client_that_leaves_takes_its_query_along(engine: ClickHouseProcess, sql: str) -> None:
    mine = uuid.uuid4().hex
    with (pytest.raises(httpx.ReadTimeout),
          httpx.Client(timeout=1.0, trust_env=False) as client,
          client.stream("POST", engine.url, content=sql.encode(), auth=engine.auth(),
                        params={"query_id": mine}) as answer):
        next(answer.iter_raw())
        raise httpx.ReadTimeout("seen enough")
    left = ("SELECT count() FROM system.processes WHERE "
            f"endsWith(Settings['chdb_client_name'], '/{mine}')")
    while engine.sql(left) != "0":
        continue


def test_an_insert_cut_off_by_its_client_leaves_no_rows(seen: ClickHouseProcess) -> None:
    def rows() -> Iterator[bytes]:
        for _ in range(50):
            yield b"1,a\n" * 50_000
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        httpx.post(seen.url, params={"query": "INSERT INTO seen FORMAT CSV", "query_id": "cut"},
                   content=rows(), auth=seen.auth())
    while seen.post(b"SELECT 1", query_id="cut").status_code != 200:
        continue
    assert seen.sql("SELECT count() FROM seen") == "0"


def test_a_repeated_block_with_the_same_token_is_stored_once(seen: ClickHouseProcess) -> None:
    for token in ("a", "a", "b"):
        seen.post(b"1,x\n", query="INSERT INTO seen FORMAT CSV", insert_deduplication_token=token)
    assert seen.sql("SELECT count() FROM seen") == "2"


def test_many_clients_at_once_lose_nothing(seen: ClickHouseProcess) -> None:
    def work(number: int) -> str:
        rows = b"".join(b"%d,w\n" % (number * 1000 + at) for at in range(1000))
        seen.post(rows, query="INSERT INTO seen FORMAT CSV").raise_for_status()
        return seen.sql(f"SELECT count() FROM seen WHERE intDiv(id, 1000) = {number}")

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(work, range(60))) == {"1000"}
    assert seen.sql("SELECT count(), uniqExact(id) FROM seen") == "60000\t60000"


def test_the_log_knows_the_clients_query_id(engine: ClickHouseProcess) -> None:
    mine = uuid.uuid4().hex
    engine.sql("SELECT 'logged'", query_id=mine)
    engine.sql("SYSTEM FLUSH LOGS")
    assert engine.sql("SELECT count() FROM system.query_log WHERE type = 'QueryFinish' "
                      f"AND log_comment = '{mine}'") == "1"
