"""Learning finds kinds that are there, says the same again, and writes a file that is accepted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from drift_world import NOW_MS, TABLES, TENANT, Landed

from infra.clickhouse import migrate
from sinks.client import connect
from streams.choose.definitions import check, load
from streams.choose.definitions.learning import Learned, file_of, learn, version_of
from streams.choose.features.spec import FeatureSpec
from streams.cli.segments import refuse_small, segments, values_of
from streams.kernel.errors import KairosError
from streams.kernel.moments import DAY_MS
from streams.settings import Settings

SPECS = {spec.name: spec for spec in load().features}
# Median (spend_365d, purchases_365d, days_since_purchase) and how many there are of the kind.
KINDS = ((2_000.0, 30.0, 5.0, 300), (40.0, 2.0, 200.0, 600), (150.0, 6.0, 25.0, 100))
NAMES = ("spend_365d", "purchases_365d", "days_since_purchase")
Values = dict[str, list[float | None]]


def world(seed: int) -> tuple[Values, list[int]]:
    dice = np.random.default_rng(seed)
    people = [([float(m * dice.lognormal(0, 0.12)) for m in kind[:3]], n)
              for n, kind in enumerate(KINDS) for _ in range(int(kind[3]))]
    order = dice.permutation(len(people))
    values: Values = {name: [people[p][0][k] for p in order] for k, name in enumerate(NAMES)}
    values["product_views_1h"] = [3.0] * len(people)               # tells nothing apart
    return values, [people[p][1] for p in order]


def found(seed: int = 1, clusters: int = 3) -> Learned:
    return learn(world(seed)[0], SPECS, clusters=clusters, seed=7)


@pytest.mark.parametrize("seed", range(4))
def test_kinds_that_are_there_are_found_with_their_sizes(seed: int) -> None:
    values, truth = world(seed)
    told = learn(values, SPECS, clusters=3, seed=7)
    assert sorted(told.people, reverse=True) == [600, 300, 100] == list(told.people)
    assert told.silhouette > 0.5
    assert [axis.feature for axis in told.clusters.axes] == list(NAMES)
    own = [told.clusters.nearest(lambda name, p=p: values[name][p], SPECS)
           for p in range(len(truth))]
    assert len(set(zip(own, truth, strict=True))) == 3, "each kind is one cluster"


def test_names_say_what_is_telling() -> None:
    names = found().clusters.names
    assert len(set(names)) == 3
    assert any("high_spend" in name or "many_purchases" in name for name in names)
    assert any("old_purchase" in name or "low_spend" in name or "few_purchases" in name
               for name in names)


def test_no_two_clusters_have_one_name_whatever_features_are_called() -> None:
    specs = {name: FeatureSpec(name, "*", "lifetime") for name in ("a__b", "a" * 59, "a__2")}
    dice = np.random.default_rng(3)
    learned = learn({name: [float(v) for v in dice.integers(0, 400, 300)] for name in specs},
                    specs, clusters=20, seed=1)
    assert len(set(learned.clusters.names)) == 20
    assert max(map(len, learned.clusters.names)) <= 60


def test_the_same_people_and_seed_say_the_same() -> None:
    assert found() == found()


def test_clusters_nobody_can_tell_apart_score_poorly() -> None:
    dice = np.random.default_rng(5)
    noise: Values = {name: [float(v) for v in dice.lognormal(3, 1, 800)] for name in NAMES}
    assert learn(noise, SPECS, clusters=4, seed=1).silhouette < 0.4 < found().silhouette


def test_the_written_file_is_read_back_as_it_was_learned(tmp_path: Path) -> None:
    told = found()
    (tmp_path / "clusters.yml").write_text(
        file_of(told, tenant="shop", version=3, learned="2026-01-01 00:00:00"))
    rules = "\n".join(f"  s{n}: {{cluster: {name}}}" for n, name in enumerate(told.clusters.names))
    (tmp_path / "segments.yml").write_text(f"version: 1\nsegments:\n{rules}\n")
    assert check(tmp_path) == []
    assert {spec.clusters for spec in load(tmp_path).segments} == {told.clusters}
    assert version_of(tmp_path / "clusters.yml") == 3


def test_what_cannot_be_learned_is_refused() -> None:
    values, _ = world(1)
    with pytest.raises(KairosError, match="too few"):
        learn({name: column[:20] for name, column in values.items()}, SPECS, clusters=3, seed=1)
    with pytest.raises(KairosError, match="no feature in which these people differ"):
        learn({"product_views_1h": [3.0] * 100}, SPECS, clusters=3, seed=1)
    with pytest.raises(KairosError, match="fewer than 3 kinds"):
        learn({"spend_365d": [1.0, 50.0] * 50}, SPECS, clusters=3, seed=1)


def test_a_feature_that_few_people_have_or_that_fades_is_no_axis() -> None:
    values, _ = world(1)
    values["mean_gap_days"] = [2.0 * n if n < 40 else None for n in range(1000)]
    specs = {**SPECS, "warm": FeatureSpec("warm", "*", "decay", half_life_ms=DAY_MS),
             "counted": FeatureSpec("counted", "*", "lifetime", purpose="measure")}
    values |= {name: [float(n) for n in range(1000)] for name in ("warm", "counted")}
    assert [axis.feature for axis in learn(values, specs, clusters=3, seed=1).clusters.axes] == [
        *NAMES]


def test_what_sets_the_smallest_cluster_apart_is_said_with_the_way_to_leave_it_out() -> None:
    values, _ = world(1)
    few = [100.0 if person < 15 else 1.0 + person % 3 for person in range(1000)]
    told = learn({**values, "product_views_1h": few}, SPECS, clusters=4, seed=7)
    assert told.people[-1] == 15 and told.marks[-1][0] == "product_views_1h"
    with pytest.raises(KairosError) as refused:
        refuse_small(told, 20)
    said = f"{refused.value}"
    assert f"{told.clusters.names[-1]}, has fewer than 20 people" in said
    assert "apart is product_views_1h" in said and "--feature" in refused.value.remedy
    refuse_small(told, 15)


def test_values_are_those_of_the_decisions() -> None:
    rows = [{"features": '{"a": {"value": 1.5, "age_ms": 3}, "b": {"value": null}}'},
            {"features": "{}"}]
    assert values_of(rows, ("a", "b")) == {"a": [1.5, None], "b": [None, None]}


@pytest.mark.integration
def test_the_command_learns_from_the_newest_decisions_of_those_who_agreed(
        clickhouse: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, landed = connect(clickhouse, user="writer"), Landed(())
    migrate.apply(writer)
    values, _ = world(1)
    for person in range(len(values["spend_365d"])):
        landed.decision(person, 0, 10, {name: 1.0 for name in NAMES}, purposes=15)
        landed.decision(person, 0, 20, {name: values[name][person] for name in NAMES}, purposes=15)
        landed.decision(5000 + person, 0, 20, {name: 10.0 ** (person % 5) for name in NAMES},
                        purposes=7)
        landed.decision(20_000 + person, 0, 20, {name: 7.0 ** (person % 7) for name in NAMES},
                        purposes=15)
    landed.decision(9999, 0, 20, {name: 1.0 for name in NAMES}, purposes=15, tenant="other")
    for table in (*TABLES, "raw_consents_changed"):
        writer.command(f"TRUNCATE TABLE {table}")
    landed.fill(writer)
    words = [{"tenant": TENANT, "profile_id": f"p{first + person}", "purpose": purpose,
              "granted": granted, "event_ms": 30, "recorded_ms": NOW_MS, "_appended_ms": NOW_MS}
             for person in range(len(values["spend_365d"]))
             for first, purpose, granted in ((0, "contact", False), (0, "train", True),
                                             (20_000, "train", False))]
    writer.raw_insert("raw_consents_changed", fmt="JSONEachRow",
                      insert_block=b"\n".join(json.dumps(word).encode() for word in words))
    monkeypatch.setattr("streams.settings.load", lambda: clickhouse)
    out = tmp_path / "a folder of its own" / "clusters.yml"
    asked = ["learn", "--clusters", "3", "--tenant", TENANT, "--out", str(out)]
    for version in (1, 2):
        said = CliRunner().invoke(segments, asked, catch_exceptions=False)
        assert said.exit_code == 0, said.output
        assert "silhouette" in said.output and "60.0%" in said.output
        assert version_of(out) == version
    text = out.read_text()
    assert "people: 1000" in text and f"tenant: {json.dumps(TENANT)}" in text
    (out.parent / "segments.yml").write_text(
        "version: 1\nsegments:\n  s: {cluster: recent_purchase}\n")
    assert check(out.parent) == []
    with pytest.raises(KairosError, match="fewer than 20 people"):
        CliRunner().invoke(segments, ["learn", "--clusters", "20", "--tenant", TENANT, "--out",
                                      str(out)], catch_exceptions=False)
    assert version_of(out) == 2, "what is refused is not written"
    for table in (*TABLES, "raw_consents_changed"):
        writer.command(f"TRUNCATE TABLE {table}")
