"""Segments that people stay in (`enter` and `stay`): as said, and compiled, beside plain
conditions. What time does to them: test_lapses; in the log: tests/simulation/test_staying.py."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from feature_twin import Fast, Heard
from test_features import SPECS, START

from streams.choose.definitions import check, load
from streams.choose.features.layout import MASK
from streams.choose.features.rules import compile_rules, members_mask
from streams.choose.features.spec import FeatureSpec
from streams.choose.segments import SegmentSpec, meaning_of, members_of, parse_rule
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.playbooks.conditions import Asked, Known, parse_condition, show_condition
from streams.playbooks.source import read

RULES = {
    "plain": "{feature: orders, at_least: 2}",
    "loyal": "{enter: {feature: orders, at_least: 3}, stay: {feature: orders, at_least: 1}}",
    "idle": "{enter: {all: [{feature: orders, at_most: 1}, {not: {segment: loyal}}]},"
            " stay: {any: [{segment: plain}, {feature: orders, at_most: 2}]}}",
    "never": "{enter: {feature: orders, at_least: 1000}, stay: {feature: orders, at_least: 0}}",
}


def specs() -> tuple[SegmentSpec, ...]:
    return tuple(SegmentSpec(name, parse_rule(name, read(rule).plain(), features=None,
                                              segments=RULES, asked=Asked()))
                 for name, rule in RULES.items())


class Person:
    """A row of somebody with so many orders; which of `segments` hold, asked both ways."""

    def __init__(self, segments: tuple[SegmentSpec, ...], orders: int) -> None:
        self._segments, self._names = segments, [spec.name for spec in segments]
        self._row = Fast(SPECS).take(*(Heard(n, "purchase", START + n) for n in range(orders)))
        self._rules = compile_rules([spec.rule for spec in segments], self._row.layout, self._names)

    def compiled(self, was: Collection[str]) -> list[str]:
        v, rules, slot = self._row.rows.views, self._rules, self._row.slot
        v.i64[slot, MASK] = sum(1 << self._names.index(name) for name in was)
        mask = members_mask(rules.starts, rules.steps, rules.numbers, self._row.layout.reads, v.u8,
                            v.u16, v.i64, slot, START + HOUR_MS, np.uint64(1))
        return [name for n, name in enumerate(self._names) if mask >> n & 1]

    def plainly(self, was: Collection[str]) -> list[str]:
        return members_of(self._segments, lambda name: self._row.value(name, START + HOUR_MS),
                          Known(was_in=was.__contains__))


@pytest.mark.parametrize("seed", range(4))
def test_compiled_rules_keep_whom_the_plain_conditions_keep(seed: int) -> None:
    dice, seen = random.Random(seed), set[tuple[str, bool]]()
    for orders in range(5):
        person = Person(specs(), orders)
        for _ in range(20):
            was = [name for name in RULES if dice.random() < 0.5]
            found = person.compiled(was)
            assert found == person.plainly(was)
            assert person.compiled(found) == found, "asked again, the same is said"
            seen |= {(name, name in was) for name in found}
    # Only whoever is in it already is in 'never'.
    assert seen == {(name, was) for name in RULES for was in (True, False)} - {("never", False)}


def test_where_both_hold_and_where_there_is_no_value() -> None:
    rule = parse_rule("dear", {"enter": {"feature": "mean", "above": 12},
                               "stay": {"feature": "mean", "above": 4}},
                      features=None, segments=(), asked=Asked())
    spec = SegmentSpec("dear", rule)
    for value, was, expected in ((20.0, False, True), (5.0, False, False), (5.0, True, True),
                                 (4.0, True, False), (None, True, False)):
        found = members_of([spec], lambda name, v=value: v, Known(was_in=lambda name, w=was: w))
        assert bool(found) is expected, (value, was)
    assert show_condition(rule) == "(mean > 12 or (already in dear and mean > 4))"
    mean = (FeatureSpec("mean", "purchase", "mean", 7 * DAY_MS, of=("value",)),)
    assert meaning_of(spec, mean) != meaning_of(SegmentSpec("dear", rule.parts[0]), mean)


@pytest.mark.parametrize(("rule", "said"), [
    ("{enter: {feature: orders_lifetime, at_least: 1}}", "stand together and alone"),
    ("{stay: {feature: orders_lifetime, at_least: 1}}", "stand together and alone"),
    ("{enter: {segment: fine}, stay: {segment: fine}, feature: a}", "stand together and alone"),
    ("{enter: {feature: orders, at_least: 1}, stay: {segment: fine}}", "unknown feature 'orders'"),
    ("{enter: {segment: fine}, stay: {segment: drawn}}", "unknown segment 'drawn'"),
    ("{enter: {segment: fine}, stay: yes}", "a condition is a mapping"),
    ("{all: [{enter: {segment: fine}, stay: {segment: fine}}]}", "a condition has one of"),
])
def test_a_bad_rule_is_refused_with_its_line(tmp_path: Path, rule: str, said: str) -> None:
    (tmp_path / "segments.yml").write_text(
        "version: 1\nsegments:\n  fine: {feature: orders_lifetime, at_least: 1}\n"
        f"  drawn: {rule}\n")
    faults = check(tmp_path)
    assert [fault.line for fault in faults] == [4] and said in str(faults[0])


def test_yaml_and_python_declare_the_same(tmp_path: Path) -> None:
    body = {"enter": {"feature": "spend_30d", "at_least": 50},
            "stay": {"feature": "spend_30d", "at_least": 40}}
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "segments.yml").write_text(f"version: 1\nsegments:\n  big: {body}\n")
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "own.py").write_text(
        "from streams.choose.declaring import about, segment\n"
        f"about(version=1)\nsegment('big', {body})\n")
    one, other = (load(tmp_path / name).segments for name in ("yaml", "python"))
    assert one[0] == other[-1] and one[0].rule.parts[0] == parse_condition(
        body["enter"], features=None, segments=())
