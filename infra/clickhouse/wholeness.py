"""Whether parts on disk are as long as the engine believes, and what to do with those that are not.

The embedded engine goes on after a write that the system refused (a full disk, a quota, a limit on
files): it commits the part, answers as if all was well, and fails at every later read of it. The
floor of free space (`KAIROS_CLICKHOUSE_FREE_MB_MIN`) keeps it from coming that far; what comes that
far all the same, because another process took the space, is found here by the sizes of the files.

The table is closed, the damaged parts are taken out of its folder, and it is opened again:

- Of a part that an insert made, the deduplication token is forgotten; every insert that was under
  way is refused, because none can tell whose part it was, and is to be sent again.
- In place of a part that a merge or a mutation made, the engine goes back to the parts it was made
  of, which it keeps for eight minutes.

A token whose line the system refused is known only until the table is closed: which one it was,
nobody can tell afterwards.

ALTER TABLE ... DROP PART is not used: it throws those away at once, also where the part that was
made of them is damaged.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from infra.clickhouse import deduplication
from infra.clickhouse.engine import Engine, literal, name
from infra.clickhouse.errors import ClickHouseError

# Files of a part that its checksums, and so its size, leave out.
_UNLISTED = frozenset((
    "checksums.txt", "columns.txt", "columns_substreams.txt", "default_compression_codec.txt",
    "metadata_version.txt", "txn_version.txt", "uuid.txt"))
_ACTIVE = """
SELECT table, name, path, bytes_on_disk FROM system.parts WHERE database = {database} AND active
FORMAT TabSeparatedRaw
"""
_SET_ASIDE = """
SELECT DISTINCT table, path FROM system.detached_parts
WHERE database = {database} AND reason = 'broken-on-start' FORMAT TabSeparatedRaw
"""
# What the engine calls a part that it cannot open; what we call one that has been seen to.
_ASIDE, _SEEN_TO = "broken-on-start_", "broken_"
_INSERTED = re.compile(r".+_(\d+)_\1_0")       # no merge, no mutation
_GATE_WAIT_S = 60.0
_LOG = logging.getLogger("kairos.clickhouse")


@dataclass(frozen=True, slots=True)
class Part:
    """An active part, and how long the engine believes it to be."""

    table: str
    name: str
    path: Path
    size_bytes: int

    @property
    def whole(self) -> bool:
        """True also of a part that the engine has just removed: nobody reads it any more."""
        listed = 0
        try:
            for file in self.path.rglob("*"):
                if not file.is_file():
                    continue
                size = file.stat().st_size
                if file.name not in _UNLISTED:
                    listed += size
                elif size == 0:
                    return False
        except FileNotFoundError:
            return True
        return listed == self.size_bytes or not self.path.exists()


@dataclass(frozen=True, slots=True)
class Began:
    """How often something had been dropped and mended when an insert began."""

    drops_count: int
    mends_count: int


class Wholeness:
    """One per engine; remembers which parts were whole, and how many inserted ones were not."""

    def __init__(self, engine: Engine) -> None:
        """Look at all there is: the engine may have ended before damage was seen to."""
        self._engine, self._lock = engine, threading.Lock()
        self._whole: set[Path] = set()
        self._drops_count = self._mends_count = 0
        self._open = threading.Event()
        self._open.set()
        # Tables whose tokens could not be forgotten yet, and their folders.
        self._owed = {table: Path(path).parent.parent for table, path in self._lines(_SET_ASIDE)}
        self._look()

    def begin(self) -> Began:
        """To be called before an insert writes; what `check` and `blame` need after it."""
        return Began(self._drops_count, self._mends_count)

    def wait(self) -> None:
        """Let a table that is being mended be opened again first."""
        self._open.wait(_GATE_WAIT_S)

    def blame(self, began: Began, fault: ClickHouseError) -> ClickHouseError:
        """What an insert that failed with `fault` is to be told: mending ends what is under way."""
        return fault if self._mends_count == began.mends_count else _cut_short()

    def check(self, began: Began) -> None:
        """Look at every part made since the last look, and mend.

        Raises ClickHouseError (243) when a part of an insert has been dropped since `began`, by
        this look or by another's.
        """
        with self._lock:
            self._look()
            if self._drops_count > began.drops_count:
                raise _cut_short()

    def _look(self) -> None:
        """Raises ClickHouseError (243) when a table must stay as it is until there is space."""
        parts = [Part(table, part, Path(path), int(size))
                 for table, part, path, size in self._lines(_ACTIVE)]
        # A path is never used twice: block numbers only go up, and a new table has a new folder.
        # (A merge done again may: what is taken out is forgotten here.)
        self._whole &= {part.path for part in parts}
        damaged: dict[str, list[Part]] = {}
        for part in parts:
            if part.path in self._whole:
                continue
            if part.whole:
                self._whole.add(part.path)
            else:
                damaged.setdefault(part.table, []).append(part)
        for table, found in damaged.items():
            self._owed[table] = found[0].path.parent
            if not all(_INSERTED.fullmatch(part.name) for part in found):
                _LOG.warning("the system cut a merge of %s short; going back to the parts it was "
                             "made of: is the disk full?", table)
        for table, folder in sorted(self._owed.items()):
            self._mend(table, folder, damaged.get(table, []))

    def _mend(self, table: str, folder: Path, damaged: list[Part]) -> None:
        where = f"{name(self._engine.database)}.{name(table)}"
        self._open.clear()
        self._mends_count += 1
        try:
            # Again when the engine itself set a part aside: an insert was committed meanwhile.
            while damaged or _aside(folder):
                self._engine.ask(f"DETACH TABLE IF EXISTS {where} SYNC")
                try:
                    for part in damaged:
                        _set_aside(folder, part.name)
                    damaged = []
                    self._drops_count += _forget(folder)
                finally:
                    self._engine.ask(f"ATTACH TABLE {where}")
            del self._owed[table]
        except OSError as fault:
            raise ClickHouseError(243, f"What the system cut short of {table} cannot be seen to: "
                                       f"{fault.strerror}. Free space on the disk and insert "
                                       "again, under the same insert_deduplication_token",
                                  "NOT_ENOUGH_SPACE") from fault
        finally:
            self._open.set()

    def _lines(self, query: str) -> list[list[str]]:
        answer = self._engine.ask(query.format(database=literal(self._engine.database)))
        return [line.split("\t") for line in answer.decode().splitlines()]


def _cut_short() -> ClickHouseError:
    return ClickHouseError(243, "The system cut a write short, and what was cut is not kept: is "
                                "the disk full? Free space and insert again, under the same "
                                "insert_deduplication_token", "NOT_ENOUGH_SPACE")


def _aside(folder: Path) -> dict[str, Path]:
    """Parts that cannot be opened and have not been seen to."""
    return {path.name.removeprefix(_ASIDE): path
            for path in (folder / "detached").glob(f"{_ASIDE}*")}


def _set_aside(folder: Path, part: str) -> None:
    (folder / part).rename(_free(folder / "detached" / f"{_ASIDE}{part}"))


def _forget(folder: Path) -> int:
    """Give back the tokens of inserted parts that lie aside; returns how many parts these were."""
    aside = _aside(folder)
    inserted = {part for part in aside if _INSERTED.fullmatch(part)}
    deduplication.forget(folder, inserted)
    for part, path in aside.items():
        path.rename(_free(path.with_name(f"{_SEEN_TO}{part}")))
    return len(inserted)


def _free(target: Path) -> Path:
    """`target`, without what is left of an earlier part of the name."""
    if target.exists():
        shutil.rmtree(target)
    return target
