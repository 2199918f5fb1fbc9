"""One query or insert as the engine sees it, from connection to release. Runs in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from infra.clickhouse import formats, statement
from infra.clickhouse.engine import BINDING, Connection, Engine, literal, name, run
from infra.clickhouse.errors import ClickHouseError, from_engine
from infra.clickhouse.guard import TAG_SETTING
from infra.clickhouse.running import rewrite_kill
from infra.clickhouse.sessions import Session
from infra.clickhouse.verdict import RECORDED, Began, Verdicts
from infra.clickhouse.wholeness import Wholeness

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms a statement runs.

    writes     the user may change data
    read_only  the request may not (a GET)
    tag        the mark by which KILL finds it
    """

    user: str
    writes: bool
    read_only: bool
    database: str
    tag: str
    log_comment: str
    settings: dict[str, str]
    params: dict[str, str]


@dataclass(slots=True)
class Tally:
    """What X-ClickHouse-Summary says."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0

    def add(self, result: Any) -> None:
        self.read_rows += result.storage_rows_read()
        self.read_bytes += result.storage_bytes_read()
        self.written_rows += result.rows_written()
        self.written_bytes += result.bytes_written() if result.rows_written() else 0
        self.result_rows += result.rows_read() or result.rows_written()


class Scope:
    """A connection set up for one statement; `release` gives it back exactly once."""

    def __init__(self, engine: Engine, terms: Terms, session: Session | None) -> None:
        self._engine, self._terms, self._session = engine, terms, session
        self._settings = terms.settings
        self._restore: list[str] = []
        self._released = threading.Lock()
        self.connection: Connection = None

    def open(self, sql: str, *, inserts: bool) -> None:
        """Connect, classify, apply database and settings. Raises ClickHouseError.

        inserts   rows will follow, so parameters become settings and the log keeps the outcome
        """
        if inserts:
            self._settings = {**self._terms.settings, **RECORDED}
        kept = self._session.connection if self._session is not None else None
        self.connection = kept if kept is not None else self._engine.connect()
        found = self._classify(sql)
        stays = (self._session is not None and found == BINDING.query_class.CONTROL
                 and statement.verb(sql.encode()) in ("SET", "USE", "CREATE"))
        if stays and self._session is not None:
            self._session.connection = self.connection
        if kept is not None or stays:
            self._remember(fresh=kept is None)
        self._apply(found, fresh=kept is None)
        if inserts and self._terms.params:
            run(self.connection, "SET " + ", ".join(
                f"param_{key}={literal(value)}" for key, value in self._terms.params.items()))

    def _classify(self, sql: str) -> Any:
        """The engine's own view of the statement; refuses several at once."""
        try:
            seen = self.connection.classify_query(sql, self._engine.database)
        except Exception as fault:
            raise from_engine(fault) from fault
        if seen["statement_count"] > 1:
            raise ClickHouseError(62, "Syntax error (Multi-statements are not allowed): send one "
                                      "statement per request")
        if seen["query_class"] == BINDING.query_class.MUTATING_GLOBAL:
            raise ClickHouseError(497, f"{self._terms.user}: users, roles, grants, functions and "
                                       "other things outside the database are not managed in the "
                                       "embedded engine")
        return seen["query_class"]

    def _remember(self, *, fresh: bool) -> None:
        """How to undo, on a connection that stays, what holds for this request only."""
        if self._settings:
            listed = ", ".join(f"toString(getSetting({literal(key)}))"
                               for key in self._settings)
            values = run(self.connection, f"SELECT {listed}", "TabSeparatedRaw").decode()
            pairs = zip(self._settings, values.rstrip("\n").split("\t"), strict=False)
            self._restore.append("SET " + ", ".join(f"{key}={literal(value)}"
                                                    for key, value in pairs))
        if self._terms.database and not fresh:
            current = run(self.connection, "SELECT currentDatabase()", "TabSeparatedRaw").decode()
            self._restore.append(f"USE {name(current.strip())}")

    def _apply(self, found: Any, *, fresh: bool) -> None:
        if fresh or self._terms.database:
            run(self.connection, f"USE {name(self._terms.database or self._engine.database)}")
        wanted = {TAG_SETTING: self._terms.tag, "log_comment": self._terms.log_comment,
                  **self._settings}
        run(self.connection, "SET " + ", ".join(
            f"{key}={literal(value)}" for key, value in
            {**wanted, **self._read_only(found, fresh=fresh)}.items()))

    def _read_only(self, found: Any, *, fresh: bool) -> dict[str, str]:
        """`readonly` cannot be lowered again, so a writer's session is checked by class instead."""
        asked = self._terms.settings.get("readonly")
        if not self._terms.writes:
            if asked not in (None, "1", "2"):
                raise ClickHouseError(164, "Cannot modify 'readonly' setting in readonly mode.")
            return {"readonly": asked or "2"} if fresh else {}
        if not self._terms.read_only:
            return {}
        if self._session is None:
            return {"readonly": "2"}
        if found in (BINDING.query_class.MUTATING, BINDING.query_class.MUTATING_GLOBAL):
            raise ClickHouseError(164, f"{self._terms.user}: Cannot execute query in readonly "
                                       "mode. For queries over HTTP, method GET implies readonly. "
                                       "You should use method POST for modifying queries.")
        return {}

    def release(self) -> None:
        """Undo what was set for this request, or close the connection."""
        if not self._released.acquire(blocking=False) or self.connection is None:
            return
        if self._session is None or self._session.connection is not self.connection:
            self.connection.close()
            return
        for sql in self._restore:
            with suppress(ClickHouseError):  # the client's own SET closed the way back
                run(self.connection, sql)


