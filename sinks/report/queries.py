"""The report's questions: one `.sql` file each, kept beside the answer they gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent / "sql"

Row = dict[str, Any]
Ask = Callable[[str, Mapping[str, Any]], list[Row]]
"""Runs SQL with bound parameters; returns its rows by column name."""


@cache
def text(name: str) -> str:
    """The SQL of question `name`, as analysts may paste it."""
    return (HERE / f"{name}.sql").read_text("utf-8").strip()


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.sql"))


@dataclass(slots=True)
class Answers:
    """Asks each question once; `worlds` limits the answers to these tenants, empty means all.

    parameters   k_min: segments of fewer people have no size
    """

    ask: Ask
    parameters: Mapping[str, Any]
    worlds: frozenset[str] = frozenset()
    _rows: dict[str, list[Row]] = field(default_factory=dict)

    def rows(self, name: str) -> list[Row]:
        """The answer to question `name`, without the worlds that were not asked for."""
        if name not in self._rows:
            wanted = {key: value for key, value in self.parameters.items()
                      if f"{{{key}:" in text(name)}
            self._rows[name] = self.ask(text(name), wanted)
        return [row for row in self._rows[name]
                if not self.worlds or row.get("world", "") in self.worlds | {""}]

    def of_all(self, name: str) -> list[Row]:
        """The answer to question `name`, of every world."""
        self.rows(name)
        return self._rows[name]

    def by_world(self, name: str, world: str) -> list[Row]:
        """The rows of one world, without the column that says so."""
        return [{key: value for key, value in row.items() if key != "world"}
                for row in self.rows(name) if row["world"] == world]
