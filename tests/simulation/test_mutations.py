"""The simulation is worth what it catches: each of these mistakes makes it fail within some seeds.

A mistake is made where it would be made: in a lane's order of effects, in what is written, in the
stage, in the producer's options.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import sim
import sim_cold
from sim_stage import Tally

from streams.engine import rows, versions
from streams.engine.cuts import Cut
from streams.engine.lane import Lane
from streams.engine.records import Emission, Out, Record
from streams.engine.saving import Saving
from streams.engine.versions import Entry, Lineage, Versions
from streams.kernel.errors import KairosError

SEEDS = 1_500
Part = tuple[Sequence[bytes], Sequence[bytes | None]]


def is_caught(**options: Any) -> bool:
    for seed in range(SEEDS):
        try:
            sim.run(seed, **options)
        except (AssertionError, KairosError, LookupError, ValueError):
            return True
    return False


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """A lane logs the walk that fails; here some are meant to."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


class Ordered(Lane):
    """The effects of a checkpoint, to be put into another order."""

    async def rows_of(self, cut: Cut) -> Any:
        barrier = self._outbox.barrier()
        self._outbox.send(cut.rows, barrier)
        return barrier

    async def acknowledged(self, barrier: Any) -> None:
        await self._aside(self._outbox.wait, barrier)

    async def commit(self, cut: Cut) -> Lineage:
        lineage = self.versions.next(cut.mark.number)
        await self._aside(self._source.commit, cut.positions, lineage.metadata())
        return lineage


class InOrder(Ordered):
    """The right order, in these words: what shows that the wrong ones fail for being wrong."""

    async def _make_durable(self, cut: Cut) -> None:
        await self.acknowledged(cut.emitted)
        barrier = await self.rows_of(cut)
        await self.acknowledged(barrier)
        self._committed_now(cut, barrier, await self.commit(cut))


class CommitBeforeRows(Ordered):
    async def _make_durable(self, cut: Cut) -> None:
        await self.acknowledged(cut.emitted)
        barrier = await self.rows_of(cut)
        lineage = await self.commit(cut)
        await self.acknowledged(barrier)
        self._committed_now(cut, barrier, lineage)


class CommitBeforeEmissions(Ordered):
    """Past what is still in flight to the next stage."""

    async def _make_durable(self, cut: Cut) -> None:
        barrier = await self.rows_of(cut)
        await self.acknowledged(barrier)
        lineage = await self.commit(cut)
        await self.acknowledged(cut.emitted)
        self._committed_now(cut, barrier, lineage)


class CleanByTheCutBefore(Lane):
    """Rows that changed while a checkpoint was under way are taken for written when it is done."""

    def _committed_now(self, cut: Cut, barrier: Any, lineage: Lineage) -> None:
        super()._committed_now(cut, barrier, lineage)
        self.state.slab.take_dirty()


class OffsetsOfTheCommit(Lane):
    """The offsets as they are when the commit is made: batches behind the cut are in them."""

    async def _make_durable(self, cut: Cut) -> None:
        await super()._make_durable(replace(cut, positions=self.positions))


class CommitPastInFlight(Lane):
    """The offsets of what was handed over, not of what is finished."""

    async def process(self, records: Sequence[Record]) -> None:
        for record in records:
            self.positions[record.topic, record.partition] = record.offset + 1
        await self.checkpoint()
        for record in reversed(records):
            self.positions[record.topic, record.partition] = record.offset
        await super().process(records)


class EmissionsLast(Ordered):
    """Rows first: an emission that leaves after them is lost by a crash in between."""

    def _send(self, emissions: Sequence[Emission]) -> None:
        self.__dict__.setdefault("late", []).extend(emissions)

    async def _make_durable(self, cut: Cut) -> None:
        late = self.__dict__.pop("late", [])
        barrier = await self.rows_of(cut)
        await self.acknowledged(barrier)
        lineage = await self.commit(cut)
        self._outbox.send(late, cut.emitted)
        await self.acknowledged(cut.emitted)
        self._committed_now(cut, barrier, lineage)


class Unbreakable(Lane):
    """Goes on after it was left in the middle of its work."""

    @property
    def _broken(self) -> bool:
        return False

    @_broken.setter
    def _broken(self, value: bool) -> None: ...

    @property
    def _is_lost(self) -> bool:
        return False

    @_is_lost.setter
    def _is_lost(self, value: bool) -> None: ...


