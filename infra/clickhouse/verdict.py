"""Whether the engine kept the rows of an insert: its own record, because its answer may be wrong.

The embedded engine's insert call answers as if all was well when the last step of an insert failed:
a violated constraint, too many partitions in one block, a full disk, a materialized view that
throws. Such a failure counts in the event FailedInsertQuery, though, before the call returns. So:

1. no insert at all has failed since this one began: it is in (one small query, most inserts);
2. some insert has: system.query_log says of this very one how it ended, and with which error;
3. the log cannot be written, as on a full disk: system.errors names the query of the last error of
   each code. It was read before the log was tried, because that failure would take its place.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from infra.clickhouse.engine import Connection, Engine, literal, run
from infra.clickhouse.errors import ClickHouseError, from_engine

# Settings under which an insert always leaves its entry in system.query_log.
RECORDED = {"log_queries": "1", "log_queries_min_type": "QUERY_START",
            "log_queries_min_query_duration_ms": "0", "log_queries_probability": "1"}
_COUNT = "SELECT value FROM system.events WHERE event = 'FailedInsertQuery'"
_FINISHED = "QueryFinish"
# The log stamps an entry by the wall clock in whole seconds, an insert is timed by another clock.
_CLOCK_SLACK_S = 5


@dataclass(frozen=True, slots=True)
class Began:
    """The state when an insert began; `at_s` is of the monotonic clock."""

    failed_count: int
    at_s: float


class Verdicts:
    """One per engine; holds a connection of its own until `close`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._flush_count = 0
        self._watch = self._unlogged()
        self._failed_count = self._count()

    def begin(self) -> Began:
        """To be called before the insert can fail. Costs nothing: the last count seen will do."""
        return Began(self._failed_count, time.monotonic())

    def check(self, connection: Connection, began: Began) -> None:
        """After the commit: return when the insert on `connection` is in.

        Raises ClickHouseError with the engine's own error when it is not, and 319 when the engine
        keeps no record of it.
        """
        try:
            if self._count() == began.failed_count:
                return
            fault = self._look_up(_query_id(connection), began)
        except ClickHouseError as broken:
            raise _unknown(broken.message) from broken
        if fault is not None:
            raise fault

    def close(self) -> None:
        with self._lock:
            self._watch.close()

    def _unlogged(self) -> Connection:
        """A connection whose queries do not fill the log."""
        connection = self._engine.connect()
        run(connection, "SET log_queries = 0")
        return connection

    def _count(self) -> int:
        """How many inserts have failed since the engine was opened."""
        with self._lock:
            self._failed_count = int(run(self._watch, _COUNT) or 0)  # no row before the first
            return self._failed_count

    def _look_up(self, query_id: str, began: Began) -> ClickHouseError | None:
        """How this insert ended. A connection of its own: the log takes a while to be written."""
        connection = self._unlogged()
        try:
            last = _last_error(connection, query_id)
            self._flush(connection)
            found = _logged(connection, query_id, time.monotonic() - began.at_s)
        finally:
            connection.close()
        if found is None:
            return last or _unknown("its query_log has no entry; is the disk full?")
        return from_engine(RuntimeError(found)) if found else None

    def _flush(self, connection: Connection) -> None:
        """Write the log. Who waited here while another's began and ended needs none of their own.
        """
        seen_count = self._flush_count
        with self._flushing:
            if self._flush_count > seen_count:
                return
            self._flush_count += 1
            with suppress(ClickHouseError):  # whoever looks then finds no entry
                run(connection, "SYSTEM FLUSH LOGS query_log")


def _query_id(connection: Connection) -> str:
    """The engine's own id of the insert: a connection keeps it until its next insert."""
    return run(connection, "SELECT queryID()", "TabSeparatedRaw").decode().strip()


def _logged(connection: Connection, query_id: str, elapsed_s: float) -> str | None:
    """What the log says: empty for a good end, the engine's error, or None for no entry at all."""
    since = f"now() - {int(elapsed_s) + _CLOCK_SLACK_S}"
    try:
        row = run(connection, "SELECT type, exception FROM system.query_log WHERE event_date >= "
                  f"toDate({since}) AND event_time >= {since} AND query_id = {literal(query_id)} "
                  "AND query_kind = 'Insert' AND type != 'QueryStart' "
                  "ORDER BY event_time_microseconds DESC LIMIT 1", "TabSeparatedRaw").decode()
    except ClickHouseError:
        return None
    ended, _, exception = row.partition("\t")
    if not row:
        return None
    return "" if ended == _FINISHED else exception.strip() or ended


def _last_error(connection: Connection, query_id: str) -> ClickHouseError | None:
    """The error that this query raised last, unless another's has taken its place since."""
    row = run(connection, "SELECT code, name, last_error_message FROM system.errors WHERE "
              f"query_id = {literal(query_id)} ORDER BY last_error_time DESC LIMIT 1",
              "TabSeparatedRaw").decode()
    if not row:
        return None
    code, name, message = row.split("\t", 2)
    return ClickHouseError(int(code), message.strip(), name)


def _unknown(why: str) -> ClickHouseError:
    return ClickHouseError(319, f"The engine does not tell whether the rows are in ({why}): look, "
                                "or insert again under the same insert_deduplication_token",
                           "UNKNOWN_STATUS_OF_INSERT")