class Query:
    """A statement without rows in its body."""

    def __init__(self, scope: Scope, terms: Terms, sql: str, default_format: str, *,
                 whole: bool, wholeness: Wholeness) -> None:
        self._scope, self._terms, self._whole = scope, terms, whole
        self._wholeness, self._began_whole = wholeness, wholeness.begin()
        raw = sql.encode()
        self.verb = statement.verb(raw)
        self.output = statement.named_format(raw) or default_format or formats.DEFAULT
        self.answers = self.verb in statement.ANSWERING_VERBS
        self._sql = sql if self.verb != "KILL" else rewrite_kill(
            sql, only_user=None if terms.writes else terms.user)
        self._stream: Any = None
        self._header: bytes | None = None
        self.tally = Tally()
        self.finished = False

    def begin(self) -> bytes:
        """Start it; the first bytes of its result. Raises ClickHouseError."""
        self._wholeness.wait()
        self._scope.open(self._sql, inserts=False)
        streams = (self.verb in statement.STREAMABLE_VERBS and not self._whole
                   and formats.streamable(self.output, self._sql.encode(), self._terms.settings)
                   and not self._inserts())
        try:
            if not streams:
                return self._all()
            self._stream = self._scope.connection.send_query(
                self._sql, self.output, params=self._terms.params)
        except ClickHouseError:
            raise
        except Exception as fault:
            raise from_engine(fault) from fault
        return self.more()

    def _inserts(self) -> bool:
        """WITH … INSERT INTO … SELECT starts like a query."""
        return self.verb == "WITH" and b"INSERT" in self._sql.upper().encode()

    def _all(self) -> bytes:
        result = self._scope.connection.query(self._sql, self.output, params=self._terms.params)
        if self.verb == "INSERT" or self._inserts():
            self._wholeness.check(self._began_whole)
        self.tally.add(result)
        answer: bytes = result.bytes()
        self.tally.result_bytes = len(answer)
        self.finished = True
        return answer

    def more(self) -> bytes:
        """The next mebibyte or so; sets `finished` with the last."""
        gathered: list[bytes] = []
        size = 0
        while size < CHUNK_BYTES:
            try:
                piece = self._scope.connection.streaming_fetch_result(self._stream)
            except Exception as fault:
                self._stream = None
                raise from_engine(fault) from fault
            chunk = piece.bytes()
            self.tally.add(piece)
            if not chunk and piece.rows_read() == 0:
                self.finished, self._stream = True, None
                break
            chunk = self._without_header(chunk)
            gathered.append(chunk)
            size += len(chunk)
        self.tally.result_bytes += size
        return b"".join(gathered)

    def _without_header(self, chunk: bytes) -> bytes:
        if self._header is None:
            self._header = chunk[:formats.header_bytes(self.output, chunk)]
            return chunk
        assert chunk.startswith(self._header), "the header of a stream changed"
        return chunk[len(self._header):]

    def stop(self) -> None:
        """End it, whatever its state, and give the connection back."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(Exception):  # it may just have ended by itself
                self._scope.connection.streaming_cancel_query(stream)
        self._scope.release()


class Insert:
    """An INSERT whose rows come as bytes, however many and in whatever pieces."""

    def __init__(self, scope: Scope, head: statement.Insert, verdicts: Verdicts,
                 wholeness: Wholeness) -> None:
        self._scope, self._head, self._verdicts = scope, head, verdicts
        self._wholeness, self._began_whole = wholeness, wholeness.begin()
        self._rows: Any = None
        self._began: Began = verdicts.begin()
        self.tally = Tally()

    def begin(self) -> None:
        self._wholeness.wait()
        self._guarded(self._open)

    def _open(self) -> None:
        self._scope.open(self._head.head, inserts=True)
        self._rows = self._scope.connection.send_insert(self._head.head, self._head.format)

    def append(self, chunk: bytes) -> None:
        self._guarded(lambda: self._scope.connection.insert_append(self._rows, chunk))

    def done(self) -> None:
        """Commit. Raises ClickHouseError, and then nothing was inserted from an open block."""
        self._guarded(self._commit)
        self._rows = None
        self._guarded(lambda: self._verdicts.check(self._scope.connection, self._began))
        self._wholeness.check(self._began_whole)

    def _commit(self) -> None:
        result = self._scope.connection.insert_done(self._rows)
        self.tally.add(result)
        self.tally.read_rows = self.tally.result_rows = result.rows_written()
        self.tally.read_bytes = self.tally.result_bytes = result.bytes_written()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as fault:
            told = fault if isinstance(fault, ClickHouseError) else from_engine(fault)
            raise self._wholeness.blame(self._began_whole, told) from fault

    def stop(self) -> None:
        """Drop the rows of an insert that was not done, and give the connection back."""
        rows, self._rows = self._rows, None
        if rows is not None:
            with suppress(Exception):  # it failed, and the engine has dropped it already
                self._scope.connection.insert_cancel(rows)
        self._scope.release()
