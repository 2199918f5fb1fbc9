"""Definitions change between two owners of a partition: nothing is lost, mistakes are caught."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sim_changing
from broker_model import Broker, drive
from test_choose_crash import PLAYBOOKS, START, watermark, world
from test_handover import PERSON, VISITOR, link
from test_handover import event as visits
from test_handover import world as handed_over

from schemas import contract
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import load
from streams.choose.features.layout import MASK
from streams.choose.features.migrating import Layouts, Plan
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec
from streams.choose.tables import Tables
from streams.engine.lane import Lane
from streams.kernel.errors import KairosError
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Condition

SEEDS = 300


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """A lane logs the walk that fails; here some are meant to."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("start", range(0, 100, 50))
def test_whatever_befalls_the_workers_rows_are_those_of_the_twin(start: int) -> None:
    happened = Counter[str]()
    for seed in range(start, start + 50):
        try:
            happened += sim_changing.run(seed)
        except Exception as fault:
            raise AssertionError(f"seed {seed}") from fault
    assert happened["crashes"] > 200 and happened["changed in the middle"] > 10


def is_caught() -> bool:
    for seed in range(SEEDS):
        try:
            sim_changing.run(seed)
        except (AssertionError, KairosError, LookupError, ValueError):
            return True
    return False


def losing(real: Callable[..., None], *, tile: int) -> Callable[..., None]:
    """Migration that leaves eight bytes of every cell out."""
    def copy(self: Plan, source: int, target: int, size: int) -> None:
        real(self, source, target, tile)
        real(self, source + tile + 8, target + tile + 8, size - tile - 8)
    return copy


def test_the_same_copy_in_two_pieces_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """What shows that the mistake below is caught for being one."""
    real = Plan._copy

    def copy(self: Plan, source: int, target: int, size: int) -> None:
        real(self, source, target, 8)
        real(self, source + 8, target + 8, size - 8)

    monkeypatch.setattr(Plan, "_copy", copy)
    for seed in range(30):
        sim_changing.run(seed)


@pytest.mark.parametrize("tile", [0, 8, 16])
def test_a_lost_tile_on_migration_is_caught(monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    """Of the number of the newest tile, the first tile, another one."""
    monkeypatch.setattr(Plan, "_copy", losing(Plan._copy, tile=tile))
    assert is_caught()


def test_a_layout_that_is_not_told_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layouts, "take_due", lambda self: [])
    monkeypatch.setattr(Tables, "dirty", False)
    assert is_caught()


def test_coverage_that_every_owner_begins_anew_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Layouts.settle

    def settle(self: Layouts, newest_ms: Any, start: int = 0) -> None:
        real(self, newest_ms, start)
        self._now = type(self._now)(self._now.number, self._now.description, {
            signature: dict(newest_ms) for signature in self._now.since})

    monkeypatch.setattr(Layouts, "settle", settle)
    assert is_caught()


# Segments: who is a member is asked anew, of those as well from whom nothing is heard any more.

SHIPPED = load()
IDLE = SegmentSpec("idle", Condition("feature", name="days_since_seen", compare="at_least",
                                     number=3))
KEEN = Condition("feature", name="purchases_365d", compare="at_least", number=1)


def changed() -> tuple[SegmentSpec, ...]:
    """One more in front, one gone, one with another rule."""
    kept = [spec for spec in SHIPPED.segments if spec.name != "browser"]
    return (IDLE, *(SegmentSpec("vip", KEEN) if spec.name == "vip" else spec for spec in kept))


def logic(segments: tuple[SegmentSpec, ...]) -> ChooseLogic:
    return ChooseLogic(SideInputs(), Program(SHIPPED.features, segments),
                       lambda side, tenant: PLAYBOOKS, members_min=0)


def halves(seed: int) -> tuple[Broker, list[tuple[bytes, bytes | None]]]:
    """A world's first part, and the rest of it: a last watermark, soon after the change."""
    broker = world(seed)
    log = broker.logs[pipeline.ADMITTED, 0]
    marks = [n for n, (_, value) in enumerate(log) if contract("watermark").is_mine(value or b"")]
    cut = marks[-3]
    rest, log[cut:] = log[cut:marks[-1]], []
    return broker, rest


def members(lane: Lane, program: Program) -> dict[bytes, list[str]]:
    people = lane.state.slab.people
    return {people.key(slot): program.names(int(people.views.i64[slot, MASK]))
            for slot in people.index}


def told(broker: Broker) -> dict[tuple[str, str], bool]:
    """Per person and segment the last that was told: in (True) or out."""
    found = {}
    for record in broker.records(pipeline.SEGMENT_CHANGES, 0):
        change = contract(pipeline.SEGMENT_CHANGES).decode(record.value)
        found[change["profile_id"], change["segment"]] = change["entered"]
    return found


