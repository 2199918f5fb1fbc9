"""Read a YAML file strictly: every key is taken once, with its line; what is left over is an error.

Used for replay mappings and for the catalogues of simulated worlds. Faults are MappingErrors that
say where, what is wrong and what to write instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError

from streams.kernel.errors import MappingError


class Section:
    """One mapping of the file. `where` is its dotted path, for messages."""

    def __init__(self, file: str, content: Any, *, where: str = "", line: int = 1) -> None:
        self.file, self.where, self.first_line = file, where, line
        if not isinstance(content, CommentedMap):
            self.fail_here(f"'{where or 'the file'}' must be a mapping of keys to values",
                           "write `key: value` lines below it")
        self._content: CommentedMap = content
        self._taken: set[str] = set()

    def line(self, key: str) -> int:
        """The 1-based line of `key`, or of the section when the key is not there."""
        place = self._content.lc.data.get(key) if self._content.lc.data else None
        return place[0] + 1 if place else self.first_line

    def fail(self, key: str, fault: str, remedy: str = "") -> NoReturn:
        raise MappingError(self.file, self.line(key), f"{self.path(key)}: {fault}", remedy)

    def fail_here(self, fault: str, remedy: str = "") -> NoReturn:
        raise MappingError(self.file, self.first_line, fault, remedy)

    def path(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def has(self, key: str) -> bool:
        return key in self._content

    def names(self) -> list[str]:
        return [str(key) for key in self._content]

    def raw(self, key: str, default: Any = None) -> Any:
        self._taken.add(key)
        return self._content.get(key, default)

    def text(self, key: str, default: str | None = None) -> str:
        """A text or number as text; required when `default` is None."""
        value = self.raw(key)
        if value is None:
            if default is None:
                self.fail(key, "is required")
            return default
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self.fail(key, "must be a text")
        return str(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.raw(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"{value!r} is neither true nor false")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.raw(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(key, f"{value!r} is not a number")
        return float(value)

    def choice(self, key: str, options: Iterable[str], default: str) -> str:
        value, known = self.text(key, default), list(options)
        if value not in known:
            self.fail(key, f"'{value}' is not known", one_of(value, known))
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of texts; one text alone is a list of one."""
        value = self.raw(key)
        if value is None:
            return default
        parts = value if isinstance(value, list) else [value]
        for part in parts:
            if isinstance(part, bool) or not isinstance(part, str | int | float):
                self.fail(key, f"{part!r} is not a text")
        return tuple(str(part) for part in parts)

    def section(self, key: str) -> Section | None:
        value = self.raw(key)
        if value is None:
            return None
        return Section(self.file, value, where=self.path(key), line=self.line(key))

    def sections(self, key: str) -> list[Section]:
        """A list of mappings, each with its own line."""
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fail(key, "must be a list", "write one `- key: value` block for each entry")
        lines = getattr(value, "lc", None)
        return [Section(self.file, part, where=f"{self.path(key)}[{i}]",
                        line=lines.item(i)[0] + 1 if lines else self.line(key))
                for i, part in enumerate(value)]

    def close(self) -> None:
        """Nothing may be left over. Raises MappingError with the nearest key that is known."""
        for key in self.names():
            if key not in self._taken:
                self.fail(key, "is not a key here", one_of(key, sorted(self._taken)))


def one_of(wrong: str, known: Iterable[str]) -> str:
    """A remedy: the nearest known name, or all of them."""
    names = [name for name in known if name]
    near = difflib.get_close_matches(wrong, names, 1, 0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"use one of: {', '.join(names)}" if names else ""


def read(path: Path) -> Section:
    """The whole file as a section. Raises MappingError for what is no YAML mapping."""
    try:
        content = YAML(typ="rt", pure=True).load(path.read_text("utf-8-sig"))
    except OSError as fault:
        raise MappingError(str(path), 1, f"cannot be read ({fault.strerror})",
                           "check the path and its permissions") from None
    except UnicodeDecodeError:
        raise MappingError(str(path), 1, "is not UTF-8 text", "save it as UTF-8") from None
    except MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        raise MappingError(str(path), mark.line + 1 if mark else 1,
                           f"is not YAML: {fault.problem or fault.context}",
                           "check indentation, colons and quotes on that line") from None
    return Section(str(path), content)
