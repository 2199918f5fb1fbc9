"""Rows with the same key become one event with lines, wherever in the file they stand.

Groups grow in memory; when they hold more rows than allowed they go to disk as parts, and parts of
one group are joined again at the end. The first row in the file speaks for its group: its fields
are the event's, and rows that disagree with it about a `same` column are rejected.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.worlds.building import Builder
from streams.worlds.sorting import Sorter
from streams.worlds.values import Row, Unfit

Key = tuple[str, ...]


@dataclass(slots=True)
class Group:
    """One event in the making. `rows`: the lines of the file it is made of."""

    event_id: str
    fields: dict[str, Any]
    same: tuple[str | None, ...]
    first_ms: int
    last_ms: int
    lines: bytearray = field(default_factory=bytearray)
    rows: list[int] = field(default_factory=list)

    def add(self, lines: bytes | bytearray) -> None:
        if self.lines and lines:
            self.lines += b","
        self.lines += lines

    def join(self, later: Group) -> None:
        self.first_ms = min(self.first_ms, later.first_ms)
        self.last_ms = max(self.last_ms, later.last_ms)
        self.add(later.lines)
        self.rows += later.rows


class Groups:
    """Take rows, then `finished` gives every group once, in order of its first row."""

    def __init__(self, builder: Builder, folder: Path, memory_rows: int = 2_000_000) -> None:
        assert builder.mapping.group is not None
        self._builder, self._memory_rows = builder, memory_rows
        self._columns = builder.mapping.group.same
        self._open: dict[Key, Group] = {}
        self._held_rows = 0
        self._parts = Sorter(folder, memory_items=1 << 62)

    def take(self, event_type: str, row: Row, line: int) -> int:
        """Add a row to its group; returns the row's time.

        Raises Unfit when it does not fit; the group is unharmed.
        """
        key = self._builder.group_key(event_type, row)
        same, moment_ms = self._builder.same(row), self._builder.moment(row)
        lines = self._builder.lines(event_type, row)
        group = self._open.get(key)
        if group is None:
            group = self._open[key] = Group(
                self._builder.event_id(event_type, row, line, key),
                self._builder.fields(event_type, row, line), same, moment_ms, moment_ms)
        else:
            self._check(group, same)
        group.first_ms, group.last_ms = (min(group.first_ms, moment_ms),
                                         max(group.last_ms, moment_ms))
        group.add(lines)
        group.rows.append(line)
        self._held_rows += 1
        if self._held_rows >= self._memory_rows:
            self._spill()
        return moment_ms

    def _check(self, group: Group, same: tuple[str | None, ...]) -> None:
        if same != group.same:
            at = next(i for i, word in enumerate(same) if word != group.same[i])
            raise Unfit("group_disagrees", self._columns[at],
                        f"differs from the group's first row, line {group.rows[0]}")

    def _spill(self) -> None:
        for key, group in self._open.items():
            self._parts.add((key, group.rows[0]), pickle.dumps(group, pickle.HIGHEST_PROTOCOL))
        self._parts.spill()
        self._open, self._held_rows = {}, 0

    def finished(self) -> Iterator[tuple[Group, list[tuple[int, Unfit]]]]:
        """(group, rejected rows of it)."""
        if not self._parts.count:
            for group in self._open.values():
                yield group, []
            self._open = {}
            return
        self._spill()
        yield from self._joined()

    def _joined(self) -> Iterator[tuple[Group, list[tuple[int, Unfit]]]]:
        standing: tuple[Key, Group, list[tuple[int, Unfit]]] | None = None
        for (key, _), payload in self._parts:
            part: Group = pickle.loads(payload)
            if standing is None or standing[0] != key:
                if standing is not None:
                    yield standing[1], standing[2]
                standing = (key, part, [])
                continue
            try:
                self._check(standing[1], part.same)
                standing[1].join(part)
            except Unfit as fault:
                standing[2].extend((line, fault) for line in part.rows)
        if standing is not None:
            yield standing[1], standing[2]

    def close(self) -> None:
        self._parts.close()
