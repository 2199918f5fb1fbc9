"""Features as SQL agree with row and plain twin, for every kind; what differs shows."""

from __future__ import annotations

import html
import json
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from conftest import kairos
from drift_world import NOW_MS, TABLES, TENANT, Landed
from feature_twin import Heard
from rich.console import Console
from test_features import SPECS, START, history

from infra import parts
from infra.clickhouse import migrate
from sinks.client import connect
from sinks.report import console, drift, page
from sinks.report.build import build
from streams.choose.definitions.form import FEATURES_MAX
from streams.choose.features.spec import KINDS, FeatureSpec
from streams.choose.features.sql import recount
from streams.cli.reading import reader
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.settings import PROJECT, Settings

MORE = (
    *SPECS,
    FeatureSpec("fresh_views", "view", "count", 7 * DAY_MS, max_age_ms=2 * DAY_MS),
    FeatureSpec("hats", "*", "lifetime", where=("category", "hats")),
    FeatureSpec("shoe_spend", "purchase", "sum", 90 * DAY_MS, of=("value",),
                where=("category", "shoes")),
    FeatureSpec("fewest", "purchase", "min", DAY_MS, of=("quantity",)),
    FeatureSpec("warm_units", "*", "decay", half_life_ms=HOUR_MS, of=("quantity",)),
    FeatureSpec("quote", "it's \\", "count", HOUR_MS),
    FeatureSpec("fresh_ratio", "", "ratio", max_age_ms=3 * DAY_MS, of=("shoe_spend", "gap")),
    FeatureSpec("warm_ratio", "", "ratio", of=("warm_spend", "warm")),
    FeatureSpec("stay_7d", "view", "session", max_age_ms=7 * DAY_MS, gap_ms=DAY_MS, of=("length",)),
    FeatureSpec("items_ratio", "", "ratio", of=("all_7d", "items_7d")),
)
Ask = Callable[..., dict[str, dict[str, Any]]]


def test_every_kind_is_among_them() -> None:
    assert {spec.kind for spec in MORE} == KINDS
    assert [each.name for each in recount(MORE).expressions] == [spec.name for spec in MORE]


@pytest.fixture(scope="module")
def writer(clickhouse: Settings) -> Iterator[Client]:
    client = connect(clickhouse, user="writer")
    migrate.apply(client)
    _empty(client)
    yield client
    _empty(client)


@pytest.fixture
def ask(writer: Client, clickhouse: Settings) -> Ask:
    """Lands a world in an empty database and asks as the reader does."""
    def of(world: Landed, **limits: Any) -> dict[str, dict[str, Any]]:
        _empty(writer)
        world.fill(writer)
        rows = reader(clickhouse)(drift.question(recount(world.specs), **limits), {})
        return drift.by_feature(rows)
    return of


def _empty(client: Client) -> None:
    for table in TABLES:
        client.command(f"TRUNCATE TABLE {table}")


def simple(values: Sequence[float] = (2.0,)) -> Landed:
    """One person: two views and a purchase; decisions that have heard all of them."""
    world = Landed((FeatureSpec("views", "view", "count", DAY_MS),))
    for number, kind in enumerate(("view", "view", "purchase")):
        world.event(0, Heard(0, kind, START + number), number)
    for value in values:
        world.decision(0, 2, START + 2, {"views": value})
    return world


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(3))
def test_the_sql_agrees_with_the_plain_twin(seed: int, ask: Ask) -> None:
    world, dice = Landed(MORE), random.Random(seed)
    for person in range(6):
        world.live(person, history(100 * seed + person, 50), world.by_twin, dice)
    found = ask(world)
    assert drift.drifted(found) == []
    for name, told in found.items():
        assert told["compared"] == 90 and told["estimated_off"] == 0, name
    assert found["warm"]["estimated"] > 30 and found["views_1h"]["estimated"] == 0
    assert found["spend_30d"]["greatest"] == found["spend_30d"]["skew"] == 0


