"""A new feature is filled from the log: rows end as if it had been declared from the beginning,
wherever its owners began, whoever turned out to be whom when, and whoever was killed meanwhile."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sim_changing
from broker_model import Broker, drive
from sim_choose import erasure
from test_choose_crash import START, event, watermark

from schemas import contract
from streams import pipeline
from streams.choose.backfill import OF_PEOPLE, Gap, Past, gaps_of, written
from streams.choose.features.layout import FIRST, LAST, Layout
from streams.choose.features.migrating import Written
from streams.choose.program import Program
from streams.choose.tables import Tables, tables_of
from streams.engine import checkpoints
from streams.engine.lane import Lane
from streams.kernel.ids import partition_of
from streams.kernel.moments import HOUR_MS, MINUTE_MS

OLD, NEW = sim_changing.programs()
VISITORS = {f"v{n}": f"p{n % 2}" for n in range(4)}
ADMITTED = contract("events.admitted")
Records = list[tuple[bytes, bytes]]


def story(seed: int) -> Records:
    """People and visitors, some of whom turn out to be people, at any time; repeats."""
    dice, at_ms, told = random.Random(seed), START, Records()
    linked: set[str] = set()
    for number in range(150):
        at_ms += dice.choice([0, MINUTE_MS, HOUR_MS, 5 * HOUR_MS])
        who = dice.choice([*VISITORS, "p0", "p1", "p2"])
        if who in VISITORS and who not in linked and dice.random() < 0.1:
            linked.add(who)
            told.append((who.encode(), contract("handover").encode({
                "tenant": "t", "visitor_id": who, "profile_id": VISITORS[who], "row": b"",
                "event": b"", "layout": "", "event_ms": at_ms, "appended_ms": at_ms,
                "stage": "admit", "origin_partition": 0, "origin_offset": number,
                "origin_sequence": 1})))
        if dice.random() < 0.04:
            told.append(erasure(number, "p2", at_ms, sequence=2))
        fields = {**event(dice, number, at_ms), "profile_id": who,
                  "purposes": dice.choice([15, 15, 15, 1])}
        told.append((who.encode(), ADMITTED.encode(fields)))
        if dice.random() < 0.1:
            told.append(dice.choice(told))
        if dice.random() < 0.2:
            told.append((b"t", watermark(at_ms)))
    return told


def append(broker: Broker, told: Records) -> None:
    for key, value in told:
        for where in range(broker.partitions) if key == b"t" else [
                partition_of(key, broker.partitions)]:
            broker.logs[pipeline.ADMITTED, where].append((key, value))


def work(broker: Broker, program: Program, partition: int) -> Lane | None:
    return drive(broker, sim_changing.logic(program), partition, batch=4, checkpoint_every=2)


def settle(broker: Broker, programs: list[Program]) -> list[Lane]:
    """Every partition to its end, until none hands anything to another any more."""
    lanes: list[Lane] = []
    for _ in range(3):
        found = [work(broker, program, part) for part, program in enumerate(programs)]
        lanes = [lane for lane in found if lane is not None]
        assert len(lanes) == broker.partitions
    return lanes


def layouts_of(broker: Broker, partition: int, program: Program) -> dict[str, Written]:
    lineage = checkpoints.newest([broker.offsets[pipeline.ADMITTED, partition][1]])
    return written(program, lineage, broker.logs["choose-changelog", partition])


def layout_of(broker: Broker, partition: int) -> Written:
    return layouts_of(broker, partition, NEW)[""]


def fill(broker: Broker, program: Program | None = None, *, only: int = 10**9) -> int:
    """What the command does; stopped after `only` records. Returns how many there were."""
    program = program or NEW
    layouts = {part: layouts_of(broker, part, program) for part in range(broker.partitions)}
    count, gaps = 0, gaps_of(layouts)
    for gap in gaps:
        past = Past(program, gap, partitions=broker.partitions, gaps=gaps)
        for part in range(broker.partitions):
            past.take(broker.records(pipeline.ADMITTED, part))
        for part in range(broker.partitions):
            for key, value in past.records(part, since_ms=0):
                if count < only:
                    broker.logs[pipeline.ADMITTED, part].append((key, value))
                count += 1
    return count


def cells(layout: Layout, tables: Tables, key: bytes) -> dict[str, bytes]:
    """The bytes of a person's cells; not those that hold offsets, which differ between logs."""
    slot = tables.people.find(key)
    assert slot is not None
    row = tables.people.views.u8[slot]
    return {cell.signature: row[cell.at:cell.at + cell.size].tobytes()
            for cell in layout.cells.values() if cell.kind not in (FIRST, LAST)}


def rows(lanes: list[Lane]) -> dict[bytes, dict[str, bytes]]:
    return {key: cells(NEW.people, tables, key) for lane in lanes
            for tables in [tables_of(lane.state)] for key in tables.people}


def twin(told: Records, partitions: int) -> dict[bytes, dict[str, bytes]]:
    broker = Broker(partitions=partitions)
    append(broker, told)
    return rows(settle(broker, [NEW] * partitions))


