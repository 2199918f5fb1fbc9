"""What a stage says of its time: against a lane that really walked, sent and committed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import pytest

from bench.stages import Broker
from streams.engine.lane import Lane
from streams.engine.records import Out, Record
from streams.engine.slab import Slab
from streams.engine.spent import Spent, Tally
from streams.engine.stage import PartitionState


class Quiet:
    """A stage that says nothing."""

    name, topics = "quiet", ("in",)

    def make_slab(self) -> Slab:
        return Slab(topics=1)

    def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        return None

    def recovered(self, state: PartitionState) -> None: ...
    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None: ...
    def before_checkpoint(self, state: PartitionState, out: Out) -> None: ...


class Ticking:
    """A clock that goes on by a millisecond whenever it is looked at."""

    def __init__(self) -> None:
        self._ticks = count()

    def now_ms(self) -> int:
        return next(self._ticks)


def test_a_lane_knows_what_it_spent_on_what() -> None:
    async def run() -> Lane:
        broker = Broker()
        lane = Lane(Quiet(), 0, upstream=1, changelog_topic="changelog", outbox=broker,
                    source=broker, changelog=broker, snapshots=broker, clock=broker)
        lane.recover()
        lane.spent = Spent(Ticking())
        for offset in range(3):
            await lane.process([Record("in", 0, offset, b"k", b"v", 1)])
        await lane.checkpoint()
        return lane

    assert asyncio.run(run()).spent.ms == {"walks": 3, "acknowledgements": 2, "commits": 1}


def test_what_a_failing_walk_took_counts_too() -> None:
    spent = Spent(Ticking())
    with pytest.raises(ValueError, match="no"), spent.on("walks"):
        raise ValueError("no")
    assert spent.ms == {"walks": 1, "acknowledgements": 0, "commits": 0}


def test_a_tally_tells_shares_of_the_lanes_time_since_the_one_before() -> None:
    one, two = Spent(Ticking()), Spent(Ticking())
    one.ms["walks"] = 5_000
    before = Tally.of(100.0, [(1_000, one), (0, two)])
    one.ms["walks"] += 3_000
    two.ms["commits"] += 1_000
    after = Tally.of(110.0, [(3_000, one), (500, two)])
    words = after.since(before)
    assert words.startswith("2,500 records in 10 s, 250 a second; of the time of 2 lanes:")
    assert "walks 15.0%, acknowledgements 0.0%, commits 5.0%" in words
    assert not after.since(after)
    assert not Tally.of(120.0, [(9_000, one)]).since(after)    # one has gone
