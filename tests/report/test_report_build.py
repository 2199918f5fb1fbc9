"""The report, the stories and their commands, on the real ClickHouse engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import kairos
from rich.console import Console
from sample_world import LIFT, SHADOW, START_MS, Sample

from infra.clickhouse import migrate
from sinks.client import connect
from sinks.report import console, page, queries
from sinks.report.build import build
from sinks.report.queries import Ask
from sinks.report.story import present, tell
from streams.cli.reading import reader
from streams.kernel.errors import KairosError
from streams.settings import PROJECT, Settings

pytestmark = pytest.mark.integration
SEED = 5


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample(SEED)


@pytest.fixture(scope="module")
def ask(clickhouse: Settings, sample: Sample) -> Iterator[Ask]:
    """A reader of a database that holds the sample and nothing else, before and after."""
    writer = connect(clickhouse, user="writer")
    migrate.apply(writer)
    for table in sample.tables:
        writer.command(f"TRUNCATE TABLE {table}")
    sample.fill(writer)
    yield reader(clickhouse)
    for table in sample.tables:
        writer.command(f"TRUNCATE TABLE {table}")


@pytest.fixture(scope="module")
def report(ask: Ask, sample: Sample) -> dict[str, Any]:
    return build(ask, produced=sample.raw_count, generated_ms=START_MS, members_min=20,
                 truths={"storefront": {"lift": LIFT, "units": 1, "how": "by construction"}})


def test_every_record_has_exactly_one_outcome(report: dict[str, Any], sample: Sample) -> None:
    found = report["accounting"]
    admitted = len(sample.tables["raw_events_admitted"]) - 2      # two were repeats, found late
    assert {name: found[name] for name in ("admitted", "refused", "quarantined", "duplicate",
                                           "control", "unaccounted")} == {
        "admitted": admitted, "refused": 7, "quarantined": 3, "duplicate": 5, "control": 4,
        "unaccounted": 0}
    assert found["holds"] and found["produced"] == sample.raw_count - 4


def test_a_record_without_an_outcome_shows(ask: Ask, sample: Sample) -> None:
    found = build(ask, produced=sample.raw_count + 9, truths={}, generated_ms=0,
                  members_min=20)["accounting"]
    assert found["unaccounted"] == 9 and not found["holds"]


def test_the_lift_is_that_of_the_units_counted_by_hand(report: dict[str, Any],
                                                       sample: Sample) -> None:
    converted = {row["decision_id"] for row in sample.tables["raw_rewards_observed"]
                 if row["kind"] == "converted"}
    for world, found in report["worlds"].items():
        total = gained = 0.0
        for playbook in ("abandoned_cart", "repeat_due"):
            sides: dict[bool, list[int]] = {True: [], False: []}
            for row in sample.tables["raw_decisions_made"]:
                if (row["tenant"], row["playbook"]) == (world, playbook):
                    sides[row["holdout"]].append(row["decision_id"] in converted)
            rates = {side: sum(hits) / len(hits) for side, hits in sides.items()}
            total += len(sides[False])
            gained += len(sides[False]) * (rates[False] - rates[True])
        assert found["lift"]["estimate"] == pytest.approx(gained / total)
        assert found["lift"]["treated"] == total


def test_the_worlds_are_judged_rightly(report: dict[str, Any]) -> None:
    retail, storefront = report["worlds"]["retail"], report["worlds"]["storefront"]
    assert retail["verdict"] == "no effect shown: the interval covers zero"
    assert "truth" not in retail["lift"]
    assert storefront["lift"]["truth"] == LIFT and storefront["lift"]["covers_truth"]
    assert retail["split"]["holds"] and storefront["split"]["holds"]


def test_the_keys_that_others_rely_on_are_there(report: dict[str, Any]) -> None:
    assert {"produced", "admitted", "refused", "quarantined", "duplicate"} <= set(
        report["accounting"])
    assert {"estimate", "low", "high"} <= set(report["worlds"]["retail"]["lift"])
    assert {"estimate", "low", "high", "truth"} <= set(report["worlds"]["storefront"]["lift"])
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert report["events_per_s"] > 0 and report["usd_per_thousand_messages"] > 0
    assert set(report["messages_by_rung"]) == {"grammar", "small", "template"}
    assert set(report["sql"]) == {*queries.names(), "drift"}


def test_receipts_of_decisions_that_never_were_count_apart_only(
        report: dict[str, Any], sample: Sample, ask: Ask) -> None:
    decided = {row["decision_id"]: row["tenant"] for row in sample.tables["raw_decisions_made"]}
    clicked = {row["decision_id"] for row in sample.tables["raw_receipts_received"]
               if row["kind"] == "clicked" and not row.get("machine")} - {"never"}
    for world, found in report["worlds"].items():
        counted = {row["kind"]: row["by_people"] for row in found["receipts"]}
        assert counted.get("clicked", 0) == sum(decided[one] == world for one in clicked)
    assert report["worlds"]["storefront"]["receipts_unknown"] == [
        {"channel": "email", "kind": "clicked", "receipts": 2}]
    assert report["worlds"]["retail"]["receipts_unknown"] == []


def test_in_shadow_mode_nobody_is_said_to_have_been_messaged(report: dict[str, Any],
                                                             sample: Sample) -> None:
    found = report["worlds"][SHADOW]
    kept = sum(row.get("reason") == "shadow" for row in sample.tables["raw_deliveries_sent"])
    assert found["exit"] == {"sent": 0, "shadow": kept} and kept > 20
    assert found["verdict"].startswith("nothing was sent (mode: shadow)")
    assert report["worlds"]["retail"]["exit"]["shadow"] == 0
    out = Console(record=True, width=200)
    console.show({**report, "worlds": {SHADOW: found}}, out)
    for text in (out.export_text(), page.render({**report, "worlds": {SHADOW: found}})):
        assert f"{kept} messages in shadow mode: written and checked, not sent" in text
        assert "messaged" not in text


def test_small_segments_are_not_shown(report: dict[str, Any]) -> None:
    assert report["worlds"]["retail"]["segments"] == [
        {"segment": "browsers", "people": 840, "hidden": 0},
        {"segment": "vip", "people": None, "hidden": 1}]


def test_drafts_that_a_gate_turned_down_are_counted(report: dict[str, Any]) -> None:
    (row,) = report["worlds"]["retail"]["gates"]
    assert (row["rung"], row["gate"], row["reason"]) == ("small", "claims", "urgency, unlicensed")
    assert row["drafts"] > 0


def test_what_messages_stated_of_items_is_what_is_counted_by_hand(report: dict[str, Any],
                                                                  sample: Sample) -> None:
    kinds: dict[str, set[str]] = {}
    for row in sample.tables["raw_rewards_observed"]:
        kinds.setdefault(row["decision_id"], set()).add(row["kind"])
    for world, found in report["worlds"].items():
        for row in found["figures"]:
            told = []
            for message in sample.tables["raw_messages_ready"]:
                brief, facts = json.loads(message["brief_json"]), json.loads(message["facts_json"])
                if (message["tenant"], message["playbook"]) == (world, row["playbook"]) and (
                        "figures" in brief and 1 + len(brief["claims"]) == row["choices"]):
                    told.append((message, facts.get("item_views_7d")))
            stated = [(m["moment_ms"] - fact["as_of"], int(fact["value"]))
                      for m, fact in told if fact]
            assert row["figure"] == "item_views_7d"
            assert (row["could"], row["did"]) == (len(told), len(stated)) and row["did"]
            assert (row["lowest"], row["highest"], row["oldest_ms"]) == (
                min(v for _, v in stated), max(v for _, v in stated), max(a for a, _ in stated))
            for name, has in (("with", True), ("without", False)):
                drawn = [kinds[m["decision_id"]] for m, fact in told
                         if m["rung"] == "grammar" and (fact is not None) is has]
                assert row[f"{name}_it"] == len(drawn) > 0 or world == SHADOW
                assert row[f"{name}_converted"] == sum("converted" in each for each in drawn)
        assert {row["choices"] for row in found["figures"]} == {1, 2}
    out = Console(record=True, width=200)
    console.show(report, out)
    row = report["worlds"]["storefront"]["figures"][0]
    for text in (out.export_text(), page.render(report)):
        assert "item_views_7d" in text and f"{row['lowest']} to {row['highest']}" in text


def test_the_page_needs_nothing_from_anywhere_and_shows_the_sql(report: dict[str, Any]) -> None:
    html = page.render(report)
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", html)
    assert html.count("<svg") >= 5 and "no effect shown" in html
    assert "FROM attribution_last_touch" in html and "{first_name}" in html


def test_an_empty_database_makes_a_report_too() -> None:
    def nothing(sql: str, parameters: Any) -> list[dict[str, Any]]:
        empty = {"events": 0, "busy_s": 0, "events_per_s": 0.0}
        return [empty] if "busy_s" in sql else []

    found = build(nothing, produced=0, truths={}, generated_ms=START_MS, members_min=20)
    assert found["accounting"]["holds"] and found["worlds"] == {}
    assert found["latency_ms"]["p50"] is None and found["usd_per_thousand_messages"] is None
    assert "<h1>" in page.render(found)


def test_only_the_worlds_asked_for(ask: Ask) -> None:
    found = build(ask, produced=None, truths={}, generated_ms=0, members_min=20,
                  worlds=frozenset({"retail"}))
    everything = build(ask, produced=None, truths={}, generated_ms=0, members_min=20)
    assert found["accounting"] == everything["accounting"] and found["accounting"]["holds"]
    assert list(found["worlds"]) == ["retail"]
    assert found["accounting"]["by_world"].keys() >= {"retail"}


@pytest.mark.parametrize("held_out", [True, False])
def test_a_decision_tells_its_story(ask: Ask, sample: Sample, held_out: bool) -> None:
    made = next(row for row in sample.tables["raw_decisions_made"] if row["holdout"] is held_out)
    story = tell(ask, made["decision_id"])
    assert [d["decision_id"] for d in story["decisions"]] == [made["decision_id"]]
    assert all(e["event_ms"] <= made["moment_ms"] for e in story["events"])
    decision = story["decisions"][0]
    assert decision["features"]["views_7d"] == {"value": 3.0, "age_ms": 600000}
    assert any("held out" in sentence for sentence in decision["why"]) is held_out
    assert (decision["message"] is None) is held_out


def test_a_person_tells_what_was_not_said(ask: Ask) -> None:
    story = tell(ask, f"s{0:031x}")
    assert [row["reason"] for row in story["not_said"]] == ["cooling_down"]
    assert [c["purpose"] for c in story["consents"]] == ["contact", "measure"]
    assert present(ask, f"s{0:031x}")["segments"] == ["browsers"]


def test_a_stranger_is_one_clear_sentence(ask: Ask) -> None:
    with pytest.raises(KairosError, match="no such profile or decision"):
        tell(ask, "nobody")


def test_the_commands_print_and_write(ask: Ask, clickhouse: Settings, sample: Sample,
                                      tmp_path: Path) -> None:
    worlds = clickhouse.home / "worlds"
    worlds.mkdir(exist_ok=True)
    (worlds / "storefront.truth.json").write_text('{"lift": 0.1, "units": 3, "how": "planted"}')
    person = sample.tables["raw_decisions_made"][0]["profile_id"]
    assert "produced" in run(clickhouse, "report", "--out", str(tmp_path))
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["worlds"]["storefront"]["lift"]["truth"] == 0.1
    assert (tmp_path / "index.html").read_text().startswith("<!doctype html>")
    printed = json.loads(run(clickhouse, "report", "--json", "--world", "retail",
                             "--out", str(tmp_path)))
    assert list(printed["worlds"]) == ["retail"]
    assert person in run(clickhouse, "why", person)
    assert json.loads(run(clickhouse, "profile", person, "--json"))["segments"] == ["browsers"]
    (worlds / "storefront.truth.json").unlink()


def run(settings: Settings, *words: str) -> str:
    """Run a command at `settings`; its output. Kafka is not there, which the report survives."""
    env = {**os.environ, "KAIROS_HOME": str(settings.home), "COLUMNS": "160",
           "KAIROS_CLICKHOUSE_PORT": str(settings.clickhouse_port),
           "KAIROS_KAFKA_PORT": str(settings.kafka_port)}
    done = subprocess.run(kairos(*words), cwd=PROJECT, env=env, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
