"""Schedules and dates: local time, daylight saving, travellers, outages; as the obvious twins."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from trigger_world import World, event, facts, law, playbook, shuffled

from streams.choose.losing import take_lost
from streams.choose.triggers import schedule
from streams.kernel.local_time import moment_at, zone_of
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.playbooks.model import Trigger

QUARTER_MS = 15 * MINUTE_MS
LATE = 40 * MINUTE_MS


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


START = ms("2024-03-28T00:00")      # Berlin's clocks change on the 31st, Sydney's on April 7th
EVERY_DAY = Trigger("schedule", within_ms=3 * DAY_MS, minute=9 * 60, days=tuple(range(7)),
                    zone="person", otherwise="Europe/Berlin")


def clocks(zone: str, minute: int, days: tuple[int, ...]) -> list[tuple[int, str]]:
    """Every (moment, date) of the range at which clocks in `zone` show `minute`: looked up."""
    found: dict[str, int] = {}
    for quarter in range(96 * 16):
        at = datetime.fromtimestamp((START + quarter * QUARTER_MS) / 1000, ZoneInfo(zone))
        if at.hour * 60 + at.minute == minute and at.weekday() in days:
            found.setdefault(at.date().isoformat(), START + quarter * QUARTER_MS)
    return [(moment, day) for day, moment in found.items()]


CLOCKS = {zone: clocks(zone, 9 * 60, (0, 1, 2, 3, 4, 5, 6))
          for zone in ("Europe/Berlin", "America/New_York", "Australia/Sydney")}


def obvious(events: list[dict[str, Any]], within_ms: int) -> list[tuple[int, str]]:
    """Twin: each time in each zone, if the last event before it lies there and not too far back,
    and its date has not come up yet."""
    found: list[tuple[int, str]] = []
    for due_ms, day, zone in sorted((due_ms, day, zone) for zone, times in CLOCKS.items()
                                    for due_ms, day in times):
        before = [(e["event_ms"], e["timezone"] or "Europe/Berlin") for e in events
                  if e["event_ms"] < due_ms]
        if (before and max(before)[1] == zone and due_ms <= max(before)[0] + within_ms
                and (not found or day > found[-1][1])):
            found.append((due_ms, day))
    return found


stories = st.lists(st.tuples(st.integers(0, 12 * 24 * 6), st.sampled_from(["", *CLOCKS, "Mars/X"])),
                   max_size=12)


@law(150)
@given(story=stories, seed=st.integers(0, 10**6))
def test_times_come_up_as_the_obvious_twin_says_in_any_order(
        story: list[tuple[int, str]], seed: int) -> None:
    events = [event(n, "search", START + ten * 10 * MINUTE_MS, timezone=zone.replace("Mars/X", ""))
              for n, (ten, zone) in enumerate(story)]
    sent = [{**e, "timezone": "Mars/X"} if story[n][1] == "Mars/X" else e
            for n, e in enumerate(events)]
    world = World(playbook(EVERY_DAY, expires_ms=60 * DAY_MS))
    shuffled(world, sent, random.Random(seed), LATE, START + 16 * DAY_MS)
    assert [(m.moment_ms, m.evidence["date"]) for m in world.moments] == obvious(
        events, EVERY_DAY.within_ms)


def test_nine_is_nine_on_both_sides_of_a_change_of_clocks() -> None:
    world = World(playbook(EVERY_DAY))
    world.tell(event(1, "search", ms("2024-03-29T20:00"), timezone="Europe/Berlin"))
    found = world.reach(ms("2024-04-02T00:00"))
    assert [m.moment_ms for m in found][1:] == []     # two days late: outlived its use
    world = World(playbook(EVERY_DAY))
    world.tell(event(1, "search", ms("2024-03-29T20:00"), timezone="Europe/Berlin"))
    for day in range(30, 32):
        world.reach(ms(f"2024-03-{day}T12:00"))
    assert [m.moment_ms for m in world.moments] == [ms("2024-03-30T08:00"), ms("2024-03-31T07:00")]


@pytest.mark.parametrize(("day", "minute", "at"), [
    ("2024-03-31", 2 * 60 + 30, "2024-03-31T01:30"),     # skipped: comes at 03:30
    ("2024-10-27", 2 * 60 + 30, "2024-10-27T00:30"),     # twice: the first
    ("2024-10-27", 4 * 60, "2024-10-27T03:00"),
])
def test_times_that_are_skipped_or_come_twice(day: str, minute: int, at: str) -> None:
    berlin = zone_of("Europe/Berlin")
    assert berlin is not None
    assert moment_at(date.fromisoformat(day), minute, berlin) == ms(at)
    trigger = replace(EVERY_DAY, minute=minute, within_ms=DAY_MS)
    world = World(playbook(trigger))
    world.tell(event(1, "search", ms(f"{day}T00:00") - HOUR_MS, timezone="Europe/Berlin"))
    assert [m.moment_ms for m in world.reach(ms(f"{day}T12:00"))] == [ms(at)]


def test_a_time_skipped_over_midnight_comes_on_the_next_date() -> None:
    # Nuuk goes from 23:00 on the 30th of March to midnight of the 31st, at 01:00 UTC.
    trigger = replace(EVERY_DAY, minute=23 * 60 + 30, zone="America/Nuuk")
    world = World(playbook(trigger, expires_ms=60 * DAY_MS))
    world.tell(event(1, "search", ms("2024-03-31T01:10")))
    assert [(m.moment_ms, m.evidence["date"]) for m in world.reach(ms("2024-04-01T12:00"))] == [
        (ms("2024-03-31T01:30"), "2024-03-30"), (ms("2024-04-01T00:30"), "2024-03-31")]


def test_a_date_that_ends_early_is_of_use_when_its_time_has_come() -> None:
    trigger = replace(RENEWAL, shift_days=0, minute=23 * 60 + 30, zone="America/Nuuk")
    world = World(playbook(trigger, expires_ms=60 * DAY_MS))
    world.tell(signup(1, START, "2024-03-30"))
    (found,) = world.reach(ms("2024-03-31T01:45"))
    assert found.moment_ms == ms("2024-03-31T01:30") < found.useful_until_ms


def test_only_on_its_days_and_for_people_who_did_it() -> None:
    trigger = replace(EVERY_DAY, event="purchase", days=(0, 3), zone="Asia/Tokyo",
                      within_ms=10 * DAY_MS)
    world = World(playbook(trigger, expires_ms=20 * DAY_MS))
    world.tell(event(1, "search", START, timezone="Europe/Berlin"))
    assert world.kept == {}
    world.tell(event(2, "purchase", START + 1))
    found = world.reach(START + 20 * DAY_MS)
    assert [m.evidence["date"] for m in found] == ["2024-04-01", "2024-04-04"]
    assert [datetime.fromtimestamp(m.moment_ms / 1000, UTC).hour for m in found] == [0, 0]


def test_after_an_outage_each_time_comes_once_and_only_while_it_is_useful() -> None:
    world = World(playbook(EVERY_DAY, expires_ms=DAY_MS))
    world.tell(event(1, "search", ms("2024-04-01T10:00"), timezone="Europe/Berlin"))
    found = world.reach(ms("2024-04-04T06:00"))       # 09:00 on the 2nd is over, on the 3rd is not
    assert [m.evidence["date"] for m in found] == ["2024-04-03"]
    assert world.reach(ms("2024-04-04T06:59")) == []
    assert [m.evidence["date"] for m in world.reach(ms("2024-04-04T08:00"))] == ["2024-04-04"]


def test_a_busy_day_keeps_no_more_than_its_quarters() -> None:
    world = World(playbook(EVERY_DAY))
    for n in range(3000):
        world.tell(event(n, "search", START + n * MINUTE_MS, timezone="Europe/Berlin"))
    assert len(world.kept["p"]["p"]) <= 98 and not take_lost(world.kept)
    for n in range(3000):
        world.tell(event(n, "search", START + n * MINUTE_MS * 15,
                         timezone=["Europe/Berlin", "Asia/Tokyo"][n % 2]))
    assert len(world.kept["p"]["p"]) <= schedule.POINTS_MAX
    assert take_lost(world.kept)["p"] > 0, "what went is told"


RENEWAL = Trigger("date", "signup", property="renewal", shift_days=-3, minute=9 * 60,
                  zone="person", otherwise="Europe/Berlin")


def signup(number: int, at_ms: int, renewal: Any, **fields: Any) -> dict[str, Any]:
    return event(number, "signup", at_ms, properties_json=json.dumps({"renewal": renewal}),
                 **fields)


words = st.lists(st.tuples(st.integers(0, 8 * 8).map(lambda n: 3 * n), st.integers(-2, 12),
                           st.sampled_from("xy")), max_size=10)


@law(150)
@given(story=words, seed=st.integers(0, 10**6), shift=st.sampled_from([-3, 0, 2]))
@example(story=[(0, 1, "x"), (81, 9, "x")], seed=1, shift=2)        # told anew at the very moment
def test_dates_come_as_the_obvious_twin_says_in_any_order(
        story: list[tuple[int, int, str]], seed: int, shift: int) -> None:
    trigger = replace(RENEWAL, shift_days=shift, per="order_id", zone="UTC")
    first = date(2024, 3, 28)
    events = [signup(n, START + hour * HOUR_MS,
                     (first + timedelta(days=days)).isoformat() if days >= 0 else None,
                     order_id=order) for n, (hour, days, order) in enumerate(story)]
    world = World(playbook(trigger, expires_ms=60 * DAY_MS))
    shuffled(world, events, random.Random(seed), LATE, START + 30 * DAY_MS)
    expected = set()
    for n, (hour, days, order) in enumerate(story):
        told_ms = START + hour * HOUR_MS
        due_ms = START + (days + shift) * DAY_MS + 9 * HOUR_MS
        if days >= 0 and told_ms < due_ms and not any(
                o == order and (told_ms, f"e{n}") < (START + h * HOUR_MS, f"e{k}")
                and START + h * HOUR_MS <= due_ms for k, (h, _, o) in enumerate(story)):
            expected.add((due_ms, f"e{n}", order))
    late = {each for each in expected if shift <= 0
            and each[0] + (-shift + 1) * DAY_MS < START + 30 * DAY_MS}
    found = {(m.moment_ms, m.event_id, m.object_id) for m in world.moments}
    assert found <= expected and expected - found <= late
    assert len(world.moments) == len(found)


@law(60)
@given(story=words, seeds=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_watermarks_hour_by_hour_bring_every_date(
        story: list[tuple[int, int, str]], seeds: tuple[int, int]) -> None:
    first = date(2024, 3, 28)
    events = [signup(n, START + hour * HOUR_MS, (first + timedelta(days=days)).isoformat(),
                     item_id=item) for n, (hour, days, item) in enumerate(story)]
    marks = [event(1000 + n, "other", START + n * HOUR_MS) for n in range(20 * 24)]
    found = [facts(shuffled(World(playbook(replace(RENEWAL, zone="Asia/Tokyo"))),
                            [*events, *marks], random.Random(seed), LATE, START + 30 * DAY_MS))
             for seed in seeds]
    assert found[0] == found[1]
    due = {m[2] for m in found[0]}
    for n, (hour, days, _) in enumerate(story):      # 09:00 in Tokyo is midnight UTC
        due_ms = START + (days - 3) * DAY_MS
        last = not any((hour, f"e{n}") < (h, f"e{k}") and START + h * HOUR_MS <= due_ms
                       for k, (h, _, _) in enumerate(story))
        assert (f"e{n}" in due) == (last and START + hour * HOUR_MS < due_ms)


@pytest.mark.parametrize(("value", "at"), [
    ("2024-04-10", "2024-04-07T07:00"),
    ("2024-04-09T23:30:00Z", "2024-04-07T07:00"),        # is the 10th in Berlin
    (ms("2024-04-10T12:00"), "2024-04-07T07:00"),
    ("20240410", "2024-04-07T07:00"), (" 2024-04-10 ", "2024-04-07T07:00"),
    ("", None), (None, None), ("soon", None), ("2024-02-30", None), ("1066-10-14", None),
    (True, None), ([1], None), ("9" * 400, None), (1e300, None), ("9999-12-31", None),
])
def test_what_counts_as_a_date(value: Any, at: str | None) -> None:
    world = World(playbook(RENEWAL))
    world.tell(signup(1, START, value))
    due_ms = ms("2024-04-07T07:00")
    found = [*world.reach(due_ms - 1), *world.reach(due_ms + 1), *world.reach(START + 90 * DAY_MS)]
    assert [m.moment_ms for m in found] == ([ms(at)] if at else [])
    if found:
        assert found[0].evidence == {
            "event": "signup", "event_id": "e1", "at_ms": START, "property": "renewal",
            "date": "2024-04-10", "zone": "Europe/Berlin", "object": ""}


def test_a_reminder_is_of_no_use_once_the_day_is_over() -> None:
    world = World(playbook(replace(RENEWAL, shift_days=0), expires_ms=30 * DAY_MS))
    world.tell(signup(1, START, "2024-04-10"))
    assert world.kept["p"]["due"] == ms("2024-04-10T07:00")
    (found,) = world.reach(ms("2024-04-10T21:59"))
    assert found.useful_until_ms == ms("2024-04-10T22:00")
    world.tell(signup(2, ms("2024-04-11T00:00"), "2024-04-20"))
    assert world.reach(ms("2024-04-20T23:00")) == [] and world.kept == {}


def test_dates_told_weeks_before_the_watermark_comes_all_come() -> None:
    world = World(playbook(replace(RENEWAL, shift_days=2, zone="UTC"), expires_ms=90 * DAY_MS))
    for day in range(0, 80, 4):         # each is over before the next word, and told twice
        for twice in (0, 1):
            world.tell(signup(2 * day + twice, START + day * DAY_MS + twice * HOUR_MS,
                              str(date(2024, 3, 28) + timedelta(days=day))))
    found = world.reach(START + 90 * DAY_MS)
    assert [m.event_id for m in found] == [f"e{2 * day + 1}" for day in range(0, 80, 4)]


@pytest.mark.parametrize("properties", ["", "{", "[]", "null", '{"other": 1}'])
def test_properties_without_the_date_change_nothing(properties: str) -> None:
    world = World(playbook(RENEWAL))
    world.tell(signup(1, START, "2024-04-10"))
    world.tell(event(2, "signup", START + 1, properties_json=properties))
    (found,) = world.reach(ms("2024-04-07T08:00"))
    assert found.event_id == "e1"


@pytest.mark.parametrize("value", ["20240410", "2024-04-10 ", "2024-04-10"])
def test_a_date_is_that_day_wherever_the_person_is(value: str) -> None:
    world = World(playbook(replace(RENEWAL, shift_days=0, zone="America/New_York")))
    world.tell(signup(1, START, value))
    assert [m.evidence["date"] for m in world.reach(ms("2024-04-10T14:00"))] == ["2024-04-10"]


@pytest.mark.parametrize("name", ["", "Mars/X", "localtime", "posixrules", "posix/Europe/Berlin",
                                  "right/UTC", "Factory", "../../etc/passwd", "/etc/passwd",
                                  "Europe", "x" * 500, "a\x00b", "Europe/Berlin\n", "\ud800"])
def test_what_is_no_zone(name: str) -> None:
    assert zone_of(name) is None
