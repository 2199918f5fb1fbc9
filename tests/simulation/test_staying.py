"""Segments that people stay in, in the log: values that tremble move nobody, whoever was in one as
a visitor stays in it as a person, and a rule that lets people stay keeps those who were in."""

from __future__ import annotations

import random
from typing import Any

import pytest
from broker_model import Broker, drive
from test_handover import PERSON, START, VISITOR, event, link, world

from schemas import contract
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import load
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec, parse_rule
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.conditions import Asked

AT_LEAST_3 = {"feature": "product_views_1h", "at_least": 3}
AT_LEAST_1 = {"feature": "product_views_1h", "at_least": 1}


def logic(rule: dict[str, Any]) -> ChooseLogic:
    keen = SegmentSpec("keen", parse_rule("keen", rule, features=None, segments=(), asked=Asked()))
    return ChooseLogic(SideInputs(), Program(load().features, (keen,)), lambda side, tenant: (),
                       members_min=0)


STAYS = logic({"enter": AT_LEAST_3, "stay": AT_LEAST_1})
PLAIN = logic(AT_LEAST_3)


def changes(broker: Broker) -> list[tuple[str, bool, str, int]]:
    """(person, entered, cause, hours since START), as told."""
    meant = contract("segments.changed")
    return [(e["profile_id"], e["entered"], e["cause"], (e["event_ms"] - START) // HOUR_MS)
            for e in (meant.decode(value) for _, value in broker.logs["segments.changed", 0]
                      if meant.is_mine(value or b""))]


def views(*hours: float, who: str = PERSON, first: int = 0) -> list[tuple[bytes, bytes]]:
    return [event(first + n, who, "product_view", START + round(h * HOUR_MS))
            for n, h in enumerate(hours)]


def mark(hour: float) -> tuple[bytes, bytes]:
    ms = START + round(hour * HOUR_MS)
    return b"t", contract("watermark").encode({
        "tenant": "t", "origin_partition": 0, "watermark_ms": ms, "appended_ms": ms,
        "origin_offset": 0, "origin_sequence": 0})


@pytest.mark.parametrize("batch", [1, 1000])
def test_a_value_that_trembles_moves_nobody_who_may_stay(batch: int) -> None:
    """Three views within an hour, then one or two, then three again, then none."""
    told = [*views(0, .1, .2, 1, 1.5, 2.3, 2.4, 2.5, 3), mark(5)]
    plain, stays = world(*told), world(*told)
    assert drive(plain, PLAIN, 0, batch=batch) is not None
    assert drive(stays, STAYS, 0, batch=batch) is not None
    assert [each[1:] for each in changes(plain)] == [
        (True, "event", 0), (False, "lapse", 1), (True, "event", 2), (False, "lapse", 3)]
    assert [each[1:] for each in changes(stays)] == [(True, "event", 0), (False, "lapse", 4)]


@pytest.mark.parametrize("fuse", [None, *range(1, 24, 2)])
def test_a_person_stays_in_what_they_were_in_as_a_visitor(fuse: int | None) -> None:
    """Neither of the two alone is let in by the link; a crash anywhere changes nothing."""
    told = [*views(0, .1, .2, who=VISITOR), *views(1.2, who=VISITOR, first=3), link(4, START + 2)]
    broker = world(*told)
    if fuse is not None:
        broker.fuse = fuse
        if drive(broker, STAYS, 0, batch=2, checkpoint_every=1) is not None:
            return              # it did not come to so many effects
        broker.fuse = 10**9
    assert drive(broker, STAYS, 0, batch=2, checkpoint_every=1) is not None
    broker.logs[pipeline.ADMITTED, 0].append(mark(9))
    assert drive(broker, STAYS, 0) is not None
    assert list(dict.fromkeys(changes(broker))) == [
        (VISITOR, True, "event", 0), (VISITOR, False, "merge", 1), (PERSON, True, "merge", 1),
        (PERSON, False, "lapse", 2)]


@pytest.mark.parametrize("rule", [
    {"feature": "product_views_1h", "equals": 2},
    {"enter": {"feature": "product_views_1h", "equals": 2},
     "stay": {"feature": "product_views_1h", "below": 1}}], ids=["plain", "stays"])
def test_who_starts_again_behind_the_watermark_looks_at_every_moment_since(
        rule: dict[str, Any]) -> None:
    """A late view makes a lapse that is over by the watermark; the owner ends before the next."""
    found = []
    for restarts in (False, True):
        broker = world(*views(2.5), mark(3.2), *views(2.1, first=2))
        if restarts:
            assert drive(broker, logic(rule), 0) is not None
        broker.logs[pipeline.ADMITTED, 0].append(mark(960))
        assert drive(broker, logic(rule), 0) is not None
        found.append(said(broker))
    assert found[0] == found[1]
    assert [each[2:4] for each in found[0]] == [(True, "event"), (False, "lapse")]


RULES = {
    "keen": {"enter": AT_LEAST_3, "stay": AT_LEAST_1},
    "calm": {"enter": {"all": [{"not": {"segment": "keen"}},
                               {"feature": "product_views_7d", "at_least": 2}]},
             "stay": {"feature": "product_views_1h", "at_most": 1}},
    "odd": {"enter": {"feature": "product_views_1h", "equals": 2},
            "stay": {"not": {"segment": "calm"}}},
    "away": {"enter": {"feature": "days_since_seen", "above": 0.2},
             "stay": {"any": [{"feature": "product_views_1h", "below": 2}, {"segment": "odd"}]}}}


def many() -> ChooseLogic:
    found: list[SegmentSpec] = []
    for name, rule in RULES.items():
        known = [spec.name for spec in found]
        found.append(SegmentSpec(name, parse_rule(name, rule, features=None, segments=known,
                                                  asked=Asked())))
    return ChooseLogic(SideInputs(), Program(load().features, tuple(found)),
                       lambda side, tenant: (), members_min=0)


MANY = many()


def story(dice: random.Random) -> list[tuple[bytes, bytes]]:
    """Days of two people and a visitor: late events, watermarks ahead of them, one log-in."""
    at_ms, found, is_linked = START, list[tuple[bytes, bytes]](), False
    for number in range(1, 60):
        at_ms += dice.choice([MINUTE_MS, 10 * MINUTE_MS, 20 * MINUTE_MS, 50 * MINUTE_MS,
                              3 * HOUR_MS, DAY_MS])
        what = dice.random()
        if what < 0.12:
            found.append(mark((at_ms - START - dice.choice([0, HOUR_MS])) / HOUR_MS))
        elif what < 0.15 and not is_linked:
            is_linked = True
            found.append(link(number, at_ms))
        else:
            found.append(event(number, dice.choice([VISITOR, PERSON, "other"]),
                               dice.choice(["product_view", "product_view", "search"]),
                               at_ms - dice.choice([0, 0, 0, 40 * MINUTE_MS, 2 * HOUR_MS])))
    return [*found, mark((at_ms - START) / HOUR_MS + 720)]


@pytest.mark.parametrize("seed", range(20))
def test_neither_cuts_nor_crashes_change_who_is_in_what_and_since_when(seed: int) -> None:
    told = story(random.Random(seed))
    calm = world(*told)
    assert drive(calm, MANY, 0, batch=1, checkpoint_every=1) is not None
    expected, inside = said(calm), set[tuple[str, str]]()
    assert len(expected) > 2
    for who, segment, entered, *_ in expected:
        assert ((who, segment) in inside) != entered, "in and out by turns"
        (inside.add if entered else inside.discard)((who, segment))
    whole = world(*told)
    assert drive(whole, MANY, 0, batch=1000) is not None
    assert sorted(said(whole)) == sorted(expected)
    dice, broker = random.Random(seed), world(*told)
    for _ in range(4):
        broker.fuse = broker.effects + dice.randrange(1, 50)
        drive(broker, MANY, 0, batch=dice.choice([1, 3, 7]),
              checkpoint_every=dice.choice([1, 2, 5]))
    broker.fuse = 10**9
    assert drive(broker, MANY, 0) is not None
    assert sorted(said(broker)) == sorted(expected)


def said(broker: Broker) -> list[tuple[str, str, bool, str, int]]:
    """(person, segment, entered, cause, when), repeats left out."""
    meant = contract("segments.changed")
    return list(dict.fromkeys(
        (e["profile_id"], e["segment"], e["entered"], e["cause"], e["event_ms"])
        for e in (meant.decode(value) for _, value in broker.logs["segments.changed", 0]
                  if meant.is_mine(value or b""))))


def test_who_was_in_stays_when_the_rule_learns_to_let_them() -> None:
    """And nobody who was out enters, though the same holds of both: five views let in now, and
    one in a week lets stay."""
    broker = world(*views(0, .1, .2), *views(.1, .3, who="other", first=3))
    assert drive(broker, PLAIN, 0) is not None
    stricter = logic({"enter": {"feature": "product_views_1h", "at_least": 5},
                      "stay": {"feature": "product_views_7d", "at_least": 1}})
    for hours in (30, 240):
        broker.logs[pipeline.ADMITTED, 0].append(mark(hours))
        assert drive(broker, stricter, 0) is not None
    week, tile = 7 * DAY_MS // HOUR_MS, 6
    assert changes(broker)[:1] == [(PERSON, True, "event", 0)]
    ((who, entered, cause, hour),) = changes(broker)[1:]
    assert (who, entered, cause) == (PERSON, False, "lapse") and week <= hour <= week + tile
