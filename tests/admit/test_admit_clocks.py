"""Watermarks and clocks of admit: the wall's and a tenant's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from admit_world import NOW_MS, World, event, read

from streams.kernel.moments import DAY_MS, HOUR_MS

START_MS = 1_260_000_000_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def clock(event_ms: int, tenant: str = "retail") -> dict[str, Any]:
    return {"event_id": f"c{event_ms}", "event_type": "clock", "event_ms": event_ms,
            "tenant": tenant}


def old(event_id: str, event_ms: int) -> dict[str, Any]:
    return event(event_id, tenant="retail", event_ms=event_ms)


def publish(world: World, source: str, *, version: int = 1, active: bool = True,
            tenant: str = "retail") -> None:
    world.side.take("playbooks.published", {"tenant": tenant, "name": "p", "version": version,
                                            "yaml": source, "active": active})


def test_a_watermark_goes_to_every_partition(world: World) -> None:
    marks = world.of("watermark", event("1"))
    assert [m["watermark_ms"] for m in marks] == [NOW_MS - 60_000] * 4
    assert {m["origin_partition"] for m in marks} == {0}
    assert [m["origin_sequence"] for m in marks] == [1, 2, 3, 4]


def test_a_wall_clock_never_passes_the_brokers_and_never_goes_back(world: World) -> None:
    assert world.of("watermark", event("1", event_ms=NOW_MS + 1000))[0]["watermark_ms"] == (
        NOW_MS - 60_000)
    assert world.of("watermark", event("2", event_ms=NOW_MS - DAY_MS)) == []


def test_an_event_clock_moves_by_its_clock_events_alone(world: World) -> None:
    assert world.of("watermark", clock(START_MS))[0]["watermark_ms"] == START_MS
    assert world.of("watermark", old("1", START_MS + HOUR_MS)) == []
    assert world.of("watermark", clock(START_MS + 2 * HOUR_MS))[0]["watermark_ms"] == (
        START_MS + 2 * HOUR_MS)
    assert world.of("watermark", clock(START_MS + HOUR_MS)) == []


def test_a_history_that_comes_at_once_is_heard_at_its_own_pace(world: World) -> None:
    days = [START_MS + n * DAY_MS for n in range(4)]
    said = [fields for name, fields in map(read, world.send(
        clock(days[0]), old("1", days[0] + HOUR_MS), clock(days[1]), clock(days[2]),
        clock(days[1]), old("2", days[2] + HOUR_MS), clock(days[3])))
        if name in ("watermark", "events.admitted")]
    assert [s.get("watermark_ms", s.get("event_id")) for s in said] == [
        *[days[0]] * 4, "1", *[days[1]] * 4, *[days[2]] * 4, "2", *[days[3]] * 4]


def test_lateness_is_judged_by_the_tenants_own_clock(world: World) -> None:
    assert world.words(old("1", START_MS)) == ["refused:too_late"]
    assert world.words(clock(START_MS), old("1", START_MS)) == ["control:clock", "admitted"]
    assert world.words(clock(START_MS + 31 * DAY_MS), old("2", START_MS + DAY_MS - 1),
                       old("3", START_MS + DAY_MS)) == [
        "control:clock", "refused:too_late", "admitted"]
    assert world.words(event("4", event_ms=START_MS)) == ["refused:too_late"]   # another tenant


def test_a_playbook_declares_an_event_clock_before_the_first_event(world: World) -> None:
    publish(world, "name: p\nclock: event\n")
    assert world.words(old("1", START_MS)) == ["admitted"]
    assert world.idle(NOW_MS) == []
    publish(world, "name: p\nclock: wall\n", version=2)
    assert {m["tenant"] for m in world.idle(NOW_MS + 5000)} == {"retail"}


@pytest.mark.parametrize("source", ["name: p", "clock: wall", "- a list", "{broken", "clock: [a]"])
def test_other_playbooks_leave_their_tenant_on_the_wall_clock(world: World, source: str) -> None:
    publish(world, source)
    assert {m["tenant"] for m in world.idle(NOW_MS)} == {"retail"}


def test_time_passes_without_a_playbook_for_whom_was_heard_of(world: World) -> None:
    """Windows lapse, and people leave segments, whether a playbook asks or not."""
    assert world.idle(NOW_MS) == []
    world.send(event("1"), clock(START_MS, "sim"))
    marks = world.idle(NOW_MS + 5000)
    assert {(m["tenant"], m["watermark_ms"]) for m in marks} == {("default", NOW_MS - 55_000)}


def test_idle_wall_clocks_go_on_at_most_once_a_second(world: World) -> None:
    publish(world, "name: p\n", tenant="default")
    world.send(event("1"), clock(START_MS, "sim"))
    assert {m["watermark_ms"] for m in world.idle(NOW_MS + 5000)} == {NOW_MS - 55_000}
    assert world.idle(NOW_MS + 5900) == []
    marks = world.idle(NOW_MS + 6000)
    assert len(marks) == 4 and {m["tenant"] for m in marks} == {"default"}
    assert {m["origin_partition"] for m in marks} == {0}


def test_a_tenant_that_turns_to_an_event_clock_late_still_gets_its_events_in(
        world: World) -> None:
    world.send(event("0", tenant="retail"))
    assert world.words(clock(START_MS), old("1", START_MS + 1)) == ["control:clock", "admitted"]


def test_a_stray_clock_event_does_not_turn_a_tenant_of_the_wall_clock(world: World) -> None:
    publish(world, "name: p\nclock: wall\n", tenant="default")
    assert world.words(clock(START_MS, "default")) == ["refused:wall_clocked"]
    assert world.words(event("1", tenant="default", event_ms=START_MS)) == ["refused:too_late"]


def kinds(world: World, *values: dict[str, Any]) -> list[tuple[str, str, int]]:
    """(outcome, reason, event time) of all that is said of `values`."""
    found = []
    for name, fields in map(read, world.send(*values)):
        if name == "events.admitted":
            found.append(("admitted", "", fields["event_ms"]))
        elif name == "refusals.recorded":
            found.append((fields["outcome"], fields["reason"], fields["event_ms"]))
    return found


def test_an_event_from_the_future_counts_as_of_its_append_and_moves_no_clock(
        world: World) -> None:
    ahead = NOW_MS + DAY_MS
    said = world.send(event("1", event_ms=ahead))
    marks = [fields["watermark_ms"] for name, fields in map(read, said) if name == "watermark"]
    assert marks == [NOW_MS - 60_000] * 4
    [clamped] = [fields for name, fields in map(read, said) if name == "refusals.recorded"]
    assert (clamped["outcome"], clamped["reason"], clamped["event_ms"]) == (
        "clamped", "from_the_future", ahead)
    [admitted] = [fields for name, fields in map(read, said) if name == "events.admitted"]
    assert admitted["event_ms"] == NOW_MS


def test_an_event_from_the_future_of_an_old_history_counts_as_of_that_historys_present(
        world: World) -> None:
    ahead = NOW_MS + DAY_MS
    assert kinds(world, clock(START_MS), old("1", ahead)) == [
        ("control", "clock", START_MS), ("clamped", "from_the_future", ahead),
        ("admitted", "", START_MS)]


def test_before_a_declared_clock_began_there_is_no_present_to_clamp_to(world: World) -> None:
    publish(world, "clock: event\n")
    assert kinds(world, old("1", NOW_MS + DAY_MS)) == [
        ("refused", "from_the_future", NOW_MS + DAY_MS)]


def test_a_word_of_consent_from_the_future_does_not_outlast_what_is_said_after_it(
        world: World) -> None:
    world.send(event("1", event_ms=NOW_MS + 300 * DAY_MS))
    said = kinds(world, event("2", "consent", consent={"personalise": False, "measure": False,
                                                       "contact": False, "train": False},
                              event_ms=NOW_MS + 1), event("3", consent=None, event_ms=NOW_MS + 2))
    assert [(outcome, reason) for outcome, reason, _ in said] == [("refused", "no_consent")] * 2


def test_what_is_clamped_and_then_refused_is_told_as_both_with_ids_of_their_own(
        world: World) -> None:
    value = event("1", consent=None, event_ms=NOW_MS + DAY_MS)
    found = [fields for name, fields in map(read, world.send(value))
             if name == "refusals.recorded"]
    assert [(f["outcome"], f["reason"]) for f in found] == [
        ("clamped", "from_the_future"), ("refused", "no_consent")]
    assert len({f["refusal_id"] for f in found}) == 2
