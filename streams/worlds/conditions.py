"""Conditions over a row: `{column: Invoice, starts_with: C}`, and all, any, not of such.

A test on a missing column is false, but for `missing: true`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from streams.worlds.values import Numbers, Row, Unfit, as_number, as_text, getter, is_missing

Test = Callable[[Row], bool]
TEXT_TESTS = ("is", "in", "starts_with", "ends_with", "contains", "matches")
NUMBER_TESTS = ("below", "above", "at_least", "at_most")
TESTS = (*TEXT_TESTS, *NUMBER_TESTS, "missing")


@dataclass(frozen=True, slots=True)
class Condition:
    """`op` is all, any, not (with `parts`) or one of TESTS (with column and operand)."""

    op: str
    parts: tuple[Condition, ...] = ()
    column: str = ""
    words: tuple[str, ...] = ()
    number: float = 0.0
    line: int = 0

    def columns(self) -> list[str]:
        inner = [name for part in self.parts for name in part.columns()]
        return [self.column, *inner] if self.column else inner


def compile_condition(condition: Condition, blanks: frozenset[str], written: Numbers) -> Test:
    """The condition as a function of a row; never raises."""
    if condition.parts or condition.op in ("all", "any", "not"):
        parts = [compile_condition(part, blanks, written) for part in condition.parts]
        if condition.op == "any":
            return lambda row: any(part(row) for part in parts)
        if condition.op == "not":
            return lambda row: not all(part(row) for part in parts)
        return lambda row: all(part(row) for part in parts)
    get = getter(condition.column)
    if condition.op == "missing":
        wanted = bool(condition.number)
        return lambda row: is_missing(get(row), blanks) == wanted
    return (_number_test(condition, blanks, written) if condition.op in NUMBER_TESTS
            else _text_test(condition, blanks))


def _text_test(condition: Condition, blanks: frozenset[str]) -> Test:
    get, words, op = getter(condition.column), condition.words, condition.op
    pattern = re.compile(words[0]) if op == "matches" else None

    def holds(word: str) -> bool:
        if pattern is not None:
            return pattern.search(word) is not None
        if op == "starts_with":
            return word.startswith(words)
        if op == "ends_with":
            return word.endswith(words)
        if op == "contains":
            return any(part in word for part in words)
        return word in words

    def test(row: Row) -> bool:
        found = get(row)
        if is_missing(found, blanks):
            return False
        try:
            return holds(as_text(found, condition.column))
        except Unfit:
            return False

    return test


def _number_test(condition: Condition, blanks: frozenset[str], written: Numbers) -> Test:
    get, limit, op = getter(condition.column), condition.number, condition.op

    def test(row: Row) -> bool:
        found = get(row)
        if is_missing(found, blanks):
            return False
        try:
            number = as_number(found, condition.column, written)
        except Unfit:
            return False
        if op == "below":
            return number < limit
        if op == "above":
            return number > limit
        return number >= limit if op == "at_least" else number <= limit

    return test
