"""The benchmark of the signal path: its definitions, its data, and what lies in the repository."""

from __future__ import annotations

import io
import json
import re
import sys

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.signal import data, workloads
from bench.signal.workloads import CART_ADD, HOUR_MS, MINUTE_MS, PURCHASE, VIEW
from streams.settings import PROJECT

sys.path.insert(0, str(PROJECT / "bench" / "peers" / "python"))
from row import Row

PEERS = PROJECT / "bench" / "peers"


@pytest.mark.parametrize("source", data.SOURCES)
def test_times_name_events_and_the_same_seed_gives_the_same_stream(source: str) -> None:
    one, other = (data.make(source, events=20_000, users=500, seed=7) for _ in range(2))
    assert len(one) == 20_000
    assert (np.diff(one.ms) > 0).all()
    assert [list(one.events()), one.ends()] == [list(other.events()), other.ends()]


def test_every_workload_fires_on_every_stream_it_is_given() -> None:
    for source in ("zipf", "otto", "retail"):
        stream = data.make(source, events=60_000, users=3_000)
        for name in ("W1", "W2", "W3"):
            fired = list(workloads.TWINS[name](stream.events()))
            assert 0.0001 < len(fired) / len(stream) < 0.1, (source, name)
    absent = data.make("absence", events=60_000, users=20_000)
    assert len(set(workloads.absence(absent.events()))) > 20_000


def test_the_compact_row_of_the_peers_agrees_with_the_twin() -> None:
    stream = data.make("zipf", events=40_000, users=2_000)
    rows: dict[str, Row] = {}
    fired = []
    for user, kind, ms, cents in stream.events():
        row = rows[user] = Row(bytes(rows[user])) if user in rows else Row()
        if row.add(kind, ms, cents):
            fired.append((user, ms))
    assert len(fired) > 100
    assert fired == list(workloads.features(stream.events()))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3 * 24 * HOUR_MS)), max_size=60))
