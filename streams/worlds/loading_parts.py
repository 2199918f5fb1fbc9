"""The small parts of a mapping file: values (which column, how read) and conditions."""

from __future__ import annotations

import re

from streams.worlds.conditions import NUMBER_TESTS, TESTS, Condition
from streams.worlds.sections import Section, one_of
from streams.worlds.values import Value


def value(section: Section, key: str) -> Value:
    """A value: a column's name, a `{template}` key, a constant, or a block with its options."""
    content, line = section.raw(key), section.line(key)
    if isinstance(content, str) and content:
        if key == "event_id" or (content.startswith("{") and content.endswith("}")):
            return Value(template=content, line=line)
        return Value(column=content, line=line)
    if isinstance(content, int | float) and not isinstance(content, bool):
        return Value(column=str(content), line=line)
    block = section.section(key)
    if block is None:
        section.fail(key, "is empty", "name a column, or write {constant: …} or {template: …}")
    return _block(block, line)


def _block(block: Section, line: int) -> Value:
    given = [key for key in ("column", "template", "constant") if block.has(key)]
    if len(given) != 1:
        block.fail_here(f"{block.where}: give exactly one of column, template, constant",
                        f"it has {', '.join(given) or 'none of them'}")
    table = block.section("values")
    found = Value(
        column=block.text("column", ""), template=block.text("template", ""),
        constant=block.raw("constant"), default=block.raw("default"),
        values=tuple((key, table.text(key)) for key in table.names()) if table else (),
        times=block.number("times", 1.0), absolute=block.flag("absolute", False),
        lower=block.flag("lower", False), line=line)
    block.close()
    return found


def condition(section: Section, key: str) -> Condition:
    """A condition block below `key`."""
    block = section.section(key)
    if block is None:
        section.fail(key, "is required", "write {column: <column>, is: <word>}")
    return _condition(block, section.line(key))


def _condition(block: Section, line: int) -> Condition:
    for op in ("all", "any"):
        if block.has(op):
            parts = tuple(_condition(part, part.first_line) for part in block.sections(op))
            block.close()
            return Condition(op, parts, line=line)
    if block.has("not"):
        inner = condition(block, "not")
        block.close()
        return Condition("not", (inner,), line=line)
    column = block.text("column")
    given = [key for key in block.names() if key != "column"]
    if len(given) != 1 or given[0] not in TESTS:
        wrong = next((key for key in given if key not in TESTS), "")
        block.fail(wrong or "column", "give exactly one test", one_of(wrong, TESTS))
    return _test(block, given[0], column, line)


def _test(block: Section, op: str, column: str, line: int) -> Condition:
    if op == "missing":
        return Condition(op, column=column, number=float(block.flag(op, True)), line=line)
    if op in NUMBER_TESTS:
        return Condition(op, column=column, number=block.number(op, 0.0), line=line)
    words = tuple("" if word is None else word for word in block.texts(op))
    if not words:
        block.fail(op, "needs a text or a list of texts")
    if op == "matches":
        try:
            re.compile(words[0])
        except re.error as fault:
            block.fail(op, f"'{words[0]}' is no regular expression: {fault}")
    return Condition(op, column=column, words=words, line=line)
