"""Segments that people stay in, in the log: values that tremble move nobody, whoever was in one as
a visitor stays in it as a person, and a rule that lets people stay keeps those who were in."""

from __future__ import annotations

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
from streams.kernel.moments import DAY_MS, HOUR_MS
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
