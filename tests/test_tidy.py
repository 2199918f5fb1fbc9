"""The house rules as a test: who may import whom, where foreign libraries live, how big things get.

Rules name the remedy. Limits are a ratchet: they are what the code keeps today, never to be raised.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams import pipeline
from streams.kernel.outcomes import REASONS

PROJECT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for top in ("streams", "schemas", "sinks", "infra")
                 for path in (PROJECT / top).rglob("*.py"))
STAGES = {stage.name for stage in pipeline.STAGES}
PURE = {"kernel": set(), "engine": {"kernel"}, "privacy": {"kernel"}, "cost": {"kernel"},
        "playbooks": {"kernel"}, "catalogue": {"kernel"}}
LIBRARY = {"engine", "privacy", "cost", "playbooks", "catalogue", "kernel"}
IO_LIBRARIES = {"faust", "mode", "aiokafka", "confluent_kafka", "openai", "clickhouse_connect",
                "httpx", "aiosmtplib", "aiosmtpd", "sqlite3", "chdb", "uvicorn", "socket",
                "subprocess", "requests", "urllib"}
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def place_of(path: Path) -> tuple[str, str]:
    """(top folder, folder below it or the file's name)."""
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return parts[0], parts[1] if len(parts) > 1 else ""


def faults_of_law() -> Iterator[str]:
    for path in SOURCES:
        top, part = place_of(path)
        for line, name in imports_of(path):
            words = name.split(".")
            where = f"{path.relative_to(PROJECT)}:{line}"
            if top == "schemas" and words[0] in ("streams", "sinks", "infra"):
                yield f"{where}: schemas imports nothing of ours; move what {name} needs"
            if top != "streams" or words[0] != "streams" or len(words) < 2:
                continue
            target = words[1]
            if part in PURE and target not in PURE[part] | {part, "settings", "pipeline"}:
                yield f"{where}: {part} may import the kernel only, not {name}"
            if part in STAGES and target in STAGES - {part}:
                yield f"{where}: stages meet at topics; {part} may not import {name}"
            if part in STAGES and target in ("adapters", "cli", "app", "assembly"):
                yield f"{where}: ask through a port in {part} instead of importing {name}"
            if part == "adapters" and target in ("cli", "app", "assembly"):
                yield f"{where}: adapters may not know {name}"


def test_the_import_law_holds() -> None:
    assert list(faults_of_law()) == []


def test_foreign_io_libraries_have_their_addresses() -> None:
    faults = []
    for path in SOURCES:
        top, part = place_of(path)
        if top == "streams" and part in LIBRARY | STAGES:
            faults += [f"{path.relative_to(PROJECT)}:{line}: {name} belongs into streams/adapters"
                       for line, name in imports_of(path) if name.split(".")[0] in IO_LIBRARIES]
    assert faults == []


def test_steps_read_no_clock_and_throw_no_dice() -> None:
    faults = []
    for path in SOURCES:
        top, part = place_of(path)
        if top == "streams" and part in LIBRARY | STAGES:
            faults += [f"{path.relative_to(PROJECT)}:{line}: take `now_ms` or an id-derived chance"
                       for line, name in imports_of(path) if name in ("time", "random", "secrets")]
    assert faults == []


def test_faust_is_imported_in_one_file() -> None:
    users = {str(path.relative_to(PROJECT)) for path in SOURCES
             for _, name in imports_of(path) if name.split(".")[0] in ("faust", "mode")}
    assert users == {"streams/app.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_files_and_functions_can_be_read_in_one_sitting(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= FILE_LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name}: {length} lines"


def test_every_reason_code_in_the_code_is_declared_and_every_declared_one_used() -> None:
    text = "\n".join(path.read_text("utf-8") for path in SOURCES
                     if path.name != "outcomes.py")
    unused = [reason for reason in REASONS if not re.search(rf"[\"']{reason}[\"']", text)]
    assert unused == [], "a reason nobody gives is a promise nobody keeps"


def test_every_topic_of_the_road_is_declared_with_the_broker_and_has_its_contract() -> None:
    topics = (PROJECT / "infra/kafka/topics.yml").read_text("utf-8")
    for stage in pipeline.STAGES:
        for topic in (*stage.inputs, *stage.outputs, *stage.side_inputs, stage.keeps):
            assert f"\n  {topic}:" in topics, topic
            if not topic.endswith("-changelog"):
                assert (PROJECT / f"schemas/{topic}.avsc").exists(), topic


def test_every_field_of_every_contract_has_a_doc_a_purpose_and_a_retention() -> None:
    import schemas

    for name, contract in schemas.CONTRACTS.items():
        for field in contract.source["fields"]:
            assert field["doc"].endswith("."), f"{name}.{field['name']}"
            assert field["purpose"] in ("measure", "personalise", "contact", "train"), field
            assert re.fullmatch(r"P\d+[DY]", field["retention"]), field