def test_the_twin_counts_what_lies_in_the_tiles_of_each_window(
        steps: list[tuple[int, int]]) -> None:
    row, ms, seen = workloads.Features(), data.START_MS, []
    for kind, step in steps:
        ms += step
        seen.append((kind, ms))
        row.add(kind, ms, 100)
        for ring, (_, tile_ms, tiles) in enumerate(workloads.RINGS):
            live = ms // tile_ms
            inside = [k for k, at in seen if live - tiles <= at // tile_ms <= live]
            assert [row.count(k, ring) for k in range(5)] == [inside.count(k) for k in range(5)]
        assert row.cents() == 100 * sum(
            k == PURCHASE and at // (24 * HOUR_MS) >= ms // (24 * HOUR_MS) - 30 for k, at in seen)
        expected = sum(2 ** ((at - ms) / HOUR_MS) for k, at in seen if k == VIEW)
        assert row.decayed[VIEW][0] == pytest.approx(expected)


def test_absence_is_silence_for_more_than_half_an_hour() -> None:
    def fired(*story: tuple[str, int, int]) -> list[workloads.Firing]:
        return sorted(workloads.absence((user, kind, ms, 0) for user, kind, ms in story))

    end = ("", -1, 10 * HOUR_MS)
    limit = 30 * MINUTE_MS
    assert fired(("a", CART_ADD, 5), end) == [("a", 5)]
    assert fired(("a", CART_ADD, 5), ("a", PURCHASE, 5 + limit), end) == []
    assert fired(("a", CART_ADD, 5), ("a", PURCHASE, 6 + limit), end) == [("a", 5)]
    assert fired(("a", CART_ADD, 5), ("a", VIEW, 9), ("b", PURCHASE, 10), end) == [("a", 5)]
    assert fired(("a", CART_ADD, 5), ("a", CART_ADD, 5 + limit), end) == [("a", 5 + limit)]
    assert fired(("a", CART_ADD, 5), ("b", VIEW, 5 + limit)) == []


def test_a_hopping_sum_fires_when_the_oldest_window_is_lifted_over_the_threshold() -> None:
    def fired(*story: tuple[int, int]) -> list[int]:
        return [ms for _, ms in workloads.hopping(("a", VIEW, ms, cents) for ms, cents in story)]

    start = data.START_MS // HOUR_MS * HOUR_MS
    assert fired((start, 49_999), (start + 59 * MINUTE_MS, 1)) == [start + 59 * MINUTE_MS]
    assert fired((start, 49_999), (start + HOUR_MS, 1)) == []
    assert fired((start, 60_000), (start + 1, 60_000)) == [start]


def test_json_and_avro_carry_the_same_events() -> None:
    stream = data.make("zipf", events=500, users=50)
    pairs = zip(stream.records("json"), stream.records("avro"), strict=True)
    for (key, text), (_, avro) in pairs:
        fields = json.loads(text)
        assert fields == fastavro.schemaless_reader(io.BytesIO(avro), data.AVRO_SCHEMA, None)
        assert key.decode() == fields["user_id"]
        assert 160 <= len(text) <= 185


def test_users_lie_where_kafkas_default_partitioner_puts_them() -> None:
    # The numbers are Apache Kafka's: Utils.toPositive(Utils.murmur2(key)) % 8.
    placed = data.murmur2_8(np.array([0, 1, 42, 1_234_567])) % 8
    assert placed.tolist() == [_murmur2(b"u%07d" % user) % 8 for user in (0, 1, 42, 1_234_567)]


def _murmur2(key: bytes) -> int:
    """Apache Kafka's Utils.murmur2, byte by byte, made positive."""
    found = 0x9747B28C ^ len(key)
    for at in range(0, len(key) - len(key) % 4, 4):
        word = int.from_bytes(key[at:at + 4], "little") * 0x5BD1E995 & 0xFFFFFFFF
        word = (word ^ word >> 24) * 0x5BD1E995 & 0xFFFFFFFF
        found = (found * 0x5BD1E995 & 0xFFFFFFFF) ^ word
    found = (found ^ found >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return (found ^ found >> 15) & 0x7FFFFFFF


def test_locks_and_the_module_name_no_addresses() -> None:
    locks = sorted(PEERS.glob("requirements-*.lock"))
    assert [path.name for path in locks] == [
        f"requirements-{peer}.lock" for peer in ("bytewax", "faust", "pathway", "quixstreams")]
    for path in locks:
        for line in path.read_text().splitlines():
            assert re.fullmatch(r"[a-z0-9._-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line,
                                re.IGNORECASE), f"{path.name}: {line}"
    pom = (PEERS / "pom.xml").read_text()
    assert "<repository>" not in pom and "<mirror" not in pom
    assert set(re.findall(r"https?://([^/\"\s]+)", pom)) == {"maven.apache.org", "www.w3.org"}


def test_the_jvm_row_and_jobs_have_the_thresholds_of_the_definition() -> None:
    """The peers in Java repeat the constants; equal outputs prove the rest on every run."""
    java = PEERS / "src" / "main" / "java" / "kairos" / "bench"
    told = (java / "Told.java").read_text().replace("_", "")
    for name in ("COUNT_EVERY", "HOPPING_SIZE_MS", "HOPPING_STEP_MS", "HOPPING_CENTS",
                 "ABSENCE_MS"):
        assert f"{name} = {getattr(workloads, name)}".replace("_", "") in told, name
    row = (java / "Row.java").read_text().replace("_", "")
    for text in (f"views >= {workloads.RULE_VIEWS_1H_MIN}",
                 f"views <= {workloads.RULE_VIEWS_1H_MAX}",
                 f">= {workloads.RULE_DECAYED_VIEWS_MIN}",
                 f"< {workloads.RULE_CENTS_30D_BELOW}"):
        assert text in row, text
