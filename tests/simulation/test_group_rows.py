"""Groups over all partitions: what they say together is the row of one partition that heard
everything, whatever the number of partitions and whoever was killed in the middle."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import orjson
import pytest
from broker_model import Broker, drive
from test_choose_crash import START, event
from test_handover import PERSON, VISITOR
from test_handover import event as of_person
from test_handover import link as link_of

from schemas import contract
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled, load
from streams.choose.features.layout import PEOPLE
from streams.choose.pooling import Pools
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec
from streams.choose.tables import tables_of
from streams.engine.lane import Lane
from streams.kernel.ids import partition_of
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.conditions import parse_condition

ROLLED = contract("segments.rolled")
GROUPS = ("", *compiled().segments)
SEGMENTS = load().segments
Records = list[tuple[bytes, bytes]]


def people(seed: int, *, shuffled: bool = False) -> Records:
    """Ninety moments of nine people; shuffled: each person's in their order, nothing else is."""
    dice, at_ms, told = random.Random(seed), START, list[tuple[bytes, bytes]]()
    for number in range(90):
        at_ms += dice.choice([0, MINUTE_MS, 5 * HOUR_MS, 2 * DAY_MS])
        fields = {**event(dice, number, at_ms), "profile_id": f"p{dice.randrange(9)}"}
        told.append((fields["profile_id"].encode(), contract("events.admitted").encode(fields)))
    if shuffled:
        queues = {key: [each for each in told if each[0] == key] for key, _ in told}
        order = [key for key, _ in told]
        dice.shuffle(order)
        told = [queues[key].pop(0) for key in order]
    return told


def world(partitions: int, *parts: Records) -> Broker:
    broker = Broker(partitions=partitions)
    for part in parts:
        origins: dict[int, int] = {}
        for key, value in part:
            where = partition_of(key, partitions)
            kind = next(k for k in (contract("events.admitted"), contract("handover"))
                        if k.is_mine(value))
            offset = origins[where] = len(broker.logs["events.admitted", where])
            fields = {**kind.decode(value), "origin_partition": 0, "origin_offset": offset}
            broker.logs["events.admitted", where].append((key, kind.encode(fields)))
    return broker


def logic(side: SideInputs | None = None) -> ChooseLogic:
    return ChooseLogic(side or SideInputs(), compiled(), lambda side, tenant: (), members_min=0)


def play(broker: Broker, *, rounds: int = 2) -> list[Lane]:
    """All partitions to the end; what one hands to another is taken in the second round."""
    lanes = []
    for _ in range(rounds):
        lanes = [drive(broker, logic(), part, batch=7) for part in range(broker.partitions)]
    assert None not in lanes
    return [lane for lane in lanes if lane is not None]


def rolls(broker: Broker, *, compacted: bool) -> list[dict[str, Any]]:
    found: dict[tuple[int, bytes], dict[str, Any]] | list[dict[str, Any]]
    told = [(part, key, ROLLED.decode(value or b"")) for (topic, part), log in broker.logs.items()
            if topic == "segments.rolled" for key, value in log]
    if not compacted:
        return [fields for _, _, fields in told]
    found = {(part, key): fields for part, key, fields in told}
    return list(found.values())


def said(broker: Broker, *, compacted: bool = True) -> dict[str, tuple[int, bytes]]:
    """Per group what a worker knows that heard segments.rolled: members, and the pooled row."""
    side = SideInputs()
    for fields in rolls(broker, compacted=compacted):
        side.take("segments.rolled", fields)
    pools, found = Pools(compiled().groups, side), {}
    for name in GROUPS:
        slot = pools.slot(("t", "segment", name))
        assert slot is not None, name
        found[name] = (side.members("t", name), pools.rows.views.u8[slot].tobytes()[8:])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_any_number_of_partitions_says_what_one_says(seed: int) -> None:
    alone = said(world_played(1, people(seed)))
    assert alone[""][0] == 9 and sum(members for members, _ in alone.values()) > 15
    for partitions in (2, 3, 5):
        broker = world_played(partitions, people(seed))
        assert said(broker) == alone
        assert said(broker, compacted=False) == alone
    assert said(world_played(3, people(seed, shuffled=True))) == alone


def world_played(partitions: int, *parts: Records) -> Broker:
    broker = world(partitions, *parts)
    play(broker)
    return broker


