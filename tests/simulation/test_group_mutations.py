"""The simulation of groups and things catches these mistakes of their second phase."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import sim_groups

from streams.choose import pooling
from streams.choose.entities.rows import Entities
from streams.choose.entities.telling import Telling
from streams.choose.sharing import TELL_EVERY_MS, Shares
from streams.choose.tables import Tables, is_group
from streams.kernel.errors import KairosError
from streams.kernel.side_inputs import SEGMENT, SideInputs

SEEDS = 100
Patch = pytest.MonkeyPatch
TAKE, TELL = SideInputs._take_share, Shares.tell
SHARES, STANDING, DIRTY = Shares.__init__, Telling._standing, Tables.take_dirty


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """A lane logs the walk that fails; here some are meant to."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def taken_as(changed: Callable[[SideInputs, dict[str, Any]], dict[str, Any]]) -> Any:
    """Shares are taken as if they said something else."""
    return lambda self, record: TAKE(self, {**record, **changed(self, dict(record))})


def counted_again_after_a_take_over(patch: Patch) -> None:
    """A share is an owner's, not a partition's: that of the owner before counts as well."""
    patch.setattr(SideInputs, "_take_share", taken_as(
        lambda side, record: {"partition": record["partition"] + 1_000 * record["epoch"]}))


def a_zombie_s_share_stands(patch: Patch) -> None:
    """Nobody looks at epochs: what an earlier owner says late is the newest word."""
    patch.setattr(SideInputs, "_take_share", taken_as(lambda side, record: {"epoch": 0}))


def lost_when_a_partition_moves(patch: Patch) -> None:
    """A new owner says what changes from now on, and not what the one before died over."""
    def begin(self: Shares, groups: Any) -> None:
        SHARES(self, groups)
        self._due.clear()
    patch.setattr(Shares, "__init__", begin)


def things_are_lost_when_a_partition_moves(patch: Patch) -> None:
    """The same of things: a new owner takes what was said for what it has said itself."""
    def standing(self: Telling, side: SideInputs, partition: int) -> set[bytes]:
        due = set(self._due)
        found = STANDING(self, side, partition)
        if self._told is None:
            self._due &= due
        return found
    patch.setattr(Telling, "_standing", standing)


def forgotten_before_it_is_time(patch: Patch) -> None:
    """What changes within five seconds of the last telling is never told."""
    def tell(self: Shares, program: Any, side: Any, state: Any, out: Any) -> None:
        if 0 < out.now_ms - self._told_ms < TELL_EVERY_MS:
            self._due.clear()
        TELL(self, program, side, state, out)
    patch.setattr(Shares, "tell", tell)


def said_before_it_is_kept(patch: Patch) -> None:
    """Rows of groups are said, and are not among what the checkpoint writes."""
    patch.setattr(Tables, "take_dirty", lambda self: [
        key for key in DIRTY(self) if not is_group(key)])


def things_are_said_before_they_are_kept(patch: Patch) -> None:
    def take(self: Entities) -> list[bytes]:
        for each in self.of.values():
            each.rows.take_dirty()
        return []
    patch.setattr(Entities, "take_dirty", take)


def a_thing_s_share_is_added(patch: Patch) -> None:
    """A share that comes again, as after a replay, is another share."""
    def changed(side: SideInputs, record: dict[str, Any]) -> dict[str, Any]:
        group = (record["tenant"], record["entity"], record["segment"])
        count = 0 if record["entity"] == SEGMENT else len(side.rolls.get(group, {}))
        return {"partition": record["partition"] + 1_000 * count}
    patch.setattr(SideInputs, "_take_share", taken_as(changed))


def members_are_added(patch: Patch) -> None:
    def take(self: SideInputs, record: dict[str, Any]) -> None:
        group = (record["tenant"], record["entity"], record["segment"])
        before = self.rolls.get(group, {}).get(record["partition"])
        TAKE(self, record)
        if before is not None and group in self._members:
            self._members[group] += before["members"]
    patch.setattr(SideInputs, "_take_share", take)


def one_partition_stands_for_all(patch: Patch) -> None:
    """Only the share that came last is kept."""
    def take(self: SideInputs, record: dict[str, Any]) -> None:
        TAKE(self, record)
        group = (record["tenant"], record["entity"], record["segment"])
        if group in self.rolls:
            self.rolls[group] = {record["partition"]: dict(record)}
    patch.setattr(SideInputs, "_take_share", take)


def what_fell_out_stays(patch: Patch) -> None:
    """A thing that is told no more is not said to be empty."""
    def standing(self: Telling, side: SideInputs, partition: int) -> set[bytes]:
        STANDING(self, side, partition)
        return set()
    patch.setattr(Telling, "_standing", standing)


def a_row_of_one_partition_twice(patch: Patch) -> None:
    real = pooling.pooled
    patch.setattr(pooling, "pooled", lambda layout, parts: real(layout, [*parts, parts[-1]]))


MISTAKES = (counted_again_after_a_take_over, a_zombie_s_share_stands, lost_when_a_partition_moves,
            things_are_lost_when_a_partition_moves, forgotten_before_it_is_time,
            said_before_it_is_kept, things_are_said_before_they_are_kept,
            a_thing_s_share_is_added, members_are_added, one_partition_stands_for_all,
            what_fell_out_stays, a_row_of_one_partition_twice)


def caught_at() -> int | None:
    """The first seed whose world shows the mistake."""
    for seed in range(SEEDS):
        try:
            sim_groups.run(seed)
        except (AssertionError, KairosError, LookupError, ValueError):
            return seed
    return None


def test_without_a_mistake_every_world_is_the_twin_s() -> None:
    happened = sum((sim_groups.run(seed) for seed in range(SEEDS // 4)),
                   start=sim_groups.run(SEEDS))
    assert happened["crashes"] > 20 and happened["zombies"] > 20


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: str(mistake.__name__))
def test_the_mistake_is_caught(mistake: Callable[[Patch], None], monkeypatch: Patch,
                               capsys: pytest.CaptureFixture[str]) -> None:
    mistake(monkeypatch)
    seed = caught_at()
    with capsys.disabled():
        print(f"\n  {mistake.__name__.replace('_', ' ')}: "
              f"{'not caught' if seed is None else f'caught in world {seed}'}", end="")
    assert seed is not None