def deployed(seed: int, partitions: int) -> tuple[Broker, Records, Records]:
    """Owners get the new definitions one after the other; (world, what came so far, the rest)."""
    told, dice = story(seed), random.Random(seed)
    cuts = sorted(dice.sample(range(40, 130), partitions))
    broker, programs, before = Broker(partitions=partitions), [OLD] * partitions, 0
    for part, cut in enumerate(cuts):
        append(broker, told[before:cut])
        settle(broker, programs)
        programs[part], before = NEW, cut
    append(broker, told[before:-10])
    settle(broker, programs)
    return broker, told[:-10], told[-10:]


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("seed", range(8))
def test_rows_end_as_if_the_features_had_been_there(seed: int, partitions: int) -> None:
    broker, told, rest = deployed(seed, partitions)
    layouts = [layout_of(broker, part) for part in range(partitions)]
    assert any(layout.starts for layout in layouts)
    assert rows(settle(broker, [NEW] * partitions)) != twin(told, partitions), "there is a gap"
    assert fill(broker) > partitions
    lanes = settle(broker, [NEW] * partitions)
    assert rows(lanes) == twin(told, partitions)
    for lane in lanes:
        tables = tables_of(lane.state)
        assert all(not tables.covers(tables.people, slot) for slot in tables.people.index)
        assert not layout_of(broker, lane.partition).starts
    assert fill(broker) == 0, "nothing is left to be filled"
    append(broker, rest)
    assert rows(settle(broker, [NEW] * partitions)) == twin(told + rest, partitions)


@pytest.mark.parametrize("when", ["before the gap ends", "behind it"])
def test_nothing_of_the_past_of_whoever_was_erased_comes_back(when: str) -> None:
    """Of a visitor of another partition neither; the person has come back since."""
    dice, visitor, person = random.Random(1), "v1", VISITORS["v1"]
    assert partition_of(visitor.encode(), 3) != partition_of(person.encode(), 3)
    deeds = [(visitor.encode(), ADMITTED.encode({
        **event(dice, number, START + number), "profile_id": visitor})) for number in range(9)]
    link = (visitor.encode(), contract("handover").encode({
        "tenant": "t", "visitor_id": visitor, "profile_id": person, "row": b"", "event": b"",
        "layout": "", "event_ms": START, "appended_ms": START + 20, "stage": "admit",
        "origin_partition": 0, "origin_offset": 20, "origin_sequence": 1}))
    back = (person.encode(), ADMITTED.encode({
        **event(dice, 40, START + 40), "profile_id": person}))
    gone, broker = erasure(30, person, START + 30), Broker(partitions=3)
    append(broker, [*deeds, link])
    settle(broker, [OLD] * 3)
    parts = ([OLD] * 3, [gone]), ([NEW] * 3, [back])
    for programs, told in parts if when == "before the gap ends" else (
            ([NEW] * 3, []), ([NEW] * 3, [gone]), ([NEW] * 3, [back])):
        append(broker, told)
        settle(broker, programs)
    fill(broker)
    expected = twin([back], 3)[person.encode()]
    assert rows(settle(broker, [NEW] * 3))[person.encode()] == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_command_that_was_stopped_goes_on_and_nothing_is_counted_twice(seed: int) -> None:
    broker, told, _ = deployed(seed, 2)
    count = fill(broker, only=3)
    assert count > 3
    if seed:
        settle(broker, [NEW] * 2)
    assert fill(broker) == count
    settle(broker, [NEW] * 2)
    assert rows(settle(broker, [NEW] * 2)) == twin(told, 2)


@pytest.mark.parametrize("seed", range(2))
def test_an_owner_that_is_killed_over_it_ends_in_the_same_rows(seed: int) -> None:
    expected = twin(deployed(seed, 1)[1], 1)
    whole, *_ = deployed(seed, 1)
    before = whole.effects
    fill(whole)
    settle(whole, [NEW])
    for fuse in range(before, whole.effects, 3):
        broker, *_ = deployed(seed, 1)
        fill(broker)
        broker.fuse = fuse
        work(broker, NEW, 0)
        broker.fuse = 10**9
        assert rows(settle(broker, [NEW])) == expected, f"{fuse=}"


def test_cells_that_began_together_are_filled_together_and_others_apart() -> None:
    layouts = {0: {"": Written(2, "", {}, {"a": 5, "b": 5, "c": 9}),
                   "item": Written(1, "", {}, {"a": 5})}, 1: {"": Written(2, "", {}, {"c": 7})}}
    assert gaps_of(layouts) == [Gap({"": frozenset("ab"), "item": frozenset("a")}, {0: 5}),
                                Gap({"": frozenset("c")}, {0: 9, 1: 7})]
    assert gaps_of({0: {"": Written(1, "", {})}}) == []


def test_a_log_that_lost_its_beginning_fills_what_it_can_and_says_since_when() -> None:
    layout = Written(3, "", {"a": {7: 900}, "b": {7: 900}}, {"a": 5, "b": 5})
    part = layout.filled(["a"], 400)
    assert part.since == {"a": {7: 400}, "b": {7: 900}} and part.starts == {"b": 5}
    assert part.filled(["b"], 0).since == {"a": {7: 400}}
    assert layout.filled(["a"], 950).since["a"] == {7: 900}, "what was known stays"
    assert Written.decode(part.encode()) == part


def test_what_is_of_another_kind_in_the_changelog_is_no_layout() -> None:
    broker, *_ = deployed(1, 1)
    keys = [key for key, _ in broker.logs["choose-changelog", 0]]
    assert any(OF_PEOPLE in key for key in keys)
    changelog: Any = [(key, value) for key, value in broker.logs["choose-changelog", 0]
                      if OF_PEOPLE not in key]
    lineage = checkpoints.newest([broker.offsets[pipeline.ADMITTED, 0][1]])
    assert "" not in written(NEW, lineage, changelog)