class WallClock(Tally):
    def watermark(self, told_ms: int, out: Out) -> int:
        return max(out.now_ms - 10 * 86_400_000, told_ms)


def test_the_right_order_is_not_caught() -> None:
    assert not is_caught(lane_type=InOrder)


@pytest.mark.parametrize("lane_type", [CommitBeforeRows, CommitBeforeEmissions,
                                       CommitPastInFlight, EmissionsLast, Unbreakable])
def test_effects_in_the_wrong_order_are_caught(lane_type: type[Lane]) -> None:
    assert is_caught(lane_type=lane_type)


@pytest.mark.parametrize("lane_type", [CleanByTheCutBefore, OffsetsOfTheCommit])
def test_what_happens_behind_a_cut_and_is_counted_to_it_is_caught(lane_type: type[Lane]) -> None:
    assert is_caught(lane_type=lane_type)


def test_timers_by_the_wall_clock_are_caught() -> None:
    assert is_caught(logic=WallClock())


def test_a_producer_that_leaves_gaps_is_caught() -> None:
    assert is_caught(gapless=False)


def unnumbered(real: Callable[..., Any]) -> Callable[..., Any]:
    """Recovery that takes rows of checkpoints that were never committed."""
    def pieces(self: Versions, changelog: Iterable[Entry]) -> Any:
        return real(self, ((key, value and bytes(8) + value[8:]) for key, value in changelog))
    return pieces


def test_a_missing_stamp_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version's number is what keeps a replay from counting twice."""
    monkeypatch.setattr(Versions, "pieces", unnumbered(Versions.pieces))
    assert is_caught()


def test_a_zombie_without_an_owner_s_tag_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lane writes under the same tags, as if it were the only one that ever lives."""
    monkeypatch.setattr(Lineage, "claimed", lambda self: Lineage(((1, self.number),)))
    monkeypatch.setattr(Lineage, "is_first", False)
    assert is_caught()


def test_overwriting_what_the_last_commit_needs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Versions, "_sides", lambda self: (self.lineage.epoch << 1,) * 2)
    assert is_caught()


def test_clearing_before_the_commit_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign version is cleared along with the row that replaces it."""
    real = Versions.writing

    def writing(self: Versions, number: int, parts: Iterable[Part]) -> Iterator[Entry]:
        due = list(parts)
        keys = [key for given, _ in due for key in given]
        olds = self._tags.find(keys)
        mine = [versions.full(tag, key) for key, tag in zip(keys, olds, strict=True)
                if tag and tag >> 1 != self.lineage.epoch]
        yield from real(self, number, due)
        yield from ((stored, None) for stored in mine)

    monkeypatch.setattr(Versions, "writing", writing)
    assert is_caught()


def test_an_owner_that_does_not_say_so_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the commit that begins an epoch, two owners write under one tag."""
    real = Lane.recover

    def recover(self: Lane) -> Any:
        source = self._source
        self._source = Silent(source)
        try:
            return real(self)
        finally:
            self._source = source

    class Silent:
        def __init__(self, source: Any) -> None:
            self._real = source

        def commit(self, *_: Any) -> None: ...

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    monkeypatch.setattr(Lane, "recover", recover)
    monkeypatch.setattr(Lineage, "is_first", False)
    assert is_caught()


@pytest.mark.parametrize("forgotten", ["bring_due", "bring"])
def test_rows_that_stay_out_of_memory_are_caught(forgotten: str,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """Their timers come up, or events of theirs, and they are not brought back."""
    monkeypatch.setattr(rows.Rows, forgotten, lambda self, *given: None)
    assert is_caught(stage=sim_cold)


def test_a_snapshot_with_rows_that_were_not_committed_is_caught(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are taken in the middle of a checkpoint, before the commit."""
    real = Lane._cut_now

    def cut_and_snapshot(self: Lane) -> Cut:
        cut, slab = real(self), self.state.slab
        if self._changelog_end >= 0:
            saving = Saving(self._snapshots.begin(self.partition), slab, self.versions,
                            self._mark.encode(), next_offset=self._changelog_end,
                            written_ms=self._marked_ms)
            while not saving.go_on(slab, self._mark.number):
                pass
            saving.finish()
        return cut

    monkeypatch.setattr(Lane, "_cut_now", cut_and_snapshot)
    assert is_caught()
