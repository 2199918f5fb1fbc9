"""From one row to what it says: its event type, its time, the event's fields, its lines.

A `Builder` is a mapping compiled to functions. It knows nothing of other rows: rows that belong
together are put together in `grouping`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from streams.kernel import ids
from streams.worlds.conditions import compile_condition
from streams.worlds.mapping import NUMBER_FIELDS, LineRule, Mapping
from streams.worlds.times import compile_time
from streams.worlds.values import (
    Row,
    Unfit,
    Value,
    as_text,
    compile_number,
    compile_property,
    compile_text,
    getter,
    is_missing,
)

Fields = dict[str, Any]
_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def content_id(row: Row) -> str:
    """An id of everything a row says; equal rows have equal ids."""
    return ids.derive("replayed-row", orjson.dumps(row, default=str, option=_SORTED).decode())


class Builder:
    """`mapping`, compiled. All methods that take a row raise Unfit when it does not fit."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self._blanks, self._numbers = mapping.blanks, mapping.numbers
        self.moment = compile_time(mapping.time, self._blanks)
        self._leave_out = [(compile_condition(rule.when, self._blanks, self._numbers), rule.word)
                           for rule in mapping.leave_out]
        self._types = [(compile_condition(rule.when, self._blanks, self._numbers), rule.word)
                       for rule in mapping.type.rules]
        self._type_of = getter(mapping.type.column) if mapping.type.column else None
        self._type_words = dict(mapping.type.values)
        self._fields = [(name, self._field(name, value)) for name, value in mapping.fields]
        self._properties = [(name, compile_property(value, self._blanks))
                            for name, value in mapping.properties]
        self._traits = [(name, compile_text(value, self._blanks)) for name, value in mapping.traits]
        self._anonymous = self.text(mapping.anonymous) if mapping.anonymous else None
        self._event_id = self._id_of(mapping.event_id) if mapping.event_id else None
        self._line = _line(mapping.lines, self) if mapping.lines else None
        self._items = getter(mapping.lines.items) if mapping.lines and mapping.lines.items else None
        self._explode = getter(mapping.explode) if mapping.explode else None
        self.line_types = frozenset(mapping.lines.types if mapping.lines else ())
        self.group_types = frozenset(mapping.group.types if mapping.group else ())
        self._by = [(name, getter(name)) for name in mapping.group.by] if mapping.group else []
        self._same = [(name, getter(name)) for name in mapping.group.same] if mapping.group else []

    def text(self, value: Value) -> Callable[[Row], str | None]:
        return compile_text(value, self._blanks)

    def number(self, value: Value) -> Callable[[Row], float | None]:
        return compile_number(value, self._blanks, self._numbers)

    def _field(self, name: str, value: Value) -> Callable[[Row], Any]:
        return self.number(value) if name in NUMBER_FIELDS else self.text(value)

    def _id_of(self, value: Value) -> Callable[[Row], str | None]:
        template = self.text(value)
        reads_content = "{content}" in value.template

        def event_id(row: Row) -> str | None:
            return template({**row, "content": content_id(row)} if reads_content else row)

        return event_id

    def elements(self, row: Row) -> Iterator[Row]:
        """The row itself, or one row for each element of its exploded list.

        An element takes the place of the list under the list's own name.
        """
        if self._explode is None:
            yield row
            return
        path, found = self.mapping.explode, self._explode(row)
        if not isinstance(found, list):
            raise Unfit("wrong_type", path, "is missing" if found is None else
                        f"is a {type(found).__name__}, not a list")
        for element in found:
            yield {**row, path: element} if "." not in path else _replaced(
                row, path.split("."), element)

    def left_out(self, row: Row) -> str:
        """The reason to leave the row out on purpose, or an empty text."""
        for test, reason in self._leave_out:
            if test(row):
                return reason
        return ""

    def event_type(self, row: Row) -> str:
        for test, word in self._types:
            if test(row):
                return word
        rule = self.mapping.type
        if self._type_of is not None:
            found = self._type_of(row)
            if not is_missing(found, self._blanks):
                word = as_text(found, rule.column)
                known = self._type_words.get(word) if self._type_words else word
                if known is not None:
                    return known
                if not rule.otherwise:
                    raise Unfit("unknown_type", rule.column, f"{word[:60]!r} is no known type")
        if not rule.otherwise:
            raise Unfit("unknown_type", rule.column, "no rule gives the row an event type")
        return rule.otherwise

    def group_key(self, event_type: str, row: Row) -> tuple[str, ...]:
        """The event type and the texts of the `by` columns."""
        return (event_type, *(self._key_part(name, get(row)) for name, get in self._by))

    def _key_part(self, name: str, content: Any) -> str:
        if is_missing(content, self._blanks):
            raise Unfit("missing_key", name, "the column that groups rows is empty")
        return as_text(content, name)

    def same(self, row: Row) -> tuple[str | None, ...]:
        return tuple(None if is_missing(content := get(row), self._blanks)
                     else as_text(content, name) for name, get in self._same)

    def fields(self, event_type: str, row: Row, line: int) -> Fields:
        """The event's fields, but for event_id, event_ms and lines. Missing ones are not there."""
        found: Fields = {"event_type": event_type}
        for name, get in self._fields:
            content = get(row)
            if content is not None:
                found[name] = content
        if "user_id" not in found and "anonymous_id" not in found:
            self._missing_customer(found, row)
        for key, pairs in (("properties", self._properties), ("traits", self._traits)):
            inner = {name: content for name, get in pairs if (content := get(row)) is not None}
            if inner:
                found[key] = inner
        return found

    def _missing_customer(self, found: Fields, row: Row) -> None:
        if self.mapping.missing_customer == "reject":
            raise Unfit("no_customer", "user_id", "nobody is named")
        visitor = self._anonymous(row) if self._anonymous is not None else None
        if visitor is not None:
            found["anonymous_id"] = visitor

    def event_id(self, event_type: str, row: Row, line: int, key: tuple[str, ...] | None) -> str:
        """The template's, else one of the group's key, else of the row's content or line."""
        if self._event_id is not None:
            found = self._event_id({**row, "line": line})
            if found is None:
                raise Unfit("missing_key", "event_id", "a column of the event id is empty")
            return found
        if key is not None:
            return ids.derive("replayed-group", self.mapping.tenant, *key)
        if self.mapping.duplicates == "distinct":
            return ids.derive("replayed-line", self.mapping.tenant, self.mapping.name, line,
                              content_id(row))
        return ids.derive("replayed-event", self.mapping.tenant, event_type, content_id(row))

    def lines(self, event_type: str, row: Row) -> bytes:
        """The lines that this row adds to its event, as JSON objects with commas between."""
        if self._line is None or event_type not in self.line_types:
            return b""
        if self._items is None:
            return self._line(row)
        name, items = self.mapping.lines.items if self.mapping.lines else "", self._items(row)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise Unfit("wrong_type", name, "is not a list of objects")
        return b",".join([self._line(item) for item in items])


