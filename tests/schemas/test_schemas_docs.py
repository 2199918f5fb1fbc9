"""What a contract's documentation enumerates is what the code says, no more and no less."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import schemas
import streams
from streams import pipeline
from streams.adapters.web.records import ENDINGS
from streams.admit import gate, records
from streams.choose.entities.spec import CATEGORY, ITEM
from streams.compose.generation import Result
from streams.deliver.dispatch import Dispatched
from streams.kernel import purposes
from streams.kernel.side_inputs import SEGMENT
from streams.playbooks.model import TriggerKind

STREAMS = Path(streams.__path__[0])
WORD = re.compile(r"[a-z_]+")


def documented(contract: str, field: str) -> set[str]:
    """The words of the first sentence of a field's documentation."""
    record = json.loads((Path(schemas.__file__).parent / f"{contract}.avsc").read_text("utf-8"))
    doc = next(each["doc"] for each in record["fields"] if each["name"] == field)
    return set(WORD.findall(doc.split(".")[0].split(":")[-1])) - {"or", "and", "of"}


def calls(method: str, folder: str = "") -> Iterator[ast.Call]:
    for file in sorted((STREAMS / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) \
                    and node.func.attr == method:
                yield node


def constants(nodes: Iterable[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant)}


def keywords(name: str, folder: str) -> set[str]:
    """Constants that are handed over, or stand by default, under a name."""
    found = set[str]()
    for file in sorted((STREAMS / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                found |= constants(each.value for each in node.keywords if each.arg == name)
            elif isinstance(node, ast.FunctionDef):
                found |= constants(default for arg, default in zip(
                    node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                    if arg.arg == name and default is not None)
    return found


def outcomes() -> set[str]:
    return constants(call.args[0] for call in calls("refuse")) | keywords("outcome", "admit")


def receipts() -> set[str]:
    """Of the events that events.raw names."""
    record = json.loads((Path(schemas.__file__).parent / "events.raw.avsc").read_text("utf-8"))
    doc = next(each["doc"] for each in record["fields"] if each["name"] == "event_type")
    return {word.removeprefix(records.RECEIPT_PREFIX) for word in WORD.findall(doc)
            if word.startswith(records.RECEIPT_PREFIX)}


def causes() -> set[str]:
    literal = {node.value for file in sorted((STREAMS / "choose").rglob("*.py"))
               for node in ast.walk(ast.parse(file.read_text("utf-8")))
               if isinstance(node, ast.Constant) and node.value in ("event", "lapse")}
    return literal | keywords("cause", "choose")


SENT: Any = Dispatched.__annotations__["state"]

CASES = {
    ("refusals.recorded", "outcome"): outcomes,
    ("refusals.recorded", "stage"): lambda: {*pipeline.BY_NAME, "sink"} - {"learn"},
    ("decisions.made", "trigger"): lambda: set(get_args(TriggerKind)),
    ("deliveries.sent", "status"): lambda: set(WORD.findall(str(SENT).split("Literal")[1])),
    ("costs.incurred", "result"): lambda: {*get_args(Result), "rejected"} - {"not_made"},
    ("receipts.received", "kind"): receipts,
    ("consents.changed", "purpose"): lambda: set(purposes.BITS),
    ("consents.changed", "origin"): lambda: {"event", *gate.WITHDRAWALS.values(), gate.ERASURE,
                                             *ENDINGS.values()},
    ("segments.changed", "cause"): causes,
}


@pytest.mark.parametrize(("contract", "field"), CASES)
def test_a_documented_enumeration_is_the_code_s(contract: str, field: str) -> None:
    assert documented(contract, field) == CASES[contract, field]()


def test_the_documentation_of_groups_names_the_entities_that_there_are() -> None:
    assert {SEGMENT, ITEM, CATEGORY} < documented("segments.rolled", "entity")
