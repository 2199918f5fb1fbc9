"""The front's own reading of SQL: tokens, heads of inserts, formats, refusals, KILL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.clickhouse import formats, guard, statement
from infra.clickhouse.errors import ClickHouseError, from_engine
from infra.clickhouse.running import rewrite_kill
from infra.clickhouse.statement import Insert, Unfinished, cut_insert
from infra.clickhouse.tokenizer import tokens

INSERTS = [
    # sql, head, format, rows
    (b"INSERT INTO t FORMAT CSV\n1,2\n", "INSERT INTO t ", "CSV", b"1,2\n"),
    (b"insert into t format RowBinary\r\n\n\x00", "insert into t ", "RowBinary", b"\n\x00"),
    (b"INSERT INTO k.t (a, b) VALUES (1, 'x')", "INSERT INTO k.t (a, b) ", "Values", b" (1, 'x')"),
    (b"/* FORMAT X */ INSERT INTO `format` FORMAT TSV\n1", "/* FORMAT X */ INSERT INTO `format` ",
     "TSV", b"1"),
    (b"INSERT INTO k.values FORMAT TSV\n1", "INSERT INTO k.values ", "TSV", b"1"),
    (b"INSERT INTO t SETTINGS async_insert=1 FORMAT TSV\n1",
     "INSERT INTO t SETTINGS async_insert=1 ", "TSV", b"1"),
    (b"INSERT INTO {t:Identifier} FORMAT TSV\n1", "INSERT INTO {t:Identifier} ", "TSV", b"1"),
    (b"INSERT INTO t -- FORMAT CSV\nVALUES(1)", "INSERT INTO t -- FORMAT CSV\n", "Values",
     b"(1)"),
]


@pytest.mark.parametrize(("sql", "head", "output", "rows"), INSERTS, ids=lambda x: str(x)[:30])
def test_the_head_of_an_insert_ends_where_its_rows_begin(
        sql: bytes, head: str, output: str, rows: bytes) -> None:
    cut = cut_insert(sql, final=True)
    assert isinstance(cut, Insert)
    assert (cut.head, cut.format, sql[cut.data_start:]) == (head, output, rows)


@pytest.mark.parametrize("sql", [
    b"SELECT 1 FORMAT CSV", b"INSERT INTO t SELECT 1", b"INSERT INTO t (a) SELECT 'FORMAT CSV\n'",
    b"INSERT INTO t (SELECT 1)", b"INSERT INTO t WITH 1 AS x SELECT x", b"", b"-- INSERT"])
def test_statements_without_rows_of_their_own_are_not_cut(sql: bytes) -> None:
    assert cut_insert(sql, final=True) is None


@pytest.mark.parametrize(("sql", "code"), [
    (b"INSERT INTO t FROM INFILE 'x' FORMAT CSV", 78),
    (b"INSERT INTO FUNCTION url('x') FORMAT CSV\n", 48),
    (b"INSERT INTO TABLE FUNCTION file('x') VALUES (1)", 48),
    (b"INSERT INTO t FORMAT CSV SETTINGS a = 1\n1", 62),
    (b"INSERT INTO t FORMAT", 62)])
def test_inserts_that_cannot_be_served_say_so(sql: bytes, code: int) -> None:
    with pytest.raises(ClickHouseError) as fault:
        cut_insert(sql, final=True)
    assert fault.value.code == code


@given(st.sampled_from([row[0] for row in INSERTS]), st.integers(0, 60))
def test_a_cut_never_depends_on_how_much_has_arrived(sql: bytes, seen: int) -> None:
    early = cut_insert(sql[:seen], final=False)
    assert isinstance(early, Unfinished) or early == cut_insert(sql, final=True)


@given(st.binary(max_size=200))
def test_no_bytes_can_break_the_tokenizer(raw: bytes) -> None:
    row = list(tokens(raw))
    assert all(token.start < token.end for token in row)
    assert sorted(token.start for token in row) == [token.start for token in row]


@pytest.mark.parametrize(("sql", "output"), [
    (b"SELECT 1 FORMAT CSV", "CSV"), (b"SELECT 1 format CSV SETTINGS max_threads = 1;", "CSV"),
    (b"SELECT format('{}', 1)", ""), (b"SELECT 'x FORMAT CSV'", ""), (b"SELECT 1", "")])
def test_the_format_clause_is_found(sql: bytes, output: str) -> None:
    assert statement.named_format(sql) == output


@pytest.mark.parametrize(("sql", "code"), [
    ("SELECT file('/etc/hostname')", 497),
    ("SELECT file /* x */ ('/etc/hostname')", 497),
    ('SELECT "file"(1)', 497),
    ("SELECT `fi\\x6ce`(1)", 497),
    ("SELECT * APPLY file FROM (SELECT 1)", 497),
    ("SELECT arrayMap(file, ['/etc/hostname'])", 497),
    ("SELECT ‘ ' ’, file('x'), ‘ ' ’", 497),
    ("SELECT a FROM values('a String ALIAS file(1)', 1)", 497),
    ("SELECT a FROM values(concat('a String ALIAS fi', 'le(1)'), 1)", 497),
    ("SELECT a FROM generateRandom('a String ALIAS fi\\x6ce(1)')", 497),
    ("SELECT * FROM format(JSONEachRow, 'a String DEFAULT file(1)', '{}')", 497),
    ("SELECT * FROM eval('SELECT 1')", 497),
    ("SELECT * FROM python('engine')", 497),
    ("SELECT * FROM executable('x', 'TSV', 'a Int8')", 497),
    ("SELECT 1 SETTINGS additional_result_filter = 'fi'", 497),
    ("SELECT 1 FORMAT Template SETTINGS output_format_x = 1", 497),
    ("SELECT 1 SETTINGS chdb_client_name = 'hidden'", 497),
    ("SELECT 1 INTO OUTFILE 'x'", 126),
    ("SELECT * FROM input('a Int8')", 48),
    ("CREATE TABLE t (a Int8) ENGINE = EmbeddedRocksDB PRIMARY KEY a", 497),
    ("CREATE TABLE t (a Int8) ENGINE Kafka", 497),
    ("CREATE DICTIONARY d (a Int8) PRIMARY KEY a SOURCE(HTTP(URL 'x')) LAYOUT(FLAT())", 497),
    ("CREATE DICTIONARY d (a Int8) PRIMARY KEY a SOURCE(CLICKHOUSE(HOST 'x'))", 497)])
def test_what_the_engine_would_do_and_must_not_is_refused(sql: str, code: int) -> None:
    with pytest.raises(ClickHouseError) as fault:
        guard.check(sql.encode())
    assert fault.value.code == code


@pytest.mark.parametrize("sql", [
    "SELECT t.file FROM t", "SELECT 'file(x)'", "SELECT format('{}-{}', a, b) FROM t",
    "SELECT * FROM values('a Int8, b String', (1, 'x'))", "SELECT * FROM generateRandom('a Int8')",
    "CREATE TABLE t (a Int8) ENGINE = ReplacingMergeTree(a) ORDER BY a",
    "CREATE DICTIONARY d (a Int8) PRIMARY KEY a SOURCE(CLICKHOUSE(TABLE 't' DB 'kairos'))",
    "SELECT engine FROM system.tables", "SELECT a IS NULL AND (b) FROM t"])
def test_ordinary_statements_pass(sql: str) -> None:
    guard.check(sql.encode())


def test_a_kill_means_the_clients_own_ids_and_only_its_own_queries() -> None:
    sql = rewrite_kill("KILL QUERY WHERE query_id = 'a''b' ASYNC", only_user="kairos_reader")
    assert "= 'a''b'" in sql and sql.endswith("ASYNC")
    assert "query_id = " not in sql and "= 'kairos_reader'" in sql
    assert rewrite_kill("KILL MUTATION WHERE 1", only_user=None) == "KILL MUTATION WHERE 1"


@pytest.mark.parametrize(("output", "chunk", "header"), [
    ("TSVWithNames", b"a\tb\n1\t2\n", b"a\tb\n"),
    ("TSVWithNamesAndTypes", b"a\nInt8\n1\n", b"a\nInt8\n"),
    ("CSVWithNames", b'"a\nb","c"\n1,2\n', b'"a\nb","c"\n'),
    ("RowBinaryWithNamesAndTypes", b"\x01\x01a\x04Int8\x07", b"\x01\x01a\x04Int8"),
    ("Native", b"\x01\x01", b"")])
def test_the_header_that_a_stream_repeats_is_measured(
        output: str, chunk: bytes, header: bytes) -> None:
    assert chunk[:formats.header_bytes(output, chunk)] == header


def test_totals_and_framed_formats_are_not_streamed() -> None:
    assert formats.streamable("CSV", b"SELECT 1", {})
    assert not formats.streamable("CSV", b"SELECT 1 GROUP BY 1 WITH TOTALS", {})
    assert not formats.streamable("JSON", b"SELECT 1", {})
    assert not formats.streamable("CSV", b"SELECT 1", {"extremes": "1"})


@pytest.mark.parametrize(("text", "code", "status", "name"), [
    ("Code: 60. DB::Exception: Unknown table 'x'. (UNKNOWN_TABLE)", 60, 404, "UNKNOWN_TABLE"),
    ("Code: 159. DB::Exception: Too slow. (TIMEOUT_EXCEEDED) (version 26.9)", 159, 408,
     "TIMEOUT_EXCEEDED"),
    ("Code: 241. DB::Exception: (total) memory. (MEMORY_LIMIT_EXCEEDED)", 241, 500,
     "MEMORY_LIMIT_EXCEEDED"),
    ("something else", 1001, 500, "STD_EXCEPTION")])
def test_the_engines_errors_keep_code_and_name(
        text: str, code: int, status: int, name: str) -> None:
    fault = from_engine(RuntimeError(text))
    assert (fault.code, fault.status, fault.name) == (code, status, name)
    assert fault.body("1").startswith(f"Code: {code}. DB::Exception: ".encode())
