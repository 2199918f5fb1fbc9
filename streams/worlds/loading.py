"""Load a replay mapping from YAML; every fault names file, line and remedy (MappingError)."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

from streams.kernel.local_time import zone_of
from streams.kernel.moments import parse_span
from streams.worlds.loading_parts import condition, value
from streams.worlds.mapping import (
    FIELDS,
    PURPOSES,
    CatalogueRule,
    ConsentRule,
    FileForm,
    GroupRule,
    LineRule,
    Mapping,
    Rule,
    TypeRule,
)
from streams.worlds.sections import Section, one_of, read
from streams.worlds.times import NAMED, TimeRule
from streams.worlds.values import Numbers, Value

_SNAKE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


def load(path: Path) -> Mapping:
    """The mapping in the file at `path`. Raises MappingError."""
    top = read(path)
    name = _named(top, "name", re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-.") or "replay")
    fields = _fields(top)
    if top.has("currency"):
        fields += (("currency", Value(constant=top.text("currency"), line=top.line("currency"))),)
    anonymous = value(top, "anonymous") if top.has("anonymous") else None
    missing = top.choice("missing_customer", ("keep", "reject", "anonymous"),
                         "anonymous" if anonymous else "keep")
    if missing == "anonymous" and anonymous is None:
        top.fail("missing_customer", "'anonymous' needs to know which column names the visitor",
                 "add `anonymous: <column>`")
    mapping = Mapping(
        file=str(path), name=name, tenant=_named(top, "tenant", "default"),
        source=top.text("source", f"replay/{name}"), time=_time(top), type=_type(top),
        fields=fields, form=_form(top), blanks=frozenset({"", *top.texts("missing")}),
        numbers=_numbers(top), explode=top.text("explode", ""),
        leave_out=tuple(Rule(condition(part, "when"), _closing(part, part.text("reason")))
                        for part in top.sections("leave_out")),
        properties=_pairs(top, "properties"), traits=_pairs(top, "traits"),
        lines=_lines(top), group=_group(top),
        missing_customer=cast(Literal["keep", "reject", "anonymous"], missing),
        anonymous=anonymous, consent=_consent(top),
        event_id=value(top, "event_id") if top.has("event_id") else None,
        duplicates=cast(Literal["same", "distinct"],
                        top.choice("duplicates", ("same", "distinct"), "same")),
        catalogue=_catalogue(top))
    _event_id_template(top, mapping)
    top.close()
    return mapping


def _closing(section: Section, result: str) -> str:
    section.close()
    return result


def _named(top: Section, key: str, default: str) -> str:
    text = top.text(key, default)
    if not _TENANT.match(text):
        top.fail(key, f"'{text}' is no name", "use letters, digits, '.', '_' and '-', at most 64")
    return text


def _fields(top: Section) -> tuple[tuple[str, Value], ...]:
    block = top.section("fields")
    if block is None:
        top.fail_here("'fields' is required: which columns hold the person and the item?",
                      "fields:\n  user_id: <column>")
    for key in block.names():
        if key not in FIELDS:
            block.fail(key, "is no field of an event", one_of(key, FIELDS))
    return tuple((key, value(block, key)) for key in block.names())


def _pairs(top: Section, key: str) -> tuple[tuple[str, Value], ...]:
    block = top.section(key)
    return tuple((name, value(block, name)) for name in block.names()) if block else ()


def _time(top: Section) -> TimeRule:
    content, line = top.raw("time"), top.line("time")
    if content is None:
        top.fail_here("'time' is required: which column says when it happened?",
                      "time: <column>, or time: {column: <column>, format: unix_s}")
    if isinstance(content, str):
        return TimeRule((content,), "auto", ZoneInfo("UTC"), line)
    block = Section(top.file, content, where="time", line=line)
    columns, form = block.texts("column"), block.text("format", "auto")
    if not columns:
        block.fail("column", "is required")
    if form not in NAMED and "%" not in form:
        block.fail("format", f"'{form}' is not known",
                   one_of(form, NAMED) + " (or a strptime pattern such as %d/%m/%Y %H:%M)")
    zone = zone_of(block.text("zone", "UTC"))
    if zone is None:
        block.fail("zone", "is no time zone known here", "write it like Europe/London, or UTC")
    block.close()
    return TimeRule(columns, form, zone, line)


def _type(top: Section) -> TypeRule:
    content, line = top.raw("type"), top.line("type")
    if content is None:
        top.fail_here("'type' is required: what kind of event is a row?",
                      "type: purchase, or type: {column: <column>, values: {view: product_view}}")
    if isinstance(content, str):
        return TypeRule(otherwise=_event_type(top, "type", content), line=line)
    block = Section(top.file, content, where="type", line=line)
    table = block.section("values")
    rules = tuple(Rule(condition(part, "when"), _closing(part, _event_type(
        part, "type", part.text("type")))) for part in block.sections("rules"))
    otherwise = block.text("otherwise", "")
    found = TypeRule(
        rules=rules, column=block.text("column", ""),
        values=tuple((key, _event_type(table, key, table.text(key)))
                     for key in table.names()) if table else (),
        otherwise=_event_type(block, "otherwise", otherwise) if otherwise else "", line=line)
    if not (found.rules or found.column or found.otherwise):
        block.fail_here("type: says nothing", "give column, rules or otherwise")
    block.close()
    return found


def _event_type(section: Section, key: str, word: str) -> str:
    if not _SNAKE.match(word) or word == "clock":
        section.fail(key, f"'{word}' is no event type", "use a snake_case name such as purchase")
    return word


def _form(top: Section) -> FileForm:
    block = top.section("file")
    if block is None:
        return FileForm()
    form = block.choice("form", ("", "csv", "jsonl", "parquet"), "")
    encoding, delimiter = block.text("encoding", "utf-8"), block.text("delimiter", "")
    try:
        codecs.lookup(encoding)
    except LookupError:
        block.fail("encoding", f"'{encoding}' is no encoding", "use utf-8, latin-1, cp1252, utf-16")
    delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    quote = block.text("quote", '"')
    for key, mark in (("delimiter", delimiter), ("quote", quote)):
        if len(mark) > 1:
            block.fail(key, f"'{mark}' is not one character")
    found = FileForm(
        form=cast(Any, form), delimiter=delimiter, encoding=encoding, quote=quote,
        columns=block.texts("columns"), skip_lines=int(block.number("skip_lines", 0)),
        row_bytes_max=int(block.number("row_bytes_max", 8 * 1024 * 1024)))
    block.close()
    return found


def _numbers(top: Section) -> Numbers:
    block = top.section("numbers")
    if block is None:
        return Numbers()
    found = Numbers(block.text("decimal", "."), block.text("thousands", ""),
                    block.text("strip", ""))
    if len(found.decimal) != 1 or found.decimal == found.thousands:
        block.fail("decimal", "must be one character, other than thousands")
    block.close()
    return found


def _lines(top: Section) -> LineRule | None:
    block = top.section("lines")
    if block is None:
        return None
    if block.has("price") == block.has("total"):
        block.fail_here("lines: give either price (of a unit) or total (of the line)")
    found = LineRule(
        item_id=value(block, "item_id"),
        quantity=value(block, "quantity") if block.has("quantity") else Value(constant=1.0),
        price=value(block, "price") if block.has("price") else None,
        total=value(block, "total") if block.has("total") else None,
        items=block.text("items", ""), types=block.texts("types", ("purchase", "refund")))
    block.close()
    return found


def _group(top: Section) -> GroupRule | None:
    block = top.section("group")
    if block is None:
        return None
    by = block.texts("by")
    if not by:
        block.fail("by", "is required", "name the columns that rows of one event have in common")
    found = GroupRule(by=by, same=block.texts("same"), line=block.first_line,
                      time=cast(Literal["first", "last"],
                                block.choice("time", ("first", "last"), "first")),
                      types=block.texts("types", ("purchase", "refund")))
    block.close()
    return found


def _consent(top: Section) -> ConsentRule | None:
    block = top.section("consent")
    if block is None:
        return None
    for key in ("grant", "deny"):
        for word in block.texts(key):
            if word not in PURPOSES:
                block.fail(key, f"'{word}' is no purpose", one_of(word, PURPOSES))
    found = ConsentRule(block.texts("grant"), block.texts("deny"),
                        block.text("basis", "consent"),
                        cast(Literal["first", "every"],
                             block.choice("on", ("first", "every"), "first")))
    block.close()
    return found


def _catalogue(top: Section) -> CatalogueRule | None:
    block = top.section("catalogue")
    if block is None:
        return None
    found = CatalogueRule(
        item_id=value(block, "item_id"), title=value(block, "title"), price=value(block, "price"),
        category=value(block, "category") if block.has("category") else None,
        url=value(block, "url") if block.has("url") else None,
        facts=cast(Literal["first", "last"], block.choice("facts", ("first", "last"), "first")),
        as_of=cast(Literal["start", "seen"], block.choice("as_of", ("start", "seen"), "start")),
        restate_ms=_span(block, "restate"))
    block.close()
    return found


def _span(section: Section, key: str) -> int:
    try:
        return parse_span(section.text(key)) if section.has(key) else 0
    except ValueError as fault:
        section.fail(key, str(fault))


def _event_id_template(top: Section, mapping: Mapping) -> None:
    if mapping.event_id is not None and not mapping.event_id.columns():
        top.fail("event_id", "is the same for every row, so all but one would be duplicates",
                 "name columns in it, like {Invoice}, or {line} or {content}")
