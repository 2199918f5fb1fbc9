"""Slab, timers, watermarks, origins: each against the obvious."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import contract
from streams.engine import hashing
from streams.engine.records import Out, Record, Seen
from streams.engine.slab import Slab
from streams.engine.timers import Timers
from streams.engine.watermarks import NEVER, Watermarks
from streams.kernel import ids
from streams.kernel.errors import StateError

keys = st.binary(min_size=1, max_size=3)


@settings(deadline=None)      # compiled at the first call
@given(st.binary(min_size=1, max_size=80), st.integers(1, 256))
def test_the_compiled_partitioner_is_that_of_every_client(key: bytes, partitions: int) -> None:
    assert hashing.partition_of(key, partitions) == ids.partition_of(key, partitions)


@given(st.lists(st.tuples(keys, st.integers(0, 2**53), st.booleans())))
def test_a_row_read_back_is_the_row_that_was_kept(told: list[tuple[bytes, int, bool]]) -> None:
    slab, twin, copy = Slab(topics=1, fields=2), dict[bytes, float](), Slab(topics=1, fields=2)
    for offset, (key, number, drop) in enumerate(told):
        if drop:
            slab.drop(key)
            twin.pop(key, None)
            continue
        slot = slab.slot(key)
        slab.words[slab.base(slot) + 1] = number
        slab.tails[slot]["n"] = number
        slab.stamp(slot, 0, offset)
        twin[key] = number
    for key in slab.take_dirty():
        copy.apply(key, slab.encode(key))
    assert set(copy) == set(slab) == set(twin)
    for key, number in twin.items():
        slot = copy.slot(key)
        assert copy.words[copy.base(slot) + 1] == number
        assert copy.tails[slot] == {"n": number}
        assert copy.encode(key) == slab.encode(key)


def test_a_row_says_which_offsets_it_includes() -> None:
    slab = Slab(topics=2, fields=0)
    slot = slab.slot(b"k")
    slab.stamp(slot, 1, 7)
    assert [slab.has_seen(slot, 1, offset) for offset in (6, 7, 8)] == [True, True, False]
    assert not slab.has_seen(slot, 0, 0)


@pytest.mark.parametrize("value", [b"", b"KRW1", b"XXXX" + bytes(16), bytes(100)])
def test_bytes_that_are_no_row_are_refused_with_a_remedy(value: bytes) -> None:
    with pytest.raises(StateError):
        Slab(topics=1, fields=1).apply(b"k", value)


def test_a_row_of_another_layout_is_not_taken_for_ours() -> None:
    old, new = Slab(topics=1, fields=1), Slab(topics=1, fields=2, layout=2)
    old.stamp(old.slot(b"k"), 0, 0)
    with pytest.raises(StateError, match="layout 1"):
        new.apply(b"k", old.encode(b"k"))


@given(st.lists(st.tuples(keys, st.integers(0, 50)), max_size=40), st.integers(0, 60))
def test_timers_come_up_in_the_order_of_time_at_the_earliest_of_each_key(
        armed: list[tuple[bytes, int]], now_ms: int) -> None:
    timers, earliest = Timers(), dict[bytes, int]()
    for key, at in armed:
        timers.arm("t", key, at)
        earliest[key] = min(at, earliest.get(key, at))
    due = list(timers.due("t", now_ms))
    assert due == sorted((at, key) for key, at in earliest.items() if at <= now_ms)
    assert len(timers) == len(earliest) - len(due)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 100))))
def test_a_watermark_is_the_slowest_partition_s_and_never_goes_back(
        told: list[tuple[int, int]]) -> None:
    marks, by, last = Watermarks(3), dict[int, int](), NEVER
    for partition, at in told:
        by[partition] = max(at, by.get(partition, NEVER))
        now = marks.advance("t", partition, at)
        assert now == (min(by.values()) if len(by) == 3 else NEVER)
        assert now >= last
        last = now
    assert Watermarks(3, marks.dump()).of("t") == last
    assert marks.of("stranger") == NEVER


def test_an_origin_heard_again_is_a_repeat() -> None:
    seen = Seen()
    heard = [(0, 5, 0), (0, 5, 1), (1, 2, 0), (0, 5, 1), (0, 4, 9), (0, 6, 0)]
    fields = [dict(zip(("origin_partition", "origin_offset", "origin_sequence"), h, strict=True))
              for h in heard]
    assert [seen.is_repeat("x", f) for f in fields] == [False, False, False, True, True, False]
    assert Seen(seen.dump()).is_repeat("x", fields[-1])


def test_emissions_are_numbered_within_the_record_that_caused_them() -> None:
    out = Out("choose", 99)
    change = {"change_id": "c", "tenant": "t", "profile_id": "p", "segment": "s", "entered": True,
              "event_ms": 1, "cause": "event"}
    for offset in (7, 8):
        out.at(Record("events.admitted", 3, offset, b"p", b"", 0))
        out.emit("segments.changed", "p", change)
        out.emit("segments.changed", "p", change)
    origins = [contract("segments.changed").decode(e.value or b"") for e in out.emissions]
    assert [(o["origin_partition"], o["origin_offset"], o["origin_sequence"]) for o in origins] == [
        (3, 7, 0), (3, 7, 1), (3, 8, 0), (3, 8, 1)]