@pytest.mark.integration
def test_the_sql_agrees_with_the_row_and_estimates_are_within_their_error(ask: Ask) -> None:
    world, dice = Landed(MORE), random.Random(9)
    for person in range(12):
        world.live(person, history(person, 150, items=[12, 60][person % 2]), world.by_row, dice)
    found = ask(world)
    assert drift.drifted(found) == []
    assert {told["compared"] for told in found.values()} == {180}
    assert 10 < found["items_7d"]["estimated"] < 120
    # Of moments long past a row may have no name left that was known then.
    assert all(told["estimated_off"] <= told["estimated"] / (10 if name == "top_items" else 50)
               for name, told in found.items())


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(2))
def test_the_sql_ends_where_the_row_does_with_the_greatest_amounts(seed: int, ask: Ask) -> None:
    """Ten amounts of 1e12 fill a sum, one of 1.4e8 the end of a tile of a decay."""
    specs = tuple(spec for spec in MORE if spec.kind in (
        "sum", "mean", "variance", "min", "max", "decay", "session", "rfm", "first", "last"))
    world, dice = Landed(specs), random.Random(seed)
    for person, most in enumerate((1e12, -1e12, 1.5e8, -3.1e7, 3.1e7, 1e11)):
        world.live(person, [replace(
            heard, event_ms=START + dice.randrange(5 * DAY_MS), event_type="purchase",
            value=most * dice.choice((1, 0.999_999, 0.31)),
            quantity=abs(most) * dice.choice((1, 0.7)),
            properties=json.dumps({"tip": most * dice.choice((1, 0.5)), "size": "XL"}))
            for heard in history(100 * seed + person, 60)], world.by_row, dice)
    found = ask(world)
    assert drift.drifted(found) == []
    for name, told in found.items():
        assert told["compared"] == 90 and told["estimated_off"] == 0, name


@pytest.mark.integration
def test_as_many_features_as_may_be_declared_fit_into_one_query(ask: Ask) -> None:
    many = tuple(FeatureSpec(f"a_feature_of_a_rather_long_name_{n}", f"event_{n}",
                             ("distinct", "variance")[n % 2], (1 + n) * DAY_MS, DAY_MS,
                             of=((), ("value",))[n % 2]) for n in range(FEATURES_MAX))
    world = Landed(many)
    world.event(0, Heard(0, "event_7", START, 2.0), 0)
    world.decision(0, 0, START, {spec.name: {"distinct": 0.0, "variance": None}[spec.kind]
                                 for spec in many})
    found = ask(world)
    assert len(found) == FEATURES_MAX
    assert drift.drifted(found) == ["a_feature_of_a_rather_long_name_7"]     # 0.0, not none


@pytest.mark.integration
def test_a_tampered_value_is_found(ask: Ask) -> None:
    found = ask(simple([2.0, 5.0, 2.0, 1.0]))["views"]
    assert (found["compared"], found["mismatch"], found["missing"]) == (4, 2, 0)
    assert (found["greatest"], found["skew"]) == (3.0, 0.5)
    assert drift.drifted({"views": found}) == ["views"]


@pytest.mark.integration
def test_a_value_that_one_side_lacks_is_missing(ask: Ask) -> None:
    world = Landed((FeatureSpec("views", "view", "count", DAY_MS),
                    FeatureSpec("last", "view", "last", of=("value",)),
                    FeatureSpec("later", "view", "lifetime")))
    world.event(0, Heard(0, "purchase", START), 0)
    world.decision(0, 0, START, {"views": None, "last": 4.0})
    found = ask(world)
    assert [found[name]["missing"] for name in ("views", "last")] == [1, 1]
    assert found["later"]["not_logged"] == 1 and found["later"]["compared"] == 0
    assert drift.drifted(found) == ["last", "views"]


