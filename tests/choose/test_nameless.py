"""An event that does not name the object a trigger is kept per is told once a day of a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from trigger_world import START, event, playbook

from schemas import contract
from streams import pipeline
from streams.choose import triggers
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.engine import checkpoints
from streams.engine.records import Out, Record
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Playbook, Step, Trigger

FORGOT = Trigger("absence", "cart_add", "purchase", HOUR_MS, "cart_id")
PAIR = Trigger("sequence", "cart_add", within_ms=HOUR_MS, per="item_id", steps=(
    Step("product_view"), Step("purchase", True), Step("cart_add")))
RENEWAL = Trigger("date", "cart_add", property="day", minute=600, zone="UTC", otherwise="UTC",
                  per="order_id")
ASKED = tuple(playbook(trigger, name) for name, trigger in (
    ("forgot", FORGOT), ("pair", PAIR), ("renewal", RENEWAL)))


@pytest.mark.parametrize(("fields", "names"), [
    ({}, ["forgot", "pair", "renewal"]),
    ({"cart_id": "c"}, ["pair", "renewal"]),
    ({"cart_id": "c", "item_id": "i", "order_id": "o"}, []),
])
def test_what_begins_needs_a_name(fields: dict[str, str], names: list[str]) -> None:
    told = event(0, "cart_add", START, **fields)
    assert [each.name for each in triggers.nameless(ASKED, told, ())] == names


def test_what_ends_or_forbids_or_names_its_items_or_is_of_another_type_does_not() -> None:
    for kind in ("purchase", "search"):
        assert triggers.nameless(ASKED, event(0, kind, START), ()) == []
    assert triggers.nameless(ASKED[1:2], event(0, "cart_add", START), ("i", "j")) == []
    free = replace(ASKED[0], trigger=replace(FORGOT, per=""))
    assert triggers.nameless([free], event(0, "cart_add", START), ()) == []


def staged(asked: tuple[Playbook, ...], size: int) -> list[tuple[str, str, str, int]]:
    """Refusals of two days of two people who never name anything, in batches of `size`."""
    logic = ChooseLogic(SideInputs(), compiled(), lambda side, tenant: asked, members_min=0)
    state = checkpoints.fresh(logic, 0, 1)
    logic.recovered(state)
    records = []
    for n in range(48):
        said = {**event(n, "cart_add", START + n * HOUR_MS), "tenant": "t",
                "profile_id": f"w{n % 2}", "purposes": 15, "origin_partition": 0,
                "origin_offset": n, "origin_sequence": 0}
        del said["items"]
        records.append(Record(pipeline.ADMITTED, 0, n, b"k",
                              contract(pipeline.ADMITTED).encode(said), 0))
    found, refusal = list[dict[str, Any]](), contract("refusals.recorded")
    for at in range(0, len(records), size):
        out = Out("choose", 0)
        logic.walk(state, records[at:at + size], out)
        found += [refusal.decode(each.value or b"") for each in out.emissions
                  if each.topic == "refusals.recorded"]
    assert all((why["outcome"], why["reason"]) == ("skipped", "no_object") for why in found)
    return [(why["profile_id"], why["playbook"], why["field"], why["event_ms"] // DAY_MS)
            for why in found]


def test_the_stage_tells_it_once_a_day_of_a_person_and_playbook() -> None:
    days = {(START + n * HOUR_MS) // DAY_MS for n in range(48)}
    expected = sorted((who, p.name, p.trigger.per, day) for who in ("w0", "w1") for p in ASKED
                      for day in days)
    found = staged(ASKED, 48)
    assert sorted(found) == expected
    assert staged(ASKED, 1) == found == staged(ASKED, 7)
    alone = staged(ASKED[:1], 48)
    assert sorted(alone) == [each for each in expected if each[1] == "forgot"], "by arrays alone"
