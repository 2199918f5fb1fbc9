"""The vault on disk: SQLite, one file, values encrypted under one key per person.

Any number of processes may use it at once (write-ahead log, busy wait). Deleted content is
overwritten with zeros and the log is emptied, so that a forgotten key is not left in free pages.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from streams.kernel.errors import StateError, UnreachableError
from streams.privacy import envelope
from streams.privacy.vault import Deposit

BUSY_WAIT_MS = 20_000
_TABLES = """
CREATE TABLE IF NOT EXISTS people (
    profile_id TEXT PRIMARY KEY, wrapped_key BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identifiers (
    profile_id TEXT NOT NULL REFERENCES people ON DELETE CASCADE,
    field TEXT NOT NULL, sealed BLOB NOT NULL, as_of_ms INTEGER NOT NULL,
    PRIMARY KEY (profile_id, field)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS proof (id INTEGER PRIMARY KEY CHECK (id = 1), sealed BLOB NOT NULL);
"""
_KEEP = """
INSERT INTO identifiers (profile_id, field, sealed, as_of_ms) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET sealed = excluded.sealed, as_of_ms = excluded.as_of_ms
WHERE excluded.as_of_ms >= identifiers.as_of_ms
"""


class SqliteVault:
    """`key`: the vault's own 32 secret bytes. Threads may share one instance.

    Raises StateError when the file was written with another key.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._path, self._key = path, key
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        # Made by us with narrow rights first; SQLite gives its side files the same rights.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path, timeout=BUSY_WAIT_MS / 1000, isolation_level=None,
                                   check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON",
                       "foreign_keys=ON"):
            self._ask(f"PRAGMA {pragma}")
        with self._writing():
            for statement in filter(str.strip, _TABLES.split(";")):
                self._ask(statement)
            row = self._ask("SELECT sealed FROM proof").fetchone()
            if row is None:
                self._ask("INSERT INTO proof VALUES (1, ?)",
                          self._seal(b"kairos", self._key, "proof"))
            else:
                self._open(row[0], self._key, "proof")

    def put(self, profile_id: str, fields: Mapping[str, str], *,
            as_of_ms: int | None = None) -> None:
        """Keep a person's identifiers; `as_of_ms` defaults to now, and newer values stand."""
        when_ms = int(time.time() * 1000) if as_of_ms is None else as_of_ms
        self.put_many([Deposit(profile_id, tuple(fields.items()), when_ms)])

    def put_many(self, deposits: Iterable[Deposit]) -> None:
        """Keep all of them in one transaction."""
        with self._lock, self._writing():
            for deposit in deposits:
                key = self._key_of(deposit.profile_id) or self._new_key(deposit.profile_id)
                for field, value in deposit.fields:
                    bound_to = envelope.binding(deposit.profile_id, field)
                    self._ask(_KEEP, deposit.profile_id, field,
                              self._seal(value.encode(), key, bound_to), deposit.as_of_ms)

    def get(self, profile_id: str, name: str) -> str | None:
        """One identifier; None when unknown or erased."""
        with self._lock:
            row = self._ask("SELECT wrapped_key, sealed FROM people JOIN identifiers "
                            "USING (profile_id) WHERE profile_id = ? AND field = ?",
                            profile_id, name).fetchone()
        if row is None:
            return None
        key = self._open(row[0], self._key, envelope.binding(profile_id, "key"))
        return self._open(row[1], key, envelope.binding(profile_id, name)).decode()

    def forget(self, profile_id: str) -> bool:
        """Destroy the person's key and values for good; True when there were any."""
        with self._lock:
            with self._writing():
                gone = self._ask("DELETE FROM people WHERE profile_id = ?", profile_id).rowcount
            self._ask("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone > 0

    def close(self) -> None:
        self._db.close()

    def _key_of(self, profile_id: str) -> bytes | None:
        row = self._ask("SELECT wrapped_key FROM people WHERE profile_id = ?",
                        profile_id).fetchone()
        if row is None:
            return None
        return self._open(row[0], self._key, envelope.binding(profile_id, "key"))

    def _new_key(self, profile_id: str) -> bytes:
        key = os.urandom(envelope.KEY_BYTES)
        wrapped = self._seal(key, self._key, envelope.binding(profile_id, "key"))
        self._ask("INSERT INTO people VALUES (?, ?)", profile_id, wrapped)
        return key

    def _seal(self, plain: bytes, key: bytes, bound_to: str) -> bytes:
        return envelope.seal(plain, key=key, nonce=os.urandom(envelope.NONCE_BYTES),
                             bound_to=bound_to)

    def _open(self, sealed: bytes, key: bytes, bound_to: str) -> bytes:
        try:
            return envelope.open_sealed(sealed, key=key, bound_to=bound_to)
        except StateError as fault:
            raise StateError(f"{self._path}: {fault.message}", fault.remedy) from None

    def _ask(self, statement: str, *values: str | int | bytes) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.DatabaseError as fault:
            raise UnreachableError(f"the vault {self._path} does not answer: {fault}",
                                   "check the disk's space and the file's rights") from fault

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One write transaction, taken at once so that two processes cannot deadlock."""
        self._ask("BEGIN IMMEDIATE")
        try:
            yield
            self._ask("COMMIT")
        except BaseException:
            self._db.rollback()
            raise