@pytest.mark.integration
def test_what_the_row_did_not_hear_or_may_not_use_does_not_count(ask: Ask) -> None:
    world = simple([2.0])
    view = Heard(0, "view", START)
    world.event(0, view, 1, origin_offset=0, event_id="x", _offset=1900)      # a replayed origin
    world.event(0, view, 1, origin_offset=1901, event_id="e1", _offset=1901)  # a producer's repeat
    world.event(0, view, 1, origin_offset=1902, event_id="y", purposes=13, _offset=1902)
    world.event(0, view, 7)                                                   # after the decision
    world.event(2, view, 0)                                                   # somebody else
    assert ask(world)["views"]["mismatch"] == 0


@pytest.mark.integration
def test_an_id_that_comes_again_much_later_is_another_event(ask: Ask) -> None:
    world = Landed((FeatureSpec("views", "view", "count", DAY_MS),))
    for number in range(18):
        world.event(0, Heard(0, "view", START + number), number)
    world.event(0, Heard(0, "view", START + 18), 18, event_id="e0")
    world.event(0, Heard(0, "view", START + 19), 19, event_id="e17")
    world.decision(0, 19, START + 19, {"views": 19.0})
    assert ask(world)["views"]["mismatch"] == 0


@pytest.mark.integration
def test_an_event_of_several_lines_is_of_several_items(ask: Ask) -> None:
    world = Landed((FeatureSpec("items", "*", "distinct", DAY_MS),))
    world.event(0, Heard(0, "purchase", START), 0,
                lines_json='[["a",1,5],["b",2,5],["a",3,5]]', item_id="c")
    world.decision(0, 0, START, {"items": 2.0})
    assert ask(world)["items"]["mismatch"] == 0


@pytest.mark.integration
def test_decisions_whose_events_are_not_all_there_are_counted_apart(ask: Ask) -> None:
    world = simple([2.0])
    world.decision(4, 0, START, {"views": 7.0})                # an erased person: no event is left
    world.decision(0, 2, START + 2, {"views": 7.0}, origin_offset=10**9 + 1)     # not landed yet
    found = ask(world)["views"]
    assert (found["compared"], found["gone"], found["mismatch"]) == (1, 2, 0)


@pytest.mark.integration
def test_a_feature_that_says_that_it_is_not_whole_is_counted_apart(ask: Ask) -> None:
    world = simple([2.0])
    world.event(1, Heard(0, "view", START), 0)
    world.event(1, Heard(1, "view", START + 1), 1)
    world.decision(1, 1, START + 1, {}, features_json=json.dumps(
        {"views": {"value": 1.0, "age_ms": 0, "since_ms": START + 1}}))
    found = ask(world)["views"]
    assert (found["compared"], found["gone"], found["mismatch"]) == (1, 1, 0)


@pytest.mark.integration
def test_a_difference_of_somebody_who_was_a_visitor_before_is_no_verdict(ask: Ask) -> None:
    world = simple([2.0, 5.0])
    world.event(0, Heard(0, "identify", START), 3)
    found = ask(world)["views"]
    assert (found["compared"], found["merged"], found["mismatch"]) == (1, 1, 0)


@pytest.mark.integration
def test_what_reaches_behind_the_retention_of_events_is_not_judged(ask: Ask) -> None:
    world = Landed((FeatureSpec("views", "view", "count", DAY_MS),
                    FeatureSpec("ever", "view", "lifetime")))
    world.ledger("events.admitted", 10, inserted_at=NOW_MS / 1000 - 90 * 86_400)
    world.event(0, Heard(0, "view", NOW_MS), 0)
    world.decision(0, 0, NOW_MS, {"views": 1.0, "ever": 9.0})
    found = ask(world)
    assert (found["ever"]["gone"], found["ever"]["compared"]) == (1, 0)
    assert (found["views"]["gone"], found["views"]["compared"]) == (0, 1)
    assert drift.drifted(found) == []


