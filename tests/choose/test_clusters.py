"""Learned clusters: compiled rules and the plain twin agree; time moves people when it was said."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from feature_twin import Fast
from hypothesis import given, settings
from hypothesis import strategies as st
from test_features import BY_NAME, SPECS, START, history

from streams.choose.definitions import check, load
from streams.choose.features.changing import next_change
from streams.choose.features.clusters import Axis, Clusters
from streams.choose.features.layout import EVER_MS
from streams.choose.features.rules import Rules, compile_rules, members_mask
from streams.choose.segments import SegmentSpec, meaning_of, members_of
from streams.kernel.moments import DAY_MS
from streams.playbooks.model import Condition

AXES = ("views_1h", "all_7d", "spend_30d", "items_7d", "orders", "since", "gap", "per_order")


def some(seed: int) -> Clusters:
    dice = random.Random(seed)
    return Clusters(
        tuple(Axis(name, -5.0, dice.choice([3.0, 50.0, 4000.0]), dice.random() * 3,
                   dice.random() + 0.1) for name in AXES),
        tuple((f"c{n}", tuple(dice.gauss(0, 2) for _ in AXES)) for n in range(4)))


def asking(clusters: Clusters) -> tuple[SegmentSpec, ...]:
    own = tuple(SegmentSpec(f"s{n}", Condition("cluster", name=name), clusters)
                for n, name in enumerate(clusters.names))
    return (*own, SegmentSpec("not_first", Condition("not", (Condition("cluster", name="c0"),)),
                              clusters))


def compiled(row: Fast, clusters: Clusters) -> Rules:
    specs = asking(clusters)
    return compile_rules([s.rule for s in specs], row.layout, [s.name for s in specs], clusters)


def members(row: Fast, rules: Rules, at_ms: int) -> int:
    v = row.rows.views
    return int(members_mask(rules.starts, rules.steps, rules.numbers, row.layout.reads, v.u8, v.u16,
                            v.i64, row.slot, at_ms, np.uint64(0)))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 80), st.integers(0, 500 * DAY_MS))
def test_the_compiled_nearest_is_that_of_the_plain_twin(seed: int, events: int, later: int) -> None:
    clusters, row = some(seed), Fast(SPECS).take(*history(seed, events))
    specs, at_ms = asking(clusters), START + 20 * DAY_MS + later
    rules = compiled(row, clusters)
    expected = members_of(specs, lambda name: row.value(name, at_ms),
                          cluster=lambda c: c.nearest(lambda n: row.value(n, at_ms), BY_NAME))
    mask = members(row, rules, at_ms)
    assert [s.name for n, s in enumerate(specs) if mask >> n & 1] == expected
    assert sum(mask >> n & 1 for n in range(4)) == 1, "everybody is in exactly one"


def test_between_two_said_moments_nobody_moves() -> None:
    moved = [moves(seed) for seed in range(8)]
    assert sum(map(bool, moved)) > 5, "the worlds have people whom time moves"


def moves(seed: int) -> int:
    """How often time moves somebody, always when it was said."""
    clusters, dice = some(seed), random.Random(seed)
    row = Fast(SPECS).take(*history(seed, 40))
    rules, v = compiled(row, clusters), row.rows.views
    at_ms, moved = START + 20 * DAY_MS, 0
    for _ in range(400):
        until = int(next_change(row.layout.reads, v.u8, v.u16, v.i64, row.slot, rules.watched,
                                rules.crossings, at_ms))
        standing = members(row, rules, at_ms)
        for _ in range(5):
            between = dice.randrange(at_ms, min(until, at_ms + 900 * DAY_MS))
            assert members(row, rules, between) == standing
        if until == EVER_MS:
            break
        moved += members(row, rules, until) != standing
        at_ms = until
    assert until == EVER_MS
    return moved


def test_learning_anew_changes_the_meaning_and_nothing_else_does() -> None:
    plain = SegmentSpec("s", Condition("feature", name="orders", compare="at_least", number=1))
    one, two = asking(some(1))[0], asking(some(2))[0]
    assert meaning_of(one, SPECS) == meaning_of(asking(some(1))[0], SPECS)
    assert meaning_of(one, SPECS) != meaning_of(two, SPECS)
    assert meaning_of(plain, SPECS) == meaning_of(SegmentSpec("s", plain.rule, None), SPECS)


FILE = """\
version: 1
features:
  spend_365d:          {low: 0, high: 5000, center: 3.2, scale: 1.1}
  days_since_purchase: {low: 0, high: 365, center: 2.5, scale: 0.9}
clusters:
  recent_high_spend: {people: 812, at: [1.2, -0.3]}
  long_ago:          {people: 4000, at: [-0.5, 1.1]}
"""
RULES = ("version: 1\nsegments:\n  best: {cluster: recent_high_spend}\n"
         "  rest: {not: {segment: best}}\n")


def folder(tmp_path: Path, file: str | None, rules: str = RULES) -> Path:
    (tmp_path / "segments.yml").write_text(rules)
    if file is not None:
        (tmp_path / "clusters.yml").write_text(file)
    return tmp_path


def test_a_folder_with_clusters_is_read(tmp_path: Path) -> None:
    best, rest = load(folder(tmp_path, FILE)).segments
    assert best.clusters is not None and rest.clusters is None
    assert best.clusters.names == ("recent_high_spend", "long_ago")
    assert best.clusters.axes[1] == Axis("days_since_purchase", 0.0, 365.0, 2.5, 0.9)


@pytest.mark.parametrize(("old", "new", "line", "said"), [
    ("spend_365d:  ", "spend_366d:  ", 3, "no such feature"),
    ("low: 0, high: 5000", "low: 9000, high: 5000", 3, "low is above high"),
    ("scale: 1.1", "scale: 0", 3, "scale"),
    ("at: [1.2, -0.3]", "at: [1.2]", 6, "1 numbers for 2 features"),
    ("  long_ago:          {people: 4000, at: [-0.5, 1.1]}\n", "", 6, "has 1 entries"),
    ("version: 1", "version: one", 1, "version"),
])
def test_a_bad_file_is_refused_with_line_and_remedy(tmp_path: Path, old: str, new: str, line: int,
                                                    said: str) -> None:
    assert old in FILE
    faults = check(folder(tmp_path, FILE.replace(old, new)))
    assert [f.line for f in faults if f.file.endswith("clusters.yml")][:1] == [line], faults
    assert said in str(faults[0]) and faults[0].remedy


@pytest.mark.parametrize(("file", "rule", "said"), [
    (None, "{cluster: best}", "kairos segments learn"),
    (FILE, "{cluster: best}", "unknown cluster 'best'"),
    (FILE, "{cluster: long_ago, feature: a}", "stands alone"),
])
def test_a_rule_may_only_ask_for_what_was_learned(tmp_path: Path, file: str | None, rule: str,
                                                  said: str) -> None:
    faults = check(folder(tmp_path, file, f"version: 1\nsegments:\n  s: {rule}\n"))
    assert [f.line for f in faults] == [3] and said in str(faults[0])
