"""A mapping that does not hold says where, what is wrong and what to write instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streams.kernel.errors import MappingError
from streams.worlds.conditions import compile_condition
from streams.worlds.loading import load
from streams.worlds.reading_csv import sniff
from streams.worlds.values import Numbers

GOOD = "type: purchase\ntime: at\nfields: {user_id: who}\n"


@pytest.mark.parametrize(("text", "line", "says"), [
    ("", 1, "must be a mapping"),
    ("- a\n- b\n", 1, "must be a mapping"),
    ("type: [\n", 2, "is not YAML"),
    ("type: purchase\nfields: {user_id: who}\n", 1, "'time' is required"),
    ("time: at\nfields: {user_id: who}\n", 1, "'type' is required"),
    ("type: purchase\ntime: at\n", 1, "'fields' is required"),
    (GOOD + "tenat: shop\n", 4, "did you mean 'tenant'"),
    (GOOD + "tenant: 'a b'\n", 4, "is no name"),
    ("type: purchase\ntime: at\nfields:\n  user: who\n", 4, "did you mean 'user_id'"),
    ("type: Purchase Made\ntime: at\nfields: {user_id: who}\n", 1, "snake_case"),
    ("type: clock\ntime: at\nfields: {user_id: who}\n", 1, "no event type"),
    ("type: purchase\ntime: {column: at, format: unixs}\nfields: {user_id: who}\n", 2, "unix_s"),
    ("type: purchase\ntime: {column: at, zone: Mars/Base}\nfields: {user_id: who}\n", 2, "zone"),
    ("type: purchase\ntime: {column: at, zone: Europe}\nfields: {user_id: who}\n", 2, "zone"),
    (GOOD + "group: {same: who}\n", 4, "group.by"),
    (GOOD + "lines: {item_id: i}\n", 4, "price"),
    (GOOD + "lines: {item_id: i, price: p, total: t}\n", 4, "price"),
    (GOOD + "consent: {grant: [meassure]}\n", 4, "did you mean 'measure'"),
    (GOOD + "event_id: fixed\n", 4, "all but one would be duplicates"),
    (GOOD + "missing_customer: anonymous\n", 4, "anonymous: <column>"),
    (GOOD + "missing_customer: drop\n", 4, "use one of"),
    (GOOD + "file: {delimiter: ';;'}\n", 4, "not one character"),
    (GOOD + "file: {encoding: klingon}\n", 4, "no encoding"),
    (GOOD + "leave_out:\n  - when: {column: a, iz: b}\n    reason: x\n", 5, "one test"),
    (GOOD + "leave_out:\n  - when: {column: a, matches: '('}\n    reason: x\n", 5,
     "no regular expression"),
    (GOOD + "leave_out:\n  - when: {column: a, is: b}\n", 5, "leave_out[0].reason: is required"),
    (GOOD + "properties: {a: {column: x, constant: y}}\n", 4, "exactly one"),
    (GOOD + "duplicates: maybe\n", 4, "same, distinct"),
    (GOOD + "numbers: {decimal: ',', thousands: ','}\n", 4, "decimal"),
    (GOOD + "catalogue: {item_id: i, title: t, price: p, restate: soon}\n", 4, "span"),
])
def test_a_fault_names_its_line_and_the_remedy(
        tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(text)
    with pytest.raises(MappingError) as caught:
        load(path)
    assert caught.value.line == line, caught.value
    assert says in str(caught.value)


@pytest.mark.parametrize("path", [Path("streams/worlds/retail.yml"),
                                  *sorted(Path("docs/mappings").glob("*.yml"))],
                         ids=lambda path: path.stem)
def test_the_mappings_that_we_ship_hold(path: Path) -> None:
    mapping = load(path)
    assert mapping.tenant != "default" and mapping.name


def test_the_examples_in_the_documentation_hold(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", Path("docs/replay.md").read_text("utf-8"), re.S)
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yml"
        path.write_text(block)
        assert load(path).tenant


@pytest.mark.parametrize(("written", "row", "holds"), [
    ("{column: a, is: C}", {"a": "C"}, True), ("{column: a, in: [B, C]}", {"a": "C"}, True),
    ("{column: a, starts_with: C}", {"a": "C12"}, True),
    ("{column: a, ends_with: [x, y]}", {"a": "by"}, True),
    ("{column: a, contains: b}", {"a": "abc"}, True),
    ("{column: a, matches: '^C[0-9]+$'}", {"a": "C12x"}, False),
    ("{column: a, below: 0}", {"a": "-1"}, True), ("{column: a, below: 0}", {"a": "none"}, False),
    ("{column: a, at_least: 3}", {"a": 3}, True), ("{column: a, above: 3}", {"a": 3}, False),
    ("{column: a, missing: true}", {"a": ""}, True), ("{column: a, missing: false}", {}, False),
    ("{column: a, is: C}", {}, False), ("{column: a, is: C}", {"a": ["C"]}, False),
    ("{not: {column: a, is: C}}", {"a": "D"}, True), ("{all: []}", {}, True),
    ("{any: [{column: a, is: C}, {column: b, is: D}]}", {"b": "D"}, True),
    ("{column: a, is: 13085}", {"a": 13085.0}, True),
])
def test_conditions_hold_as_they_read(
        tmp_path: Path, written: str, row: dict[str, object], holds: bool) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(f"{GOOD}leave_out:\n  - when: {written}\n    reason: x\n")
    rule = load(path).leave_out[0]
    assert compile_condition(rule.when, frozenset({""}), Numbers())(row) is holds


@pytest.mark.parametrize(("header", "mark"), [
    ("a,b,c", ","), ("a;b;c", ";"), ("a\tb", "\t"), ("a|b", "|"), ("alone", ","),
    ('"a,b,c";d;e', ";")])
def test_the_delimiter_is_seen_in_the_header(header: str, mark: str) -> None:
    assert sniff(header) == mark