@pytest.mark.integration
def test_a_topic_made_anew_is_not_held_against_the_old_one(ask: Ask) -> None:
    world = simple([2.0])
    old = (NOW_MS - DAY_MS) / 1000
    for topic in ("events.admitted", "decisions.made"):
        world.ledger(topic, 10**9, "old", inserted_at=old)
    world.event(0, Heard(0, "view", START), 0, _topic_id="old", origin_offset=77)
    world.decision(0, 2, START, {"views": 9.0}, _topic_id="old")
    found = ask(world)["views"]
    assert (found["compared"], found["mismatch"]) == (1, 0)


@pytest.mark.integration
def test_the_sample_is_of_each_tenant_and_of_the_first_emission(ask: Ask) -> None:
    world = simple([2.0] * 9)
    for decision in world.tables["raw_decisions_made"][:3]:      # replayed; the first one wins
        world.decision(0, 2, START + 2, {"views": 8.0}, decision_id=decision["decision_id"],
                       _offset=500)
    world.decision(0, 2, START + 2, {"views": 2.0}, tenant="other")
    assert ask(world)["views"]["compared"] == 9                  # the other's has no event
    assert ask(world)["views"]["gone"] == 1
    assert ask(world, sample=4)["views"]["compared"] == 4
    assert ask(world, tenant=TENANT)["views"]["gone"] == 0


@pytest.mark.integration
def test_the_report_shows_the_drift_and_its_sql(ask: Ask, clickhouse: Settings) -> None:
    world = simple([2.0, 3.0])
    ask(world)
    sql = drift.question(recount(world.specs))
    made = build(reader(clickhouse), produced=None, truths={}, generated_ms=0,
                 members_min=20, drift_sql=sql)
    assert made["drift"] == made["worlds"][TENANT]["drift"]
    views = made["drift"]["views"]
    assert (views["compared"], views["mismatch"], views["skew"]) == (2, 1, 0.5)
    assert made["sql"]["drift"] == sql
    out = Console(record=True, width=200)
    console.show(made, out)
    for text in (out.export_text(), html.unescape(page.render(made))):
        assert "2 values of 1 features counted anew in SQL: 1 differ" in text
    assert "LIMIT 500 BY tenant" in page.render(made)
    without = build(reader(clickhouse), produced=None, truths={}, generated_ms=0,
                    members_min=20)
    assert without["drift"] == {} and "Drift" not in page.render(without)


@pytest.mark.integration
def test_the_command_exits_1_when_an_exact_value_differs(
        ask: Ask, clickhouse: Settings, tmp_path: Path) -> None:
    (tmp_path / "features.yml").write_text("version: 1\npurpose: personalise\nfeatures:\n"
                                           "  views: {event: view, kind: count, window: 24h}\n")
    (tmp_path / "segments.yml").write_text(
        "version: 1\nsegments:\n  keen: {feature: views, at_least: 3}\n")
    ask(simple([2.0]))
    fine = run(clickhouse, tmp_path, "--json", "--tenant", TENANT)
    assert fine.returncode == 0, fine.stderr
    assert json.loads(fine.stdout)["drift"]["views"]["compared"] == 1
    ask(simple([2.0, 3.0]))
    wrong = run(clickhouse, tmp_path, "--json")
    assert wrong.returncode == 1 and json.loads(wrong.stdout)["drifted"] == ["views"]
    assert "1 differ" in run(clickhouse, tmp_path).stdout
    nobody = run(clickhouse, tmp_path, "--tenant", "nobody")
    assert nobody.returncode == 1 and "no decision of tenant 'nobody'" in nobody.stderr


def run(settings: Settings, definitions: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        kairos("drift", *words), cwd=PROJECT, capture_output=True, text=True, timeout=60,
        check=False, env={**parts.environment(settings), "KAIROS_DEFINITIONS": str(definitions)})
