"""Values of a row: which column, and how its content becomes a text, a number or a list.

A mapping speaks of columns; a row is a dict. Columns of nested JSON are dotted paths (`user.id`,
`items.0.sku`); a column whose very name holds dots is found first. Whatever does not fit raises
`Unfit`, which is caught in one place and becomes a reject with its line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

Row = Mapping[str, Any]
Getter = Callable[[Row], Any]

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class Unfit(ValueError):
    """A row does not fit the mapping. `reason` is a stable code; `column` names the culprit."""

    def __init__(self, reason: str, column: str, detail: str) -> None:
        super().__init__(f"{column}: {detail}")
        self.reason, self.column, self.detail = reason, column, detail


@dataclass(frozen=True, slots=True)
class Numbers:
    """How numbers are written: decimal mark, thousands mark, characters to strip (`£ `)."""

    decimal: str = "."
    thousands: str = ""
    strip: str = ""


@dataclass(frozen=True, slots=True)
class Value:
    """What a field is taken from: one of column, template, constant; then what is done to it.

    default    used when the column is missing or empty
    values     a map from what the column says to what the event shall say; others are refused
    times      factor for numbers; absolute: drop the sign; lower: lower-case
    """

    column: str = ""
    template: str = ""
    constant: object = None
    default: object = None
    values: tuple[tuple[str, str], ...] = ()
    times: float = 1.0
    absolute: bool = False
    lower: bool = False
    line: int = 0

    def columns(self) -> list[str]:
        """Every column this value reads."""
        return [self.column] if self.column else _PLACEHOLDER.findall(self.template)


def getter(column: str) -> Getter:
    """Reads `column`, by its exact name or along its dots; None when it is not there."""
    steps = column.split(".")

    def nested(row: Row) -> Any:
        found: Any = row.get(column)
        if found is not None:
            return found
        found = row
        for step in steps:
            if isinstance(found, Mapping):
                found = found.get(step)
            elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            else:
                return None
        return found

    if len(steps) == 1:
        return lambda row: row.get(column)
    return nested


def is_missing(content: Any, blanks: frozenset[str]) -> bool:
    """None, NaN, an empty text or one of the file's own words for nothing."""
    if content is None:
        return True
    if isinstance(content, str):
        return content.strip() in blanks
    return isinstance(content, float) and math.isnan(content)


def as_text(content: Any, column: str) -> str:
    """`content` as a text. Whole floats lose their `.0`: an id read as 13085.0 is 13085."""
    if isinstance(content, str):
        return content.strip()
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, int):
        return str(content)
    if isinstance(content, float):
        return str(int(content)) if content.is_integer() and abs(content) < 2**63 else repr(content)
    if isinstance(content, Decimal):
        return f"{content.normalize():f}"
    if isinstance(content, datetime | date):
        return content.isoformat()
    if isinstance(content, bytes):
        return content.decode("utf-8", "replace").strip()
    if isinstance(content, list):
        raise Unfit("wrong_type", column, f"a list is not a text; name one of it, like {column}.0")
    if isinstance(content, Mapping):
        part = next(iter(content), "name")
        raise Unfit("wrong_type", column,
                    f"an object is not a text; name one part of it, like {column}.{part}")
    raise Unfit("wrong_type", column, f"a {type(content).__name__} is not a text")


def as_number(content: Any, column: str, written: Numbers) -> float:
    """`content` as a finite number."""
    if type(content) is float and math.isfinite(content):
        return content
    if isinstance(content, bool) or not isinstance(content, int | float | Decimal | str):
        raise Unfit("wrong_type", column, f"a {type(content).__name__} is not a number")
    try:
        number = float(_plain(content, written) if isinstance(content, str) else content)
    except (ValueError, OverflowError):
        hint = ("; say how numbers are written in the mapping: numbers: {decimal: ','}"
                if isinstance(content, str) and any(map(str.isdigit, content)) else "")
        raise Unfit("not_a_number", column,
                    f"{str(content)[:60]!r} is not a number{hint}") from None
    if not math.isfinite(number):
        raise Unfit("not_a_number", column, f"{content!r} is not a finite number")
    return number


def _plain(text: str, written: Numbers) -> str:
    plain = text.strip().strip(written.strip).strip() if written.strip else text.strip()
    if "_" in plain:                       # Python would read 1_000 as a thousand; a file does not
        raise ValueError(plain)
    if written.thousands:
        plain = plain.replace(written.thousands, "")
    return plain.replace(written.decimal, ".") if written.decimal != "." else plain


def compile_content(value: Value, blanks: frozenset[str]) -> Getter:
    """The content of `value` in a row, as the file holds it; None if missing."""
    if value.template:
        return _template(value, blanks)
    if not value.column:
        return lambda row: value.constant
    get, table = getter(value.column), dict(value.values)

    def content(row: Row) -> Any:
        found = get(row)
        if is_missing(found, blanks):
            return value.default
        if not table:
            return found
        word = as_text(found, value.column)
        if word not in table:
            raise Unfit("unknown_value", value.column, f"{word[:60]!r} is not in the map of values")
        return table[word]

    return content


def _template(value: Value, blanks: frozenset[str]) -> Getter:
    parts = _PLACEHOLDER.split(value.template)          # text, column, text, column, ..., text
    gets = [getter(name) for name in parts[1::2]]

    def content(row: Row) -> Any:
        text = parts[0]
        for name, get, after in zip(parts[1::2], gets, parts[2::2], strict=True):
            found = get(row)
            if is_missing(found, blanks):
                return value.default
            text += as_text(found, name) + after
        return text

    return content


def compile_text(value: Value, blanks: frozenset[str]) -> Callable[[Row], str | None]:
    """`value` as a text, None when missing."""
    content, name = compile_content(value, blanks), value.column or value.template

    def text(row: Row) -> str | None:
        found = content(row)
        if found is None:
            return None
        word = as_text(found, name)
        return word.lower() if value.lower else word

    return text


def compile_property(value: Value, blanks: frozenset[str]) -> Callable[[Row], str | None]:
    """`value` as a text, None when missing; a list of plain values becomes its JSON."""
    content, name = compile_content(value, blanks), value.column or value.template

    def text(row: Row) -> str | None:
        found = content(row)
        if found is None:
            return None
        word = _list_text(found, name) if isinstance(found, list) else as_text(found, name)
        return word.lower() if value.lower else word

    return text


def _list_text(found: list[Any], column: str) -> str:
    parts = [part if part is None or isinstance(part, str | bool | int | float)
             else as_text(part, f"{column}.{place}") for place, part in enumerate(found)]
    try:
        return orjson.dumps(parts).decode()
    except (orjson.JSONEncodeError, UnicodeError) as fault:
        raise Unfit("wrong_type", column, f"the list is not JSON ({str(fault)[:60]})") from None


def compile_number(value: Value, blanks: frozenset[str],
                   written: Numbers) -> Callable[[Row], float | None]:
    """`value` as a number, None when missing."""
    content, name = compile_content(value, blanks), value.column or value.template

    def number(row: Row) -> float | None:
        found = content(row)
        if found is None:
            return None
        amount = as_number(found, name, written) * value.times
        return abs(amount) if value.absolute else amount

    return number
