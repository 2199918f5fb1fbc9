"""Random buckets: even, independent of one another, the same everywhere, and what segments make of
them; in compiled code, in the slow twin and in ClickHouse."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client
from feature_twin import Fast, Heard
from hypothesis import given, settings
from hypothesis import strategies as st
from test_features import SPECS, START

from sinks.client import connect
from streams.choose.definitions import check
from streams.choose.features.buckets import place, place_sql
from streams.choose.features.layout import TENANT
from streams.choose.features.rules import compile_rules, members_mask
from streams.choose.segments import SegmentSpec, meaning_of, members_of
from streams.engine.hashing import hash_of, signed_hash
from streams.playbooks.conditions import Asked, Known, parse_condition, show_condition
from streams.playbooks.source import read
from streams.settings import Settings

_MASK = (1 << 64) - 1
TEXTS = st.text(max_size=40)


def mixed(h: int) -> int:
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & _MASK
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return h ^ h >> 33


def hashed(text: str) -> int:
    raw = text.encode()
    words = [int.from_bytes(raw[n:n + 8], "little") for n in range(0, len(raw) - len(raw) % 8, 8)]
    h = 0x9E3779B97F4A7C15 ^ len(raw)
    for word in words:
        h = mixed(h ^ word)
    return mixed(h ^ int.from_bytes(raw[8 * len(words):], "little") ^ 0x9E3779B97F4A7C15) or 1


def twin(tenant: str, bucket: str, profile_id: str) -> float:
    h = mixed(mixed(hashed(profile_id) ^ hashed(bucket)) ^ hashed(tenant))
    return (h >> 11) / 2 ** 53 * 100


@settings(deadline=None)      # the first example compiles
@given(TEXTS, TEXTS, TEXTS)
def test_a_place_is_that_of_the_obvious_twin(tenant: str, bucket: str, profile_id: str) -> None:
    assert place(tenant, bucket, profile_id) == twin(tenant, bucket, profile_id)
    assert 0 <= place(tenant, bucket, profile_id) < 100


def test_places_never_change() -> None:
    """People would be drawn anew."""
    assert place("shop", "spring", "0123456789abcdef0123456789abcdef") == 57.519846015478606


def places(tenant: str, bucket: str, count: int = 20_000) -> np.ndarray:
    return np.array([place(tenant, bucket, f"person-{n}") for n in range(count)])


def test_a_bucket_is_even_and_buckets_and_tenants_are_independent() -> None:
    spring, autumn, other = places("a", "spring"), places("a", "autumn"), places("b", "spring")
    for drawn in (spring, autumn, other):
        tenths = np.bincount((drawn / 10).astype(int), minlength=10)
        # 2,000 expected with a standard deviation of 42; five of them.
        assert np.abs(tenths - 2_000).max() < 212
    for one, two in ((spring, autumn), (spring, other)):
        # Correlation of independent places: standard error 1/sqrt(20,000); five of them.
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.036


RULES = ("{bucket: {name: spring, from: 0, to: 20}}", "{bucket: {name: spring, from: 20, to: 100}}",
         "{all: [{bucket: {name: autumn, from: 12.5, to: 50}}, {feature: orders, at_least: 1}]}",
         "{not: {bucket: {name: autumn, from: 0, to: 50}}}", "{segment: s0}")


def specs() -> tuple[SegmentSpec, ...]:
    names = [f"s{n}" for n in range(len(RULES))]
    return tuple(SegmentSpec(name, parse_condition(
        read(rule).plain(), features={"orders"}, segments=names, asked=Asked()))
        for name, rule in zip(names, RULES, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_compiled_rules_draw_whom_the_plain_conditions_draw(seed: int) -> None:
    dice, segments = random.Random(seed), specs()
    row, names = Fast(SPECS), [spec.name for spec in segments]
    if seed % 2:
        row.take(Heard(0, "purchase", START))
    rules = compile_rules([spec.rule for spec in segments], row.layout, names)
    assert set(rules.watched.tolist()) == {row.layout.by_name["orders"]}, "no bucket wakes anybody"
    v, seen = row.rows.views, set()
    for _ in range(300):
        tenant, person = dice.choice("ab"), f"p{dice.randrange(10_000)}"
        v.i64[row.slot, TENANT] = signed_hash(tenant)
        mask = members_mask(rules.starts, rules.steps, rules.numbers, row.layout.reads, v.u8, v.u16,
                            v.i64, row.slot, START, np.uint64(hash_of(person)))
        expected = members_of(segments, lambda name: row.value(name, START),
                              Known(place=lambda bucket, t=tenant, p=person: twin(t, bucket, p)))
        assert [name for n, name in enumerate(names) if mask >> n & 1] == expected
        assert ("s0" in expected) != ("s1" in expected), "every person is in exactly one share"
        seen.update(expected)
    assert {"s0", "s1", "s3"} <= seen and ("s2" in seen) == bool(seed % 2)


def test_a_changed_share_is_a_changed_segment_and_reads_well() -> None:
    rules = [parse_condition({"bucket": {"name": "spring", "from": 0, "to": to}}, features=(),
                             segments=(), asked=Asked()) for to in (20, 30)]
    one, two = (meaning_of(SegmentSpec("s", rule), ()) for rule in rules)
    assert one != two
    assert show_condition(rules[0]) == "(bucket spring ≥ 0 % and bucket spring < 20 %)"


@pytest.mark.parametrize(("rule", "said"), [
    ("{bucket: spring}", "takes {name: NAME, from: 0, to: 20}"),
    ("{bucket: {name: spring, to: 20}}", "takes {name: NAME, from: 0, to: 20}"),
    ("{bucket: {name: spring, from: 0, to: 20}, feature: a}", "stands alone"),
    ("{bucket: {name: Spring, from: 0, to: 20}}", "lower-case letters"),
    ("{bucket: {name: spring, from: 20, to: 20}}", "not from 20 to 20"),
    ("{bucket: {name: spring, from: -1, to: 20}}", "from 0 up to 100"),
    ("{bucket: {name: spring, from: 0, to: 120}}", "from 0 up to 100"),
    ("{bucket: {name: spring, from: '0', to: 20}}", "are percent"),
    ("{any: [{bucket: {name: spring, from: 0, to: yes}}]}", "are percent"),
])
def test_a_bad_bucket_is_refused_with_its_line(tmp_path: Path, rule: str, said: str) -> None:
    (tmp_path / "segments.yml").write_text(
        "version: 1\nsegments:\n  fine: {bucket: {name: a, from: 0, to: 1}}\n"
        f"  drawn: {rule}\n")
    faults = check(tmp_path)
    assert [fault.line for fault in faults] == [4] and said in str(faults[0])


def test_a_playbook_asks_for_the_segment_instead() -> None:
    with pytest.raises(ValueError, match="declare a segment"):
        parse_condition({"bucket": {"name": "a", "from": 0, "to": 1}}, features=(), segments=())


@pytest.fixture(scope="module")
def asked(clickhouse: Settings) -> Iterator[Client]:
    yield connect(clickhouse, user="writer")


@pytest.mark.integration
def test_clickhouse_finds_the_same_places(asked: Client) -> None:
    people = ["", "p", "1234567", "12345678", "ünïcode-öf-fifteen", "x" * 32,
              *(f"{n:032x}" for n in range(200))]
    sql = place_sql("{tenant:String}", "{bucket:String}", "person")
    found = asked.query(
        f"SELECT person, {sql} FROM (SELECT arrayJoin({{people:Array(String)}}) AS person)",
        parameters={"tenant": "shop", "bucket": "spring_sale", "people": people}).result_rows
    assert len(found) == len(people)
    for person, where in found:
        assert where == pytest.approx(twin("shop", "spring_sale", person), abs=1e-12)
