"""The warehouse port on ClickHouse: one block per insert, pinned settings, a token, a ledger.

Rows travel as one Arrow batch: the columns that `decoding` made anyway, without a Python object per
value. Settings that decide how a block is formed or deduplicated are pinned, because their defaults
moved between ClickHouse 25 and 26.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import polars as pl
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from infra.clickhouse import migrate
from sinks.cutting import BLOCK_ROWS_MAX
from sinks.decoding import Decoded, decode
from sinks.intents import Arrival, Where
from sinks.ports import LedgerEntry, Rows, RowsRefused, Unavailable
from sinks.topics import BY_TOPIC
from streams.kernel.errors import UnreachableError

_T = TypeVar("_T")

INSERT_WAIT_S: Final = 60

_PINNED: Final[dict[str, int | str]] = {
    "async_insert": 0, "insert_deduplicate": 1, "max_insert_threads": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1, "input_format_parallel_parsing": 0,
    "min_insert_block_size_rows": BLOCK_ROWS_MAX, "min_insert_block_size_bytes": 268_402_944,
    "max_execution_time": INSERT_WAIT_S}

# Codes that are about the rows themselves: cannot parse, out of range, violated constraint, too
# large. Any other refusal (unknown table, no access, no memory, too many parts) is about the server
# and says nothing about the rows: the sink waits until somebody has mended it.
_ROW_CODES: Final = frozenset({6, 26, 27, 38, 41, 69, 72, 117, 131, 321, 349, 407, 469})

_NOT_ENOUGH_SPACE: Final = 243
_FULL: Final = ("ClickHouse takes no rows because its disk is nearly full; free some space there "
                "(how much it keeps free: docs/clickhouse.md, 'When the disk is full')")

_LEDGER_COLUMNS: Final = ("topic", "topic_id", "partition", "first_offset", "last_offset", "rows",
                          "poison_rows", "control_rows", "token")


_RANGE: Final = """
FROM {table} WHERE _appended_ms BETWEEN {{since_ms:Int64}} AND {{until_ms:Int64}}
AND _topic_id = {{topic_id:String}} AND _partition = {{partition:UInt32}}
AND _offset BETWEEN {{first:UInt64}} AND {{last:UInt64}}
"""


class ClickHouseWarehouse:
    """`connect` opens a client; it is opened anew after a failure of the connection.

    verify   look after each insert whether the rows are in. The embedded engine answers an insert
             whose last step failed (too many parts, a violated constraint) as if it had succeeded;
             a server says so, and its replicas may lag, so there nobody looks
    members_min   groups of fewer people are not shown in views
    """

    def __init__(self, connect: Callable[[], Client], *, verify: bool = True,
                 members_min: int = 20) -> None:
        self._connect, self._verify, self._members_min = connect, verify, members_min
        self._client: Client | None = None

    def prepare(self) -> list[str]:
        """Apply the migrations; the names of what was new. Raises Unavailable, StateError."""
        applied = self._ask(migrate.apply)
        standing = self._ask(lambda client: client.query(
            "SELECT argMax(members_min, noted_at), count() FROM segment_floor").result_rows)
        if standing[0][0] != self._members_min:
            self._write("segment_floor", pl.DataFrame(
                {"members_min": [self._members_min]}, schema={"members_min": pl.UInt32}),
                {"insert_deduplication_token": f"floor-{standing[0][1]}"})
        return applied

    def decode(self, where: Where, topic_id: str, records: Sequence[Arrival]) -> Decoded:
        return decode(BY_TOPIC[where.topic], topic_id, records)

    def offsets(self, rows: Rows) -> list[int]:
        assert isinstance(rows, pl.DataFrame)
        return rows["_offset"].to_list()

    def present(self, where: Where, topic_id: str, first: int, last: int) -> set[int]:
        answer = self._ask(lambda client: client.query(
            "SELECT _offset " + _RANGE.format(table=BY_TOPIC[where.topic].table),
            parameters={"topic_id": topic_id, "partition": where.partition, "first": first,
                        "last": last, "since_ms": 0, "until_ms": 2**62}).result_rows)
        return {row[0] for row in answer}

    def insert(self, where: Where, rows: Rows, token: str) -> None:
        assert isinstance(rows, pl.DataFrame) and 0 < rows.height <= BLOCK_ROWS_MAX
        table, known = BY_TOPIC[where.topic].table, {}
        for again in (False, True):
            if again:
                known = self._faults_of(table)
            self._write(table, rows, {"insert_deduplication_token": token})
            if not self._verify or self._kept(table, rows):
                return
        fresh = {code: text for code, (count, text) in self._faults_of(table).items()
                 if count > known.get(code, (0, ""))[0]}
        refused = [text for code, text in fresh.items() if code in _ROW_CODES]
        if refused:
            raise RowsRefused(refused[0])
        raise Unavailable(f"ClickHouse took rows of {table} but did not keep them: "
                          f"{next(iter(fresh.values()), 'its log may say why')}")

    def _kept(self, table: str, rows: pl.DataFrame) -> bool:
        offsets, appended = rows["_offset"].to_list(), rows["_appended_ms"].to_list()
        found = self._ask(lambda client: client.query(
            "SELECT uniqExact(_offset) " + _RANGE.format(table=table),
            parameters={"topic_id": rows["_topic_id"][0], "partition": rows["_partition"][0],
                        "first": offsets[0], "last": offsets[-1],
                        "since_ms": min(appended), "until_ms": max(appended)}).result_rows)
        return bool(found[0][0] == rows.height)

    def _faults_of(self, table: str) -> dict[int, tuple[int, str]]:
        """{error code: (how often so far, last text)} of errors whose last text names `table`."""
        answer = self._ask(lambda client: client.query(
            "SELECT code, sum(value), argMax(last_error_message, last_error_time) "
            "FROM system.errors WHERE position(last_error_message, {name:String}) > 0 "
            "GROUP BY code", parameters={"name": f".{table} "}).result_rows)
        return {code: (count, text) for code, count, text in answer}

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        columns = list(zip(*((
            e.where.topic, e.topic_id, e.where.partition, e.first, e.last, e.rows, e.poison_rows,
            e.control_rows, e.token) for e in entries), strict=True))
        frame = pl.DataFrame(dict(zip(_LEDGER_COLUMNS, columns, strict=True)))
        self._write("sink_batches", frame, {})
        found = self._ask(lambda client: client.query(
            "SELECT uniqExact(token) FROM sink_batches WHERE token IN {tokens:Array(String)}",
            parameters={"tokens": [e.token for e in entries]}).result_rows)
        if self._verify and found[0][0] != len(entries):
            raise Unavailable("ClickHouse took rows of sink_batches but did not keep them")

    def note_ends(self, ends: Sequence[tuple[str, int, int, int]], as_of_ms: int) -> None:
        """Write how far partitions reach: (topic, partition, begin, end). Raises Unavailable."""
        frame = pl.DataFrame(ends, orient="row", schema={
            "topic": pl.String, "partition": pl.Int64, "begin_offset": pl.Int64,
            "end_offset": pl.Int64})
        self._write("topic_ends", frame.with_columns(as_of_ms=pl.lit(as_of_ms, pl.Int64)), {})

    def _write(self, table: str, frame: pl.DataFrame, extra: dict[str, int | str]) -> None:
        block = io.BytesIO()
        frame.rechunk().write_ipc(block, compat_level=pl.CompatLevel.oldest())
        self._ask(lambda client: client.raw_insert(
            table, column_names=frame.columns, insert_block=block.getvalue(), fmt="Arrow",
            settings={**_PINNED, **extra}))

    def _ask(self, question: Callable[[Client], _T]) -> _T:
        try:
            if self._client is None:
                self._client = self._connect()
            return question(self._client)
        except UnreachableError as fault:
            raise Unavailable(fault.message) from fault
        except ClickHouseError as fault:
            sentence = (str(fault).splitlines() or ["?"])[0][:300]
            if getattr(fault, "code", None) in _ROW_CODES:
                raise RowsRefused(sentence) from fault
            self._client = None
            if getattr(fault, "code", None) == _NOT_ENOUGH_SPACE:
                raise Unavailable(_FULL) from fault
            raise Unavailable(f"ClickHouse: {sentence}") from fault
        except (HTTPError, OSError) as fault:
            self._client = None
            raise Unavailable(f"ClickHouse: {fault}") from fault
