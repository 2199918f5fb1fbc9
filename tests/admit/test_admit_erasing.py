"""Somebody asks to be forgotten: what admit knew of them is gone, and nothing is allowed then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from admit_world import ALL, NOW_MS, PSEUDONYMS, World, event, person, read

from streams.admit.limits import AdmitLimits
from streams.kernel.moments import DAY_MS, MINUTE_MS

LATER_MS = NOW_MS + 3 * MINUTE_MS


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def erase(event_id: str = "x", **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "event_type": "erase", "event_ms": NOW_MS + MINUTE_MS,
            "user_id": "u1", **fields}


def visitor(anonymous_id: str) -> str:
    return PSEUDONYMS.anonymous("default", anonymous_id)


def erased(world: World, *values: dict[str, Any]) -> list[str]:
    """Whom the people's partitions are told to forget."""
    return [fields["profile_id"] for name, fields in map(read, world.send(*values))
            if name == "erasure"]


def test_it_is_passed_on_to_the_persons_partition_and_admitted_nowhere(world: World) -> None:
    world.send(event("1"))
    found = world.send(erase())
    [(emission, told)] = [(e, fields) for e in found for name, fields in [read(e)]
                          if name == "erasure"]
    assert emission.key == person("u1").encode() and emission.partition is None
    assert (told["profile_id"], told["stage"], told["event_ms"]) == (
        person("u1"), "admit", NOW_MS + MINUTE_MS)
    assert world.words(erase("y")) == ["control:erased"]


def test_nothing_is_allowed_from_then_on_until_they_agree_anew(world: World) -> None:
    said = [event("1"), erase(), event("2", event_ms=LATER_MS, consent=None),
            event("3", event_ms=NOW_MS), event("4", event_ms=LATER_MS)]
    assert world.words(*said) == ["admitted", "control:erased", "refused:no_consent",
                                  "refused:no_consent", "admitted"]


def test_the_word_is_published_for_every_purpose_and_says_where_it_comes_from(
        world: World) -> None:
    world.send(event("1"))
    said = world.of("consents.changed", erase())
    assert {each["purpose"] for each in said} == set(ALL)
    assert all((each["granted"], each["origin"], each["profile_id"]) == (
        False, "erasure", person("u1")) for each in said)


def test_a_partition_that_is_late_does_not_undo_what_they_agreed_to_since(world: World) -> None:
    """Every partition gets the request; another one was sooner, and so was the person."""
    world.send(event("1"))
    for purpose in ALL:
        world.side.take("consents.changed", {
            "tenant": "default", "profile_id": person("u1"), "purpose": purpose, "granted": True,
            "event_ms": LATER_MS, "evidence": "", "recorded_ms": NOW_MS})
    assert world.words(erase(), event("2", consent=None, event_ms=LATER_MS)) == [
        "control:erased", "admitted"]


def test_a_device_that_is_somebody_elses_by_now_is_not_erased_with_them(world: World) -> None:
    world.send(event("1", user_id=None, anonymous_id="b"),
               event("2", "identify", anonymous_id="b", traits={}),
               event("3", "identify", anonymous_id="b", traits={}, user_id="u2"))
    assert erased(world, erase()) == [person("u1")]
    assert world.words(event("4", user_id=None, anonymous_id="b", consent=None)) == ["admitted"]
    assert erased(world, erase("y", user_id=None, anonymous_id="b")) == [person("u2")]


def test_a_clock_that_is_behind_does_not_make_it_void(world: World) -> None:
    world.send(event("1", event_ms=NOW_MS + 2 * MINUTE_MS))
    assert world.words(erase(event_ms=NOW_MS - DAY_MS),
                       event("2", consent=None, event_ms=NOW_MS + 3 * MINUTE_MS)) == [
        "control:erased", "refused:no_consent"]


def test_names_and_addresses_are_destroyed_also_those_of_the_same_batch(world: World) -> None:
    traits = {"email": "ada@example.org", "first_name": "Ada", "locale": "de"}
    world.send(event("1", "identify", traits=traits), event("0", "identify", traits=traits,
                                                            user_id="u2"))
    assert world.vault.get(person("u1"), "email") == "ada@example.org"
    world.send(event("2", "identify", traits={"email": "b@example.org"}), erase())
    assert [world.vault.get(person(who), "email") for who in ("u1", "u2")] == [
        None, "ada@example.org"]
    [again] = world.of("events.admitted", event("3", event_ms=LATER_MS))
    assert again["locale"] == "", "traits are gone as well"


def test_a_visitor_who_is_known_is_erased_as_whoever_they_are(world: World) -> None:
    world.send(event("1", user_id=None, anonymous_id="b"),
               event("2", "identify", anonymous_id="b", traits={}))
    assert erased(world, erase(user_id=None, anonymous_id="b")) == [visitor("b"), person("u1")]
    assert world.words(event("4", user_id=None, anonymous_id="b", consent=None)) == [
        "refused:no_consent"]


def test_either_id_is_erased_once(world: World) -> None:
    assert erased(world, erase("x", anonymous_id="b")) == [person("u1"), visitor("b")]
    world.send(event("2", "identify", anonymous_id="b", traits={},
                     event_ms=NOW_MS + 2 * MINUTE_MS))
    both = [visitor("b"), person("u1")]
    assert erased(world, erase("y", anonymous_id="b", event_ms=LATER_MS)) == both
    assert erased(world, erase("w", event_ms=LATER_MS)) == both
    assert world.words(erase("z", anonymous_id="c", event_ms=LATER_MS)) == ["control:erased"]


def test_sent_twice_it_is_one_and_nobodys_is_refused(world: World) -> None:
    assert world.words(erase(), erase(), erase("y", user_id=None)) == [
        "control:erased", "duplicate:duplicate", "refused:no_subject"]


def test_a_flood_of_strangers_who_were_never_there_makes_no_rows(tmp_path: Path) -> None:
    world = World(tmp_path, limits=AdmitLimits(newcomer_rate=1, newcomer_burst=4))
    found = world.send(*(erase(f"x{n}", user_id=f"stranger{n}") for n in range(50)))
    said = [fields for name, fields in map(read, found) if name == "consents.changed"]
    assert len({each["profile_id"] for each in said}) == 50, "but the word goes out"
    assert sum(key.startswith(b"p:") for key in world.state.slab) <= 4
