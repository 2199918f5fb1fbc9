"""A crash between every pair of effects: the same rows and the same emissions as without one.

The stage here is small and obvious (it counts and speaks at every third event of a key); what is
tested is the engine around it. test_simulation.py has what else may go wrong, and the mutations.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from broker_model import Broker, drive

from schemas import contract
from streams.engine.lane import Lane
from streams.engine.records import Out, Record, Seen
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState


class Counting:
    """Counts events per key; emits a segments.rolled record at every third one."""

    name = "counting"
    topics: tuple[str, ...] = ("in",)

    def make_slab(self) -> Slab:
        return Slab(topics=1, fields=1)

    def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        for record in batch:
            out.at(record)
            slot = state.slab.slot(record.key)
            if state.slab.has_seen(slot, 0, record.offset):
                continue
            at = state.slab.base(slot)
            state.slab.words[at] += 1
            state.notes["heard"] = state.notes.get("heard", 0) + 1
            if record.value == b"bad":
                raise RuntimeError("a bug that only this record meets")
            if state.slab.words[at] % 3 == 0:
                out.emit("segments.changed", record.key.decode(), {
                    "change_id": f"{record.key.decode()}-{int(state.slab.words[at])}",
                    "tenant": "t", "profile_id": record.key.decode(), "segment": "s",
                    "entered": True, "event_ms": 1, "cause": "event"})
            state.slab.stamp(slot, 0, record.offset)

    def recovered(self, state: PartitionState) -> None: ...

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None: ...

    def before_checkpoint(self, state: PartitionState, out: Out) -> None: ...


def world(seed: int) -> Broker:
    dice, broker = random.Random(seed), Broker(partitions=1)
    for _ in range(dice.randrange(20, 60)):
        key = f"k{dice.randrange(4)}".encode()
        broker.logs["in", 0].append((key, b"x"))
    return broker


def rows(lane: Lane) -> dict[bytes, float]:
    slab = lane.state.slab
    return {key: slab.words[slab.base(slab.slot(key))] for key in slab}


def heard_downstream(broker: Broker) -> list[str]:
    """What a reader that knows repeats by their origin takes from the topic."""
    seen, taken = Seen(), []
    for record in broker.records("segments.changed", 0):
        fields: dict[str, Any] = contract("segments.changed").decode(record.value)
        if not seen.is_repeat("segments.changed", fields):
            taken.append(fields["change_id"])
    return taken


def obvious(broker: Broker) -> tuple[dict[bytes, float], list[str]]:
    """The slow twin: a loop over the whole log."""
    counts: dict[bytes, float] = {}
    spoken = []
    for key, _ in broker.logs["in", 0]:
        counts[key] = counts.get(key, 0) + 1
        if counts[key] % 3 == 0:
            spoken.append(f"{key.decode()}-{int(counts[key])}")
    return counts, spoken


@pytest.mark.parametrize("seed", range(6))
def test_a_crash_before_any_effect_changes_nothing(seed: int) -> None:
    whole = world(seed)
    assert drive(whole, Counting(), 0) is not None
    for fuse in range(whole.effects):
        broker = world(seed)
        broker.fuse = fuse
        assert drive(broker, Counting(), 0) is None
        broker.fuse = 10**9
        lane = drive(broker, Counting(), 0)
        assert lane is not None
        counts, spoken = obvious(broker)
        assert rows(lane) == counts, f"{seed=} {fuse=}"
        assert heard_downstream(broker) == spoken, f"{seed=} {fuse=}"
        assert lane.state.notes["heard"] <= len(broker.logs["in", 0])


@pytest.mark.parametrize("seed", range(40))
def test_many_crashes_in_one_life_change_nothing(seed: int) -> None:
    dice, broker = random.Random(seed), world(seed)
    lane = None
    while lane is None:
        broker.fuse = broker.effects + dice.randrange(1, 25)
        lane = drive(broker, Counting(), 0, batch=dice.randrange(1, 9),
                     checkpoint_every=dice.randrange(1, 5))
    counts, spoken = obvious(broker)
    assert rows(lane) == counts, f"{seed=}"
    assert heard_downstream(broker) == spoken, f"{seed=}"


def test_a_snapshot_spares_the_changelog_and_one_that_cannot_be_used_does_not_harm() -> None:
    broker = world(2)
    assert drive(broker, Counting(), 0, batch=3, checkpoint_every=1) is not None
    whole, log = broker.snapshots[0], list(broker.logs["counting-changelog", 0])
    counts, _ = obvious(broker)
    for stored, changelog in ((whole, log), (whole[:-1], log), (b"", log)):
        broker.snapshots[0], broker.logs["counting-changelog", 0] = stored, list(changelog)
        lane = drive(broker, Counting(), 0)
        assert lane is not None and rows(lane) == counts
    # What lies before the snapshot is not read again: it may as well be gone.
    broker.snapshots[0] = whole
    end = struct.unpack_from("<q", whole, 17)[0]
    broker.logs["counting-changelog", 0] = [(b"k0", b"no row")] * end + log[end:]
    lane = drive(broker, Counting(), 0)
    assert lane is not None and rows(lane) == counts


def test_a_record_that_the_walk_fails_on_is_quarantined_and_harms_no_neighbour() -> None:
    broker = world(3)
    broker.logs["in", 0].insert(7, (b"k1", b"bad"))
    lane = drive(broker, Counting(), 0)
    assert lane is not None
    taken = broker.logs["events.quarantined", 0]
    fields = contract("events.quarantined").decode(taken[0][1] or b"")
    assert len(taken) == 1
    assert (fields["offset"], fields["payload"], fields["reason"]) == (7, b"bad", "internal_error")
    clean = world(3)
    counts, spoken = obvious(clean)
    assert rows(lane) == counts
    assert heard_downstream(broker) == spoken


def test_many_records_in_a_row_that_the_walk_fails_on_cost_one_return_each() -> None:
    class Returning(Counting):
        returns = 0

        def recovered(self, state: PartitionState) -> None:
            self.returns += 1

    broker, logic = world(4), Returning()
    broker.logs["in", 0][5:5] = [(b"k1", b"bad")] * 14
    lane = drive(broker, logic, 0, checkpoint_every=1000)
    assert lane is not None
    assert len(broker.logs["events.quarantined", 0]) == 14
    assert logic.returns <= 14 + 6      # batches that hold some of them go back once more
    counts, spoken = obvious(world(4))
    assert rows(lane) == counts
    assert heard_downstream(broker) == spoken
