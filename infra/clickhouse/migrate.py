"""Applies the numbered DDL of `migrations/` once each, in order, and remembers what it applied.

Migrations are append-only: the ledger `schema_migrations` keeps a checksum of each, and an applied
file that has changed since is an error, because the tables of this database were made by the old
text. A statement that fails leaves its number out of the ledger; all statements are written so that
the next run may repeat them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from streams.kernel.errors import StateError

HERE = Path(__file__).resolve().parent / "migrations"
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt32 COMMENT 'Number of the migration file',
    name String COMMENT 'Its name',
    checksum String COMMENT 'SHA-256 of its text',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was applied'
)
ENGINE = MergeTree ORDER BY number COMMENT 'Which DDL migrations this database has had'
"""


class Client(Protocol):
    """The one call of a clickhouse-connect client that migrations need."""

    def command(self, cmd: str) -> object: ...


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """Statements end with a semicolon at the end of a line; `--` lines are comments."""
        lines = [line for line in self.text.splitlines() if not line.lstrip().startswith("--")]
        parts = re.split(r";[ \t]*(?:\n|$)", "\n".join(lines))
        return [part.strip() for part in parts if part.strip()]


def load(folder: Path = HERE) -> list[Migration]:
    """The migrations of `folder` by number. Raises StateError on a gap, a repeat or a bad name."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise StateError(f"{path.name}: not a migration's name",
                             "call it 0007_what_it_does.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text("utf-8")))
    numbers = [migration.number for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise StateError(f"migrations are numbered {numbers}",
                         "number them 1, 2, 3, … without gaps")
    return found


def pending(known: list[Migration], applied: dict[int, str]) -> list[Migration]:
    """Those of `known` that are not in `applied` (number -> checksum).

    Raises StateError when an applied migration was edited, or when the database is newer than us.
    """
    for migration in known:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise StateError(
                f"migration {migration.number:04d}_{migration.name}.sql was edited after it was "
                "applied", "put the change into a new migration and restore the old file")
    unknown = sorted(set(applied) - {migration.number for migration in known})
    if unknown:
        raise StateError(f"the database has migrations {unknown} that this version does not know",
                         "run the newer version of Kairos, or use another database")
    return [migration for migration in known if migration.number not in applied]


def apply(client: Client, folder: Path = HERE) -> list[str]:
    """Bring the client's database up to date; the names of what was applied, in order."""
    client.command(_LEDGER)
    done = []
    for migration in pending(load(folder), _applied(client)):
        for statement in migration.statements:
            client.command(statement)
        client.command(
            "INSERT INTO schema_migrations (number, name, checksum) "
            f"VALUES ({migration.number}, '{migration.name}', '{migration.checksum}')")
        if migration.number not in _applied(client):     # an embedded insert may fail in silence
            raise StateError(f"migration {migration.number} was applied but not entered",
                             "look at ClickHouse's log and disk, then start again")
        done.append(f"{migration.number:04d}_{migration.name}")
    return done


def _applied(client: Client) -> dict[int, str]:
    answer = client.command(
        "SELECT arrayStringConcat(groupArray(concat(toString(number), '=', checksum)), ',') "
        "FROM schema_migrations")
    pairs = (pair.partition("=") for pair in str(answer or "").strip().split(",") if "=" in pair)
    return {int(number): checksum for number, _, checksum in pairs}
