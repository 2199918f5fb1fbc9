"""The tokens that a table of the embedded engine remembers, as the lines of its own log.

    1<TAB>part<TAB>token      inserted under this token
    2<TAB>part<TAB>token      dropped: the token may be used again

To be touched only while the engine does not have the table open. Source: ClickHouse,
MergeTreeDeduplicationLog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_LINE = re.compile(r"([12])\t([^\t]+)\t[^\t]+")
_NUMBER = re.compile(r"deduplication_log_(\d+)\.txt")


def forget(table: Path, parts: Iterable[str]) -> None:
    """Give back the tokens of these parts, and take out lines that the system cut short.

    A number that was free again may have been used again: of a name that is a part of `table` now,
    the newest token stays. Written over in place, because the disk may be full.

    table   the folder of the table's parts
    """
    wanted = set(parts)
    kept = {part for part in wanted if (table / part).exists()}
    for log in sorted((table / "deduplication_logs").glob("*.txt"), key=_number, reverse=True):
        said = log.read_text("utf-8", "replace")
        lines = []
        for line in reversed(said.splitlines()):
            found = _LINE.fullmatch(line)
            if found is None:
                continue
            part = found[2]
            if found[1] == "1" and part in kept:
                kept.discard(part)
            elif part in wanted:
                line = f"2{line[1:]}"
            lines.append(f"{line}\n")
        _overwrite(log, said, "".join(reversed(lines)))


def _number(log: Path) -> int:
    found = _NUMBER.fullmatch(log.name)
    return int(found[1]) if found else 0


def _overwrite(log: Path, said: str, text: str) -> None:
    """`text` is no longer than `said`, so this takes no space."""
    if text == said:
        return
    with open(log, "r+b") as file:
        file.write(text.encode())
        file.truncate()
