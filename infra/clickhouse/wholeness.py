"""Whether parts on disk are as long as the engine believes, and what to do with those that are not.

The embedded engine goes on after a write that the system refused (a full disk, a quota, a limit on
files): it commits the part, answers as if all was well, and fails at every later read of it. The
floor of free space (`KAIROS_CLICKHOUSE_FREE_MB_MIN`) keeps it from coming that far; what comes that
far all the same, because another process took the space, is found here by the sizes of the files.

- A part that an insert made is dropped and with it its deduplication token; every insert that was
  under way is refused, because none can tell whose part it was, and is to be sent again.
- A part that a merge or a mutation made is given up by loading the table anew: the engine then goes
  back to the parts it was made of, which it keeps for eight minutes.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from infra.clickhouse.engine import Engine, literal, name
from infra.clickhouse.errors import ClickHouseError

# Files of a part that its checksums, and so its size, leave out.
_UNLISTED = frozenset((
    "checksums.txt", "columns.txt", "columns_substreams.txt", "default_compression_codec.txt",
    "metadata_version.txt", "txn_version.txt", "uuid.txt"))
# The engine stamps a part in whole seconds.
_SLACK_S = 2.0
_RECENT = """
SELECT table, name, path, bytes_on_disk, active, level = 0 AND min_block_number = max_block_number
       AND data_version = min_block_number
FROM system.parts WHERE database = {database} AND modification_time >= toDateTime({since})
FORMAT TabSeparatedRaw
"""
_LOG = logging.getLogger("kairos.clickhouse")


@dataclass(frozen=True, slots=True)
class Part:
    """`inserted` tells a part that an insert made from one that a merge or a mutation made."""

    table: str
    name: str
    path: Path
    size_bytes: int
    active: bool
    inserted: bool

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


class Wholeness:
    """One per engine; remembers up to when it has looked, and how many parts it has dropped."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, threading.Lock()
        self._since_s = time.time()
        self._drops_count = 0

    def begin(self) -> int:
        """To be called before an insert writes; what `check` needs after it."""
        return self._drops_count

    def check(self, began: int) -> None:
        """Look at every part made since the last look, and mend.

        Raises ClickHouseError (243) when a part of an insert has been dropped since `began`, by
        this look or by another's.
        """
        with self._lock:
            now_s = time.time()
            damaged = [part for part in self._recent() if part.active and not part.whole]
            for part in damaged:
                if part.inserted:
                    self._drops_count += 1
                    self._engine.ask(f"ALTER TABLE {self._of(part)} "
                                     f"DROP PART {literal(part.name)}")
            for table in {part.table: part for part in damaged if not part.inserted}.values():
                _LOG.warning("the system cut a merge of %s short; going back to the parts it was "
                             "made of: is the disk full?", table.table)
                self._engine.ask(f"DETACH TABLE {self._of(table)} SYNC")
                self._engine.ask(f"ATTACH TABLE {self._of(table)}")
            self._since_s = now_s
            if self._drops_count > began:
                raise ClickHouseError(243, "The system cut a write short, and what was cut is not "
                                           "kept: is the disk full? Free space and insert again, "
                                           "under the same insert_deduplication_token",
                                      "NOT_ENOUGH_SPACE")

    def _recent(self) -> list[Part]:
        answer = self._engine.ask(_RECENT.format(
            database=literal(self._engine.database), since=int(self._since_s - _SLACK_S)))
        rows = (line.split("\t") for line in answer.decode().splitlines())
        return [Part(table, part, Path(path), int(size), active == "1", inserted == "1")
                for table, part, path, size, active, inserted in rows]

    def _of(self, part: Part) -> str:
        return f"{name(self._engine.database)}.{name(part.table)}"
