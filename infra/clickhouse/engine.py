"""The one chDB process: opens the path, hands out connections, finds and stops running queries.

Everything here blocks (the GIL is released meanwhile), so the front calls it in threads.
"""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Any

from infra.clickhouse.errors import ClickHouseError, from_engine
from infra.clickhouse.guard import TAG_SETTING
from streams.kernel.errors import SetupError

# The binding is compiled and carries no type information.
BINDING: Any = importlib.import_module("chdb._chdb")
Connection = Any
_TAG = f"Settings['{TAG_SETTING}']"


def literal(text: str) -> str:
    """Text as a string literal of ClickHouse's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def name(text: str) -> str:
    """Text as a quoted identifier."""
    escaped = text.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def run(connection: Connection, sql: str, output: str = "TabSeparated") -> bytes:
    """Run one statement to its end. Raises ClickHouseError."""
    try:
        answer: bytes = connection.query(sql, output).bytes()
    except Exception as fault:
        raise from_engine(fault) from fault
    return answer


class Engine:
    """Owns the path from `open` to `close`; one per process."""

    def __init__(self, path: Path, config_file: Path, database: str) -> None:
        """Open the path and make sure of the database.

        Raises SetupError when the engine cannot open the path.
        """
        self.database = database
        self._where = f"{path}?config-file={config_file}"
        BINDING.set_signal_handlers_enabled(False)
        try:
            self._root: Connection = BINDING.connect(self._where)
            run(self._root, f"CREATE DATABASE IF NOT EXISTS {name(database)} ENGINE = Atomic")
            said = run(self._root, "SELECT version(), timezone(), displayName()")
        except (RuntimeError, ClickHouseError) as fault:
            raise SetupError(f"the embedded ClickHouse engine cannot open {path}: {fault}",
                             "see docs/clickhouse.md, 'When the engine does not start'") from fault
        self.version, self.timezone, self.display_name = said.decode().strip().split("\t")
        self._root_lock = threading.Lock()

    def connect(self) -> Connection:
        """A connection with the engine's default settings; the caller closes it."""
        try:
            return BINDING.connect(self._where)
        except RuntimeError as fault:
            raise from_engine(fault) from fault

    def ask(self, sql: str) -> bytes:
        """A statement of our own, outside anybody's session."""
        with self._root_lock:
            return run(self._root, sql)

    def kill(self, tag: str) -> None:
        """Tell the query that carries this mark to stop.

        Not SYNC: a stream that nobody fetches from ends only when it is let go, so waiting for it
        here could wait for ever.
        """
        self._kill(f"{_TAG} = {literal(tag)}")

    def kill_all(self) -> None:
        """Tell every query of every client to stop."""
        self._kill(f"{_TAG} != ''")

    def _kill(self, condition: str) -> None:
        self.ask("KILL QUERY WHERE query_id IN (SELECT query_id FROM system.processes WHERE "
                 f"{condition}) ASYNC FORMAT Null")

    def close(self) -> None:
        """Release the path; every query must have ended."""
        with self._root_lock:
            self._root.close()