def _line(rule: LineRule, builder: Builder) -> Callable[[Row], bytes]:
    item_id, quantity = builder.text(rule.item_id), builder.number(rule.quantity)
    price = builder.number(rule.price) if rule.price else None
    total = builder.number(rule.total) if rule.total else None
    name = rule.item_id.column or rule.item_id.template

    def line(row: Row) -> bytes:
        item = item_id(row)
        if item is None:
            raise Unfit("missing_item", name, "the line names no item")
        units = quantity(row)
        units = 1.0 if units is None else units
        if price is not None:
            unit_price = price(row) or 0.0
        else:
            whole = total(row) if total is not None else None
            if whole and not units:
                raise Unfit("no_quantity", rule.quantity.column, "a total without a quantity")
            unit_price = round(whole / units, 6) if whole else 0.0
        return b'{"item_id":%b,"quantity":%b,"price":%b}' % (
            orjson.dumps(item), repr(units).encode(), repr(unit_price).encode())

    return line


def _replaced(row: Row, steps: list[str], element: Any) -> dict[str, Any]:
    copy = dict(row)
    inner = copy.get(steps[0])
    copy[steps[0]] = element if len(steps) == 1 else _replaced(
        inner if isinstance(inner, dict) else {}, steps[1:], element)
    return copy
