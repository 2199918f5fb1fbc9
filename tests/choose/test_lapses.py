"""Segments left and entered by time alone: told as of their own moment, however far the log is
ahead of its watermark, as a twin says that looks at every moment at which they can change."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
from feature_twin import Heard, obvious
from trigger_world import playbook

from schemas import contract
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.features.spec import FeatureSpec
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec
from streams.engine import checkpoints
from streams.engine.records import Out, Record
from streams.engine.stage import PartitionState
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.conditions import Known, holds
from streams.playbooks.model import Condition, Playbook, Trigger

BEGIN = 1_700_000_400_000 // DAY_MS * DAY_MS
END = BEGIN + 10 * DAY_MS
FEATURES = (
    FeatureSpec("views_1h", "view", "count", HOUR_MS),
    FeatureSpec("views_1d", "view", "count", DAY_MS),
    FeatureSpec("spend_2d", "buy", "sum", 2 * DAY_MS, of=("value",)),
    FeatureSpec("mean_1d", "buy", "mean", DAY_MS, of=("value",)),
    FeatureSpec("items_6h", "view", "distinct", 6 * HOUR_MS, of=("item_id",)),
    FeatureSpec("since", "*", "since"),
)
BY_NAME = {spec.name: spec for spec in FEATURES}
Change = tuple[str, str, bool, int]     # person, segment, entered, when
Log = list[dict[str, Any] | int]        # events, links, and watermarks


def asks(name: str, compare: str, number: float) -> Condition:
    return Condition("feature", name=name, compare=compare, number=number)


def both(*parts: Condition) -> Condition:
    return Condition("all", parts=parts)


def no(part: Condition) -> Condition:
    return Condition("not", parts=(part,))


def stays(name: str, enter: Condition, stay: Condition) -> Condition:
    return Condition("any", parts=(enter, both(Condition("was", name=name), stay)))


SEGMENTS = tuple(SegmentSpec(name, rule) for name, rule in {
    "busy": asks("views_1h", "at_least", 3),
    "quiet": asks("views_1d", "below", 1),
    "paying": both(asks("spend_2d", "at_least", 20), no(asks("views_1h", "at_least", 2))),
    "dear": asks("mean_1d", "above", 12),
    "curious": asks("items_6h", "at_least", 2),
    "fresh": asks("since", "at_most", 0.25),
    "gone": asks("since", "at_least", 0.5),
    "amid": both(asks("since", "at_least", 0.125), no(Condition("segment", name="gone"))),
    "settled": stays("settled", asks("views_1h", "at_least", 3), asks("views_1d", "at_least", 2)),
    "dear_yet": stays("dear_yet", asks("mean_1d", "above", 12), asks("mean_1d", "above", 4)),
    "sought": stays("sought", both(asks("since", "at_least", 0.125),
                                   asks("items_6h", "at_least", 1),
                                   no(Condition("segment", name="settled"))),
                    asks("views_1d", "at_least", 1)),
}.items())
PLAYBOOKS = tuple(
    replace(playbook(Trigger("segment", segment=spec.name, enters=enters),
                     f"{spec.name}-{'in' if enters else 'out'}", expires_ms=300 * DAY_MS),
            cooldown_ms=0, cap_messages=10**6)
    for spec in SEGMENTS for enters in (True, False))
CART = replace(playbook(Trigger("absence", "view", "buy", 50 * MINUTE_MS), "cart"),
               cooldown_ms=0, cap_messages=10**6)


def story(dice: random.Random) -> list[dict[str, Any]]:
    """Nine days of three people, in order."""
    found: list[dict[str, Any]] = []
    for who in range(3):
        at_ms = BEGIN + dice.randrange(DAY_MS)
        while at_ms < END - DAY_MS:
            kind = dice.choice(["view", "view", "view", "buy", "other"])
            found.append({
                "event_type": kind, "event_ms": at_ms, "profile_id": f"w{who}",
                "item_id": f"i{dice.randrange(3)}",
                "value_micros": dice.choice([0, 5, 12, 25]) * 1_000_000 if kind == "buy" else 0})
            at_ms += dice.choice([MINUTE_MS, 5 * MINUTE_MS, 20 * MINUTE_MS, HOUR_MS, 7 * HOUR_MS,
                                  30 * HOUR_MS]) + dice.randrange(1000)
    found.sort(key=lambda each: (each["event_ms"], each["profile_id"]))
    return [{"event_id": f"e{n}", "tenant": "t", "appended_ms": each["event_ms"], "purposes": 15,
             "origin_partition": 0, "origin_offset": n, "origin_sequence": 0, **each}
            for n, each in enumerate(found)]


def mark(at_ms: int) -> bytes:
    return contract("watermark").encode({
        "tenant": "t", "origin_partition": 0, "watermark_ms": at_ms, "appended_ms": at_ms,
        "origin_offset": 0, "origin_sequence": 0})


def live(told: list[dict[str, Any]], step_ms: int, behind_ms: int) -> Log:
    """Watermarks between the events, every `step_ms`, `behind_ms` behind what is still to come."""
    found: Log = []
    said_ms, left_ms = BEGIN, END
    to_come = []
    for each in reversed(told):
        left_ms = min(left_ms, each["event_ms"])
        to_come.append(left_ms)
    for each, left_ms in zip(told, reversed(to_come), strict=True):
        while said_ms + step_ms < left_ms - behind_ms:
            said_ms += step_ms
            found.append(said_ms)
        found.append(each)
    return [*found, END]


def shuffled(told: list[dict[str, Any]], dice: random.Random) -> list[dict[str, Any]]:
    """Some come late, by minutes or by hours."""
    arrivals = [(each["event_ms"] + dice.choice([0, 0, 0, 10 * MINUTE_MS, 9 * HOUR_MS]), n)
                for n, each in enumerate(told)]
    return [{**told[n], "origin_offset": offset}
            for offset, (_, n) in enumerate(sorted(arrivals))]


def staged(log: Log, size: int, playbooks: tuple[Playbook, ...] = PLAYBOOKS,
           ) -> tuple[list[Change], dict[str, list[tuple[str, int]]]]:
    """(changes, decisions by person)."""
    logic = ChooseLogic(SideInputs(), Program(FEATURES, SEGMENTS), lambda side, tenant: playbooks,
                        members_min=0)
    state: PartitionState = checkpoints.fresh(logic, 0, 1)
    logic.recovered(state)
    records = [Record(pipeline.ADMITTED, 0, n, b"k", mark(each) if isinstance(each, int) else
                      contract("handover" if "visitor_id" in each else pipeline.ADMITTED)
                      .encode(each), 0)
               for n, each in enumerate(log)]
    changes: list[Change] = []
    said: dict[str, list[tuple[str, int]]] = defaultdict(list)
    origins: set[tuple[int, int]] = set()
    change, decision = contract("segments.changed"), contract(pipeline.DECISIONS)
    for at in range(0, len(records), size):
        out = Out("choose", 0)
        logic.walk(state, records[at:at + size], out)
        for emission in out.emissions:
            if emission.topic == pipeline.SEGMENT_CHANGES and change.is_mine(emission.value):
                told = change.decode(emission.value or b"")
                changes.append((told["profile_id"], told["segment"], told["entered"],
                                told["event_ms"]))
                origin = told["origin_offset"], told["origin_sequence"]
                assert origin not in origins, "who reads it would take it for a repeat"
                origins.add(origin)
            elif emission.topic == pipeline.DECISIONS and decision.is_mine(emission.value):
                made = decision.decode(emission.value or b"")
                said[made["profile_id"]].append((made["playbook"], made["moment_ms"]))
            elif emission.topic == "refusals.recorded":
                why = contract("refusals.recorded").decode(emission.value or b"")
                assert why["reason"] in ("outranked", "behind_window"), why
                if why["reason"] == "outranked":
                    said[why["profile_id"]].append((why["playbook"], why["event_ms"]))
    return changes, said


def of_each(changes: list[Change]) -> dict[str, list[tuple[str, bool, int]]]:
    """Changes by person, in the order they were told."""
    found: dict[str, list[tuple[str, bool, int]]] = defaultdict(list)
    for who, *rest in changes:
        found[who].append(tuple(rest))          # type: ignore[arg-type]
    return found


def slowly(told: list[dict[str, Any]]) -> list[Change]:
    """Membership worked out anew at every event, and at every instant that may be a bound: where
    the smallest tiles begin, and what is a window or a number of days after an event."""
    found: list[Change] = []
    for who in sorted({each["profile_id"] for each in told}):
        own = [each for each in told if each["profile_id"] == who]
        moments = {*range(BEGIN, END + 1, 5 * MINUTE_MS)}
        for each in own:
            at_ms = each["event_ms"]
            moments |= {at_ms, at_ms + 6 * HOUR_MS, at_ms + 6 * HOUR_MS + 1,
                        at_ms + 12 * HOUR_MS, at_ms + 3 * HOUR_MS}
        history: list[Heard] = []
        inside: frozenset[str] = frozenset()
        for at_ms in sorted(m for m in moments if own[0]["event_ms"] <= m <= END):
            for is_event in (False, True):
                if is_event:
                    history += [_heard(n, each) for n, each in enumerate(own)
                                if each["event_ms"] == at_ms]
                if history:
                    now = _members(history, at_ms, inside)
                    found += [(who, spec.name, entered, at_ms) for entered, some in (
                        (True, now - inside), (False, inside - now))
                        for spec in SEGMENTS if spec.name in some]
                    inside = now
    return found


def _heard(n: int, each: dict[str, Any]) -> Heard:
    return Heard(n, each["event_type"], each["event_ms"], value=each["value_micros"] / 1e6,
                 item=each["item_id"])


def _members(history: list[Heard], at_ms: int, inside: frozenset[str]) -> frozenset[str]:
    names: list[str] = []
    for spec in SEGMENTS:
        if holds(spec.rule, lambda name: obvious(BY_NAME[name], history, at_ms, BY_NAME),
                 names.__contains__, Known(was_in=inside.__contains__)):
            names.append(spec.name)
    return frozenset(names)


def test_a_history_read_at_once_tells_every_change_as_of_its_own_moment() -> None:
    lapsed = set()
    for seed in range(6):
        told = story(random.Random(seed))
        at_once, decided = staged([*told, END], 10**6)
        expected = slowly(told)
        assert of_each(at_once) == of_each(expected)
        for who, own in of_each(expected).items():
            assert sorted(decided[who]) == sorted(
                (f"{name}-{'in' if entered else 'out'}", at_ms) for name, entered, at_ms in own)
        times = {each["event_ms"] for each in told}
        lapsed |= {each[1:3] for each in expected if each[3] not in times}
    assert lapsed >= {("busy", False), ("quiet", True), ("paying", True), ("paying", False),
                      ("curious", False), ("dear", False), ("fresh", False), ("gone", True),
                      ("amid", True), ("amid", False), ("settled", False), ("dear_yet", False),
                      ("sought", True), ("sought", False)}


@pytest.mark.parametrize("at_once", [False, True])
def test_a_mean_rises_when_what_added_nothing_leaves_its_window(at_once: bool) -> None:
    told = [{"event_id": f"e{n}", "tenant": "t", "event_type": "buy", "event_ms": at_ms,
             "appended_ms": at_ms, "purposes": 15, "profile_id": "w", "origin_partition": 0,
             "origin_offset": n, "origin_sequence": 0, "value_micros": value}
            for n, (at_ms, value) in enumerate([(BEGIN, 0), (BEGIN + 2 * HOUR_MS, 20_000_000),
                                                (BEGIN + 3 * DAY_MS, 0)])]
    log = [*told, END] if at_once else live(told, MINUTE_MS, 0)
    gone_ms = BEGIN + DAY_MS + HOUR_MS
    assert [each[1:] for each in staged(log, 1)[0] if each[1] == "dear"] == [
        ("dear", True, gone_ms), ("dear", False, gone_ms + 2 * HOUR_MS)]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_live_and_at_once_and_in_any_cut_the_same_is_told(seed: int, late: bool) -> None:
    """The watermark close behind each event, days behind, and not before the end."""
    dice = random.Random(100 + seed)
    told = story(dice)
    if late:
        told = shuffled(told, dice)
    playbooks = (*PLAYBOOKS, CART) if seed % 2 else PLAYBOOKS
    changes, said = staged(live(told, MINUTE_MS, 0), 997, playbooks)
    assert changes and (not seed % 2 or any(
        name == "cart" for own in said.values() for name, _ in own))
    for log in (live(told, HOUR_MS, MINUTE_MS), live(told, 5 * HOUR_MS, 2 * DAY_MS),
                [*told, END]):
        for size in (1, dice.randrange(2, 60), len(log)):
            others, told_others = staged(log, size, playbooks)
            assert of_each(others) == of_each(changes)
            assert {who: sorted(own) for who, own in told_others.items()} == {
                who: sorted(own) for who, own in said.items()}


@pytest.mark.parametrize("seed", range(4))
def test_a_visitors_lapses_before_a_link_are_told_as_of_their_own_moments(seed: int) -> None:
    """And they leave what they are still in with the link."""
    dice = random.Random(300 + seed)
    told = [each for each in story(dice) if each["profile_id"] == "w0"]
    told = told[:dice.randrange(3, len(told))]
    link_ms = told[-1]["event_ms"] + dice.choice([1, 40 * MINUTE_MS, 4 * HOUR_MS, 30 * HOUR_MS])
    link = {"tenant": "t", "visitor_id": "w0", "profile_id": "p", "row": b"", "layout": "",
            "event": b"", "event_ms": link_ms, "appended_ms": link_ms, "stage": "admit",
            "origin_partition": 0, "origin_offset": told[-1]["origin_offset"], "origin_sequence": 1}
    expected = [each for each in slowly(told) if each[3] <= link_ms]
    inside = {name: entered for _, name, entered, _ in expected}
    expected += [("w0", spec.name, False, link_ms) for spec in SEGMENTS if inside.get(spec.name)]
    for log in (live([*told, link], MINUTE_MS, 0), live([*told, link], 5 * HOUR_MS, 2 * DAY_MS),
                [*told, link, END]):
        assert of_each(staged(log, dice.randrange(1, 9))[0])["w0"] == of_each(expected)["w0"]