@pytest.mark.parametrize("seed", range(6))
def test_members_and_what_was_told_of_them_follow_the_new_rules(seed: int) -> None:
    program = Program(SHIPPED.features, changed())
    broker, rest = halves(seed)
    assert drive(broker, logic(SHIPPED.segments), 0) is not None
    before, effects = dict(told(broker)), broker.effects
    broker.logs[pipeline.ADMITTED, 0] += rest
    lane = drive(broker, logic(changed()), 0)
    assert lane is not None
    found = members(lane, program)

    twin_broker, _ = halves(seed)
    twin_broker.logs[pipeline.ADMITTED, 0] += rest
    twin = drive(twin_broker, logic(changed()), 0)
    assert twin is not None
    assert found == members(twin, program), f"{seed=}"
    now = told(broker)
    for name in ("idle", "vip", "lapsed", "active", "new"):
        assert ({who for (who, segment), entered in now.items() if segment == name and entered}
                == {key.decode() for key, names in found.items() if name in names}), name
    assert {key for key in now if key[1] == "browser"} == {
        key for key in before if key[1] == "browser"}, "a segment that is gone is not spoken of"
    sizes = lane.state.notes["sizes"]["t"]
    assert {name: count for name, count in sizes.items() if count} == {
        name: count for name in ("idle", "vip", "lapsed", "active", "new")
        if (count := sum(name in names for names in found.values()))}

    dice = random.Random(seed)
    for fuse in sorted(dice.sample(range(effects, broker.effects), 12)):
        again, _ = halves(seed)
        assert drive(again, logic(SHIPPED.segments), 0) is not None
        again.logs[pipeline.ADMITTED, 0] += rest
        again.fuse = fuse
        assert drive(again, logic(changed()), 0) is None
        again.fuse = 10**9
        after = drive(again, logic(changed()), 0)
        assert after is not None
        assert members(after, program) == found and told(again) == now, f"{seed=} {fuse=}"


def test_a_snapshot_of_the_old_layout_is_passed_over_and_the_changelog_read() -> None:
    broker, rest = halves(1)
    old = drive(broker, logic(SHIPPED.segments), 0)
    assert old is not None
    old.snapshot()
    assert broker.snapshots
    broker.logs[pipeline.ADMITTED, 0] += rest
    lane = drive(broker, logic(changed()), 0)
    assert lane is not None and len(lane.state.slab) >= len(old.state.slab)
    slots = np.fromiter(lane.state.slab.people.index, np.int64)
    assert (lane.state.slab.people.views.i64[slots, 0] > 0).all()


def test_a_visitor_handed_over_around_the_change_is_counted_once_as_the_person() -> None:
    """Whatever the old owner came to, also when the row waits in the log in its layout."""
    records = [visits(number, VISITOR, "purchase", START + number * HOUR_MS)
               for number in range(1, 5)]
    records += [link(9, START + 9 * HOUR_MS), visits(10, PERSON, "purchase", START + 10 * HOUR_MS)]
    records.append((b"t", watermark(START + 11 * HOUR_MS)))
    late = [visits(12, VISITOR, "purchase", START + 12 * HOUR_MS),
            (b"t", watermark(START + 13 * HOUR_MS))]
    whole = handed_over(*records)
    assert drive(whole, logic(SHIPPED.segments), 0, batch=1, checkpoint_every=1) is not None
    program = Program((*sim_changing.NEW, *reversed(SHIPPED.features)), changed())
    for fuse in range(whole.effects + 1):
        broker = handed_over(*records)
        broker.fuse = fuse
        drive(broker, logic(SHIPPED.segments), 0, batch=1, checkpoint_every=1)
        broker.fuse = 10**9
        broker.logs[pipeline.ADMITTED, 0] += late
        lane = drive(broker, ChooseLogic(SideInputs(), program, lambda side, tenant: (),
                                         members_min=0), 0)
        assert lane is not None
        people = lane.state.slab.people
        slot = people.find(PERSON.encode())
        assert slot is not None
        assert program.feature(people, slot, "orders_lifetime", START + DAY_MS) == 6, f"{fuse=}"
        assert program.feature(people, slot, "spend_30d", START + DAY_MS) == 120.0, f"{fuse=}"
        assert members(lane, program)[VISITOR.encode()] == []
        assert not any(entered for (who, _), entered in told(broker).items() if who == VISITOR)


@pytest.mark.parametrize("giver_is_new", [False, True])
def test_amid_a_deployment_a_visitors_row_is_read_by_an_owner_of_other_definitions(
        giver_is_new: bool) -> None:
    """Two partitions, of which neither has ever seen the other's layout."""
    old, new = sim_changing.programs()
    giver, taker = (new, old) if giver_is_new else (old, new)
    one = handed_over(*(visits(n, VISITOR, "purchase", START + n * HOUR_MS) for n in range(1, 5)),
                      link(9, START + 9 * HOUR_MS))
    assert drive(one, sim_changing.logic(giver), 0) is not None
    [passed] = [value for _, value in one.logs[pipeline.ADMITTED, 0]
                if value is not None and contract("handover").is_mine(value)
                and contract("handover").decode(value)["row"]]
    other = handed_over(visits(10, PERSON, "purchase", START + 10 * HOUR_MS),
                        (PERSON.encode(), passed))
    lane = drive(other, sim_changing.logic(taker), 0)
    assert lane is not None and not other.logs["events.quarantined", 0]
    people = lane.state.slab.people
    slot = people.find(PERSON.encode())
    assert slot is not None
    read = {name: taker.feature(people, slot, name, START + DAY_MS)
            for name in ("orders_lifetime", "spend_30d")}
    assert read == {"orders_lifetime": 5, "spend_30d": 100.0}
