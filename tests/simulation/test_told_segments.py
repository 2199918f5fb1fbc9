"""Segments by trait and by list through the stage: in any batch cut, and after any crash."""

from __future__ import annotations

import random
from typing import Any

import pytest
from broker_model import Broker, drive
from test_choose_crash import world

from schemas import contract
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import load
from streams.choose.features.lists import read_list
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec
from streams.engine.hashing import hash_of
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Condition

EVENT = contract("events.admitted")
COUNTRIES = ("DE", "AT", "CH")
PEOPLE = {f"p{n}": f"{hash_of(f'p{n}'):032x}" for n in range(4)}
GUESTS = read_list("guests", f"{PEOPLE['p1']}\n{PEOPLE['p3']}\n{'0' * 32}\n".encode())
SEGMENTS = (
    SegmentSpec("guest", Condition("list", name="guests"), lists=(GUESTS,)),
    *(SegmentSpec(where, Condition("trait", name="country", text=where)) for where in COUNTRIES))


def told(seed: int) -> Broker:
    """`world`, of people who are on lists, and who move from country to country; some events say
    nothing of it."""
    broker = world(seed)
    log = broker.logs["events.admitted", 0]
    for n, (_, value) in enumerate(log):
        if value is not None and EVENT.is_mine(value):
            event = EVENT.decode(value)
            person, number = PEOPLE[event["profile_id"]], event["origin_offset"]
            country = COUNTRIES[number // 15 % 3] if number > 9 and number % 4 else ""
            log[n] = person.encode(), EVENT.encode({**event, "profile_id": person,
                                                    "country": country})
    return broker


def logic() -> ChooseLogic:
    return ChooseLogic(SideInputs(), Program(load().features, SEGMENTS), lambda side, tenant: (),
                       members_min=0)


def changes(broker: Broker) -> list[dict[str, Any]]:
    """What was told first of each change."""
    meant = contract("segments.changed")
    found = [meant.decode(value) for _, value in broker.logs["segments.changed", 0]
             if value is not None and meant.is_mine(value)]
    return [*{each["change_id"]: each for each in found}.values()]


def obvious(broker: Broker) -> list[tuple[str, str, bool]]:
    """(person, segment, entered) by going through the log once."""
    found: list[tuple[str, str, bool]] = []
    country: dict[str, str] = {}
    seen: set[str] = set()
    for _, value in broker.logs["events.admitted", 0]:
        if value is None or not EVENT.is_mine(value):
            continue
        event = EVENT.decode(value)
        if event["event_id"] in seen:
            continue
        seen.add(event["event_id"])
        person = event["profile_id"]
        if person not in country and person in GUESTS:
            found.append((person, "guest", True))
        was = country.get(person, "")
        now = event["country"] or was
        if now != was:
            found.append((person, now, True))
            found += [(person, was, False)] if was else []
        country[person] = now
    return found


@pytest.mark.parametrize("seed", range(4))
def test_people_are_where_they_last_said_and_on_the_lists_that_name_them(seed: int) -> None:
    expected = obvious(told(seed))
    assert {name for _, name, _ in expected} == {"guest", *COUNTRIES}
    for batch in (1, 5, 1000):
        broker = told(seed)
        assert drive(broker, logic(), 0, batch=batch) is not None
        found = [(e["profile_id"], e["segment"], e["entered"]) for e in changes(broker)]
        assert found == expected


@pytest.mark.parametrize("seed", range(2))
def test_a_crash_anywhere_tells_the_same_changes(seed: int) -> None:
    whole = told(seed)
    assert drive(whole, logic(), 0, batch=7, checkpoint_every=2) is not None
    expected = sorted(changes(whole), key=lambda e: e["change_id"])
    for fuse in sorted(random.Random(seed).sample(range(whole.effects), 12)):
        broker = told(seed)
        broker.fuse = fuse
        assert drive(broker, logic(), 0, batch=7, checkpoint_every=2) is None
        broker.fuse = 10**9
        assert drive(broker, logic(), 0, batch=7, checkpoint_every=2) is not None
        found = sorted(changes(broker), key=lambda e: e["change_id"])
        assert [e["change_id"] for e in found] == [e["change_id"] for e in expected], f"{fuse=}"