def test_one_partition_says_its_own_rows() -> None:
    broker = world(1, people(1))
    (lane,) = play(broker)
    tables = tables_of(lane.state)
    for name, (_, row) in said(broker).items():
        slot = tables.groups.find(b"\x01t\x1f" + name.encode())
        assert row == tables.groups.views.u8[slot].tobytes()[8:]


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_anywhere_changes_nothing_that_is_said_in_the_end(seed: int) -> None:
    calm = world_played(2, people(seed))
    for fuse in random.Random(seed).sample(range(calm.effects // 2), 12):
        broker = world(2, people(seed))
        broker.fuse = fuse
        for part in range(2):
            drive(broker, logic(), part, batch=7)
        broker.fuse = 10**9
        play(broker)
        assert said(broker) == said(calm), f"{seed=} {fuse=}"


def test_an_owner_that_comes_later_says_everything_anew() -> None:
    broker = world_played(1, people(1))
    wanted = said(broker)
    broker.logs["segments.rolled", 0].clear()       # as if the owner had died before it was heard
    broker.logs["events.admitted", 0].append(of_person(900, "p1", "search", START))
    play(broker)
    assert said(broker).keys() == wanted.keys()
    assert {name: members for name, (members, _) in said(broker).items()} == {
        name: members for name, (members, _) in wanted.items()}


def test_what_a_zombie_says_late_is_said_over() -> None:
    side = SideInputs()
    broker = world(1, people(2)[:40])
    assert drive(broker, logic(), 0) is not None
    stale = rolls(broker, compacted=True)
    broker.logs["events.admitted", 0].extend(world(1, people(2)).logs["events.admitted", 0][40:])
    later = logic(side)
    lane = drive(broker, later, 0)
    assert lane is not None
    wanted = said(broker)
    for fields in rolls(broker, compacted=False):
        side.take("segments.rolled", fields)
    assert not side.overtaken
    for fields in stale:                            # the zombie wakes up and ends its checkpoint
        side.take("segments.rolled", fields)
        broker.logs["segments.rolled", 0].append((
            f"t|{fields['segment']}|0".encode(), ROLLED.encode(fields)))
    assert said(broker) != wanted and len(side.overtaken) == len(stale)
    asyncio.run(lane.idle())
    assert said(broker) == wanted and not side.overtaken


@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_a_visitor_who_turns_out_to_be_a_person_is_one_of_everybody(partitions: int) -> None:
    before = [of_person(n, VISITOR, "product_view", START + n) for n in range(1, 5)]
    own = [of_person(n, PERSON, "purchase", START + n) for n in range(5, 7)]
    for known in (own, []):
        broker = world_played(partitions, [*before, *known], [link_of(9, START + HOUR_MS)],
                              [of_person(20, VISITOR, "search", START + 2 * HOUR_MS)])
        members, row = said_of_everybody(broker)
        assert members == 1, "known under both ids for a while, and one person in the end"
        assert lifetime(row) == len(known), "every purchase once"


def said_of_everybody(broker: Broker) -> tuple[int, bytes]:
    side = SideInputs()
    for fields in rolls(broker, compacted=True):
        side.take("segments.rolled", fields)
    pools = Pools(compiled().groups, side)
    slot = pools.slot(("t", "segment", ""))
    assert slot is not None and pools.rows.views.i64[slot, PEOPLE] == side.members("t", "")
    return side.members("t", ""), pools.rows.views.u8[slot].tobytes()


def lifetime(row: bytes) -> int:
    side, program = SideInputs(), compiled()
    pools = Pools(program.groups, side)
    slot = pools.rows.slot(b"x")
    pools.rows.views.u8[slot] = bytearray(row)
    return int(program.feature(pools.rows, slot, "orders_lifetime", START + DAY_MS) or 0)


def test_a_segment_that_is_declared_no_more_is_said_to_be_empty() -> None:
    broker = world_played(1, people(1))
    less = compiled()
    smaller = type(less)(less.people.specs, (SegmentSpec("new", parse_condition(
        {"feature": "orders_lifetime", "at_most": 0}, features=None, segments=None)),))
    lane = drive(broker, ChooseLogic(SideInputs(), smaller, lambda side, tenant: (),
                                     members_min=0), 0)
    assert lane is not None
    broker.logs["events.admitted", 0].append(of_person(900, "p1", "search", START))
    assert drive(broker, ChooseLogic(SideInputs(), smaller, lambda side, tenant: (),
                                     members_min=0), 0) is not None
    newest = {fields["segment"]: fields for fields in rolls(broker, compacted=True)}
    gone = set(compiled().segments) - {"new"}
    assert {(newest[name]["members"], newest[name]["row"]) for name in gone} == {(0, b"")}
    assert newest["new"]["members"] and newest["new"]["row"] and newest[""]["members"] == 9


def owned(broker: Broker, segments: tuple[SegmentSpec, ...], at_ms: int) -> dict[str, int]:
    """An owner with these segments hears one event more; since when each row says it counts."""
    number = len(broker.logs["events.admitted", 0])
    broker.logs["events.admitted", 0].append(of_person(number, "p1", "search", at_ms))
    program = Program(compiled().people.specs, segments)
    owner = ChooseLogic(SideInputs(), program, lambda side, tenant: (), members_min=0)
    assert drive(broker, owner, 0) is not None
    newest = {fields["segment"]: fields for fields in rolls(broker, compacted=True)}
    return {name: orjson.loads(newest[name]["values_json"])["orders_lifetime"].get("since_ms", 0)
            for name in program.group_names}


def test_a_row_counts_since_its_segment_was_declared_and_says_so() -> None:
    few, more = SEGMENTS[:1], SEGMENTS
    broker, first, second = Broker(partitions=1), few[0].name, more[1].name
    assert owned(broker, few, START) == {"": 0, first: 0}, "declared before anything was heard"
    assert owned(broker, few, START + 1) == {"": 0, first: 0}
    since = owned(broker, more, START + 2)
    assert since[""] == since[first] == 0 and since[second] == START + 1
    assert owned(broker, (), START + 3) == {}, "now nobody is counted"
    assert owned(broker, (), START + 4) == {}
    assert set(owned(broker, few, START + 5).values()) == {START + 4}
    since = owned(broker, more, START + 6)
    assert since[""] == since[first] == START + 4 and since[second] == START + 5
