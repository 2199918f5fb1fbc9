"""Rates: one person or one flood of new people too many is refused, and nobody else notices."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson
import pytest
from admit_world import ALL, NOW_MS, PSEUDONYMS, World, event, new_state, outcomes, person, read
from admit_world import record as a_record
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.adapters.vault import SqliteVault
from streams.admit import rates
from streams.admit.agent import AdmitLogic
from streams.admit.limits import AdmitLimits
from streams.admit.rates import Rates
from streams.engine.records import Emission, Out, Record
from streams.engine.slab import Slab
from streams.kernel.moments import SECOND_MS
from streams.kernel.side_inputs import SideInputs

TIGHT = AdmitLimits(profile_rate=2, profile_burst=3, newcomer_rate=4, newcomer_burst=8)
PARTITIONS = 2


class Twin:
    """The bucket as textbooks have it: so many tokens, refilled as time goes by."""

    def __init__(self, *, per_s: Fraction, burst: int) -> None:
        self._per_ms, self._burst = per_s / 1000, burst
        self._tokens: dict[str, tuple[int, Fraction]] = {}

    def take(self, who: str, now_ms: int) -> bool:
        then_ms, tokens = self._tokens.get(who, (now_ms, Fraction(self._burst)))
        tokens = min(Fraction(self._burst), tokens + (now_ms - then_ms) * self._per_ms)
        has_room = tokens >= 1
        self._tokens[who] = now_ms, tokens - 1 if has_room else tokens
        return has_room


STEPS = st.lists(st.tuples(
    st.sampled_from([0, 0, 0, 1, 40, 99, 100, 101, 499, 500, 2000, -700]), st.sampled_from("abc"),
    st.sampled_from(["page_view", "purchase", "consent", "message_opened"]), st.booleans()))


@settings(deadline=None)
@given(STEPS)
def test_a_bucket_is_the_textbooks_however_often_it_is_saved(
        steps: list[tuple[int, str, str, bool]]) -> None:
    people = Twin(per_s=Fraction(2), burst=3)
    tenants = Twin(per_s=Fraction(4, PARTITIONS), burst=8 // PARTITIONS)
    notes, now_ms, newest_ms = dict[str, Any](), NOW_MS, 0
    for step_ms, who, kind, is_saved in steps:
        now_ms += step_ms
        newest_ms = max(newest_ms, now_ms)         # a broker's clock may be set back; ours is not
        if is_saved:
            notes = orjson.loads(orjson.dumps(notes))
        limited = Rates(notes, TIGHT, partitions=PARTITIONS)
        limited.at(now_ms)
        bucket = who if kind == "page_view" else f"{who}, weighty"
        assert limited.take_event(who, kind) == people.take(bucket, newest_ms)
        assert limited.take_newcomer(who) == tenants.take(who, newest_ms)


def test_what_is_kept_is_bounded_and_does_not_depend_on_when_it_is_saved() -> None:
    limits = AdmitLimits(profile_rate=1, profile_burst=2)
    whole, cut, dice = dict[str, Any](), dict[str, Any](), random.Random(5)
    largest, words = 0, Counter[bool]()
    for number in range(40_000):
        if dice.random() < 0.01:
            cut = orjson.loads(orjson.dumps(cut))
        who, found = str(int(9000 * dice.random() ** 3)), []
        for notes in (whole, cut):
            limited = Rates(notes, limits, partitions=1)
            limited.at(NOW_MS + number // 8)
            found.append(limited.take_event(who, "page_view"))
        assert found[0] == found[1]
        words[found[0]] += 1
        largest = max(largest, len(whole["rates"]["people"]))
    assert list(whole["rates"]["people"].items()) == list(cut["rates"]["people"].items())
    assert largest == rates.PEOPLE_MAX and len(orjson.dumps(whole)) < 400_000
    assert min(words.values()) > 1000, words


def test_who_has_no_debt_is_not_kept() -> None:
    notes: dict[str, Any] = {}
    limited = Rates(notes, AdmitLimits(), partitions=1)
    for number in range(30_000):
        limited.at(NOW_MS + number // 10)         # ten thousand people a second, one event each
        assert limited.take_event(f"p{number}", "page_view")
        assert len(notes["rates"]["people"]) <= 1500


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, limits=TIGHT, partitions=PARTITIONS)


def many(count: int, first: int = 0, **fields: Any) -> list[dict[str, Any]]:
    return [event(str(number), **fields) for number in range(first, first + count)]


@pytest.mark.parametrize("rate, burst, room", [
    (1, 3, 0), (1000, 8, 5), (4, 8, 5), (1, 2, 0), (0, 3, 99), (1000, 3, 0)])
def test_a_changed_rate_holds_at_once_and_what_was_taken_stays_taken(rate: int, burst: int,
                                                                    room: int) -> None:
    notes: dict[str, Any] = {}
    before = Rates(notes, AdmitLimits(profile_rate=1, profile_burst=3, newcomer_rate=1,
                                      newcomer_burst=3), partitions=1)
    before.at(NOW_MS)
    for _ in range(9):
        before.take_event("p", "page_view")
        before.take_newcomer("t")
    notes = orjson.loads(orjson.dumps(notes))
    after = Rates(notes, AdmitLimits(profile_rate=rate, profile_burst=burst, newcomer_rate=rate,
                                     newcomer_burst=burst), partitions=1)
    after.at(NOW_MS)
    assert sum(after.take_event("p", "page_view") for _ in range(99)) == room
    assert sum(after.take_newcomer("t") for _ in range(99)) == room


def test_a_bot_is_cut_and_nobody_else_is(world: World) -> None:
    flood = many(6)
    flood.insert(4, event("other", user_id="u2"))
    flood.append(event("late-comer", user_id="u3"))
    assert world.words(*flood) == [
        "admitted", "admitted", "admitted", "refused:too_many", "admitted",
        "refused:too_many", "refused:too_many", "admitted"]


def test_a_refusal_says_who_which_and_what_to_do(world: World) -> None:
    refusal = world.of("refusals.recorded", *many(4))[0]
    assert (refusal["profile_id"], refusal["event_id"]) == (person("u1"), "3")
    assert "KAIROS_PROFILE_EVENTS_PER_S" in refusal["detail"] and "u1" not in str(
        [value for name, value in refusal.items() if name != "profile_id"])


def test_there_is_room_again_when_time_has_passed(world: World) -> None:
    assert world.words(*many(4))[-1] == "refused:too_many"
    later_ms = NOW_MS + SECOND_MS
    assert world.words(*many(3, first=3), appended_ms=later_ms) == [
        "admitted", "admitted", "refused:too_many"]      # the one refused keeps its id


def test_a_flood_takes_no_room_of_what_a_shop_cannot_do_without(world: World) -> None:
    world.send(*many(10))
    words = world.words(event("buy", "purchase"), event("is", "identify", traits={"country": "DE"}),
                        event("open", "message_opened", decision_id="d", channel="email"),
                        event("buy too", "purchase"))
    assert words == ["admitted", "admitted", "admitted", "refused:too_many"]


def test_a_word_on_consent_is_heard_however_much_came(world: World) -> None:
    world.send(*many(4, event_type="purchase"))
    [said] = world.of("consents.changed", event("no", "message_unsubscribed", decision_id="d",
                                                channel="email", event_ms=NOW_MS + 1,
                                                consent=None))
    assert (said["purpose"], said["granted"]) == ("contact", False)
    later = world.of("events.admitted", event("next", event_ms=NOW_MS + 2, consent=None))
    assert later and not later[0]["purposes"] & 4


def test_a_flood_of_new_people_is_cut_and_leaves_no_trace(world: World) -> None:
    known = event("known", user_id="known")
    assert world.words(known) == ["admitted"]
    flood = [event(str(n), "identify", user_id=f"new{n}", anonymous_id=f"v{n}",
                   traits={"email": f"{n}@b.c"}) for n in range(50)]
    words = world.words(*flood)
    assert Counter(words) == {"admitted": 3, "refused:too_many_new": 47}   # half of 8, one known
    assert sum(key.startswith((b"p:", b"a:", b"v:")) for key in world.state.slab) == 4 + 3
    assert [world.vault.get(person(f"new{n}"), "email") for n in (0, 49)] == ["0@b.c", None]
    assert world.words({**known, "event_id": "again"}) == ["admitted"]
    assert world.words(event("else", tenant="elsewhere")) == ["admitted"]
    assert world.words(flood[49], appended_ms=NOW_MS + SECOND_MS) == ["admitted"]


def test_of_one_new_person_too_many_a_no_is_heard_and_a_yes_is_not(world: World) -> None:
    world.send(*(event(str(n), user_id=f"new{n}") for n in range(9)))
    size = len(world.state.slab)
    emissions = world.send(event("word", "consent", consent={"contact": False, "train": True}))
    assert outcomes(emissions).popitem()[1] == "refused:too_many_new"
    said = [fields for name, fields in map(read, emissions) if name == "consents.changed"]
    assert [(word["purpose"], word["granted"]) for word in said] == [("contact", False)]
    assert world.of("consents.changed", event("rides", consent={"contact": False})) == []
    assert len(world.state.slab) == size


def test_strangers_without_a_word_are_no_new_people(world: World) -> None:
    words = world.words(*(event(str(n), user_id=f"new{n}", consent=None) for n in range(50)))
    assert set(words) == {"refused:no_consent"}


def test_a_replay_is_as_fast_as_the_broker_takes_it(world: World) -> None:
    world.send({"event_id": "c", "event_type": "clock", "event_ms": NOW_MS, "tenant": "past"})
    flood = [event(str(n), tenant="past", user_id=f"u{n % 20}") for n in range(400)]
    assert set(world.words(*flood)) == {"admitted"}


def test_a_rate_of_nothing_is_no_limit(tmp_path: Path) -> None:
    world = World(tmp_path, limits=AdmitLimits(profile_rate=0, newcomer_rate=0))
    flood = [event(str(n), user_id=f"u{n % 700}") for n in range(1400)] + many(1100, first=9000)
    assert set(world.words(*flood)) == {"admitted"}


def a_flood(dice: random.Random) -> list[Record]:
    """A bot, some people, strangers by the dozen; time stands, creeps and jumps."""
    log, appended_ms = list[Record](), NOW_MS
    for offset in range(dice.randint(20, 120)):
        appended_ms += dice.choice([0, 0, 0, 0, 1, 60, 130, 700])
        who = dice.choice(["bot", "bot", "u1", "u2", f"new{offset}", f"new{offset}"])
        kind = dice.choice(["page_view"] * 6 + ["purchase", "consent", "identify", "alias"])
        log.append(a_record(offset, event(
            str(dice.randrange(90)), kind, user_id=who, anonymous_id=dice.choice([None, "v", who]),
            event_ms=appended_ms, consent=dice.choice([ALL, ALL, {"contact": False}]))
            | ({"anonymous_id": "v"} if kind == "alias" else {}), appended_ms=appended_ms))
    return log


class Life:
    """A worker, and what its last checkpoint kept: rows and notes of one and the same instant."""

    def __init__(self, folder: Path) -> None:
        self._side = SideInputs()
        self._vault = SqliteVault(folder / "vault.db", b"v" * 32)
        self._rows: dict[bytes, bytes | None] = {}
        self._notes, self._committed = b"{}", 0
        self.crash()

    def crash(self) -> None:
        self._logic = AdmitLogic(self._side, PSEUDONYMS, self._vault, partitions=PARTITIONS,
                                 limits=TIGHT)
        self._state, self.position = new_state(), self._committed
        for key, value in self._rows.items():
            self._state.slab.apply(key, value)
        self._state.notes = orjson.loads(self._notes)
        self._logic.recovered(self._state)

    def checkpoint(self) -> None:
        slab: Slab = self._state.slab
        self._rows |= {key: slab.encode(key) for key in slab.take_dirty()}
        self._notes, self._committed = orjson.dumps(self._state.notes), self.position

    def take(self, batch: list[Record]) -> list[Emission]:
        out = Out("admit", NOW_MS)
        self._logic.walk(self._state, batch, out)
        self.position += len(batch)
        for emission in out.emissions:
            if emission.topic == "consents.changed":
                self._side.take("consents.changed", read(emission)[1])
        return out.emissions


def lived(log: list[Record], dice: random.Random, folder: Path, *, steps: int,
          ) -> list[Emission]:
    """Everything emitted over `steps` batches, checkpoints and crashes, and then to the end."""
    life, found = Life(folder), list[Emission]()
    for _ in range(steps):
        what = dice.choice(["take", "take", "checkpoint", "crash"])
        if what == "take":
            found += life.take(log[life.position:life.position + dice.randint(1, 30)])
        elif what == "checkpoint":
            life.checkpoint()
        else:
            life.crash()
    return found + life.take(log[life.position:])


def told(emissions: list[Emission]) -> set[tuple[str, bytes, bytes | None]]:
    """Emissions once each; watermarks depend on how the log is cut into batches."""
    return {(e.topic, e.key, e.value) for e in emissions if read(e)[0] != "watermark"}


@pytest.mark.parametrize("seed", range(60))
def test_crashes_and_cuts_change_no_verdict(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    log = a_flood(dice)
    calm = lived(log, dice, tmp_path / "calm", steps=0)
    rough = lived(log, dice, tmp_path / "rough", steps=15)
    assert sorted(outcomes(calm)) == list(range(len(log))), f"{seed=}"
    assert told(rough) == told(calm), f"{seed=}"


def test_the_floods_hold_every_outcome_often(tmp_path: Path) -> None:
    """A law proves nothing over logs in which nothing happens."""
    counts: Counter[str] = Counter()
    for seed in range(60):
        dice = random.Random(seed)
        counts.update(outcomes(lived(a_flood(dice), dice, tmp_path / str(seed), steps=0)).values())
    for word in ("admitted", "refused:too_many", "refused:too_many_new", "duplicate:duplicate"):
        assert counts[word] >= 60, counts
