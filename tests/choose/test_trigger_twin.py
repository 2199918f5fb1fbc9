"""Choose with its compiled filter, timers and batches, beside the triggers alone, event by event.

Several playbooks of every kind that events and time decide wait for the same people at once. The
log may be weeks ahead of its watermark, and the watermark may pass many deadlines in one step.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from trigger_world import World, playbook

from schemas import contract
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.engine import checkpoints
from streams.engine.records import Out, Record
from streams.engine.stage import PartitionState
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Condition, Playbook, Step, Trigger

BEGIN = 1_700_000_000_000
KINDS = ("product_view", "product_view", "cart_add", "purchase", "search", "checkout_start")
Told = Counter[tuple[str, str, int, str]]


def watermark(at_ms: int) -> bytes:
    return contract("watermark").encode({
        "tenant": "t", "origin_partition": 0, "watermark_ms": at_ms, "appended_ms": at_ms,
        "origin_offset": 0, "origin_sequence": 0})


def orders(compare: str, number: int) -> Condition:
    return Condition("feature", name="orders_lifetime", compare=compare, number=number)


SILENT = Condition("feature", name="days_since_purchase", compare="at_least", number=3)
BUSY = Condition("feature", name="days_since_purchase", compare="at_most", number=1)
EVERY_DAY = tuple(range(7))


def drawn(dice: random.Random) -> tuple[Playbook, ...]:
    """Some playbooks of each kind, under names that settle their order."""
    span = dice.choice([20 * MINUTE_MS, 3 * HOUR_MS, 2 * DAY_MS])
    per: Any = dice.choice(["", "item_id", "cart_id"])
    own = [
        Trigger("sequence", "checkout_start", within_ms=span, steps=(
            Step("checkout_start"), Step("purchase", True))),
        Trigger("sequence", "cart_add", within_ms=span, per="item_id", steps=(
            Step("product_view"), Step("purchase", True), Step("cart_add"))),
        Trigger("absence", "cart_add", "purchase", span, per),
        Trigger("recency", "purchase", within_ms=dice.choice([DAY_MS, 6 * DAY_MS])),
        Trigger("edge", when=SILENT, rearm=BUSY),
        Trigger("score", weights=(("orders_lifetime", 1.0),), at_least=float(dice.randrange(1, 4)),
                rearm_below=0.5),
        Trigger("event", "search", when=orders("at_least", 2)),
        Trigger("schedule", within_ms=4 * DAY_MS, minute=dice.choice([150, 540]), days=EVERY_DAY,
                zone="person", otherwise="Europe/Berlin"),
        Trigger("date", "search", property="day", shift_days=dice.choice([-1, 0, 2]), minute=600,
                zone="person", otherwise="UTC", per=dice.choice(["", "item_id"])),
    ]
    some = dice.sample(own, dice.randrange(2, len(own) + 1))
    return tuple(replace(playbook(trigger, f"p{n}", expires_ms=300 * DAY_MS), cooldown_ms=0,
                         cap_messages=10**6, value_micros=dice.randrange(3))
                 for n, trigger in enumerate(some))


def events(dice: random.Random) -> list[dict[str, Any]]:
    """Five weeks of three people, nearly in order."""
    found, at_ms = list[tuple[int, dict[str, Any]]](), BEGIN
    for n in range(dice.randrange(40, 120)):
        at_ms += dice.choice([0, MINUTE_MS, 7 * MINUTE_MS, 7 * MINUTE_MS, HOUR_MS, 20 * HOUR_MS])
        day = datetime.fromtimestamp(at_ms / 1000 + 86_400 * dice.randrange(6), UTC).date()
        who = dice.randrange(3)
        told = dice.choice([str(day), str(day), "2026-02-29", "soon", ""])
        found.append((at_ms + dice.randrange(2 * HOUR_MS), {
            "event_id": f"e{n}", "tenant": "t", "event_type": dice.choice(KINDS),
            "event_ms": at_ms, "appended_ms": at_ms, "profile_id": f"w{who}",
            "item_id": f"i{dice.randrange(3)}", "cart_id": f"c{dice.randrange(2)}",
            "timezone": ("", "America/New_York", "Asia/Tokyo")[who], "purposes": 15,
            "properties_json": orjson.dumps({"day": told}).decode(),
            "origin_partition": 0, "origin_sequence": 0}))
    return [{**event, "origin_offset": offset}
            for offset, (_, event) in enumerate(sorted(found, key=lambda each: each[0]))]


def marked(dice: random.Random, told: list[dict[str, Any]]) -> Iterator[dict[str, Any] | int]:
    """The events with watermarks in between, often or rarely, up to weeks behind."""
    behind_ms, often = dice.choice([0, DAY_MS, 30 * DAY_MS]), dice.choice([0.05, 0.5, 1.0])
    before = 0
    for n, event in enumerate(told):
        yield event
        left_ms = min((each["event_ms"] for each in told[n + 1:]), default=event["event_ms"])
        mark = left_ms - 1 - dice.randrange(behind_ms + 1)
        if mark > before and dice.random() < often:
            before = mark
            yield mark
    yield told[-1]["event_ms"] + 90 * DAY_MS


class Twin(World):
    """One person, and what is known of them as of their newest event."""

    def person(self, at_ms: int) -> Any:
        newest_ms = max(each["event_ms"] for each in self.heard)
        return replace(super().person(newest_ms), as_of_ms=newest_ms)


def slowly(playbooks: tuple[Playbook, ...], story: list[dict[str, Any] | int]) -> Told:
    worlds: dict[str, Twin] = {}
    for each in story:
        if isinstance(each, int):
            for world in worlds.values():
                world.reach(each)
        else:
            world = worlds.setdefault(each["profile_id"], Twin(*playbooks))
            world.tell({"value_micros": 0, "order_id": "", "items": (), **each})
    return Counter((who, m.playbook.name, m.moment_ms, m.event_id)
                   for who, world in worlds.items() for m in world.moments)


def staged(playbooks: tuple[Playbook, ...], story: list[dict[str, Any] | int],
           size: int) -> tuple[Told, Counter[str]]:
    """What choose says, decided or outranked; and the events that carry no date."""
    logic = ChooseLogic(SideInputs(), compiled(), lambda side, tenant: playbooks, members_min=0)
    state: PartitionState = checkpoints.fresh(logic, 0, 1)
    logic.recovered(state)
    records = [Record(pipeline.ADMITTED, 0, n, b"k", watermark(each) if isinstance(each, int)
                      else contract(pipeline.ADMITTED).encode(each), 0)
               for n, each in enumerate(story)]
    said, undated = Told(), Counter[str]()
    decision, refusal = contract(pipeline.DECISIONS), contract("refusals.recorded")
    for at in range(0, len(records), size):
        out = Out("choose", 0)
        logic.walk(state, records[at:at + size], out)
        for emission in out.emissions:
            if emission.topic == pipeline.DECISIONS and decision.is_mine(emission.value):
                made = decision.decode(emission.value or b"")
                said[made["profile_id"], made["playbook"], made["moment_ms"],
                     made["trigger_event_id"]] += 1
            elif emission.topic == "refusals.recorded":
                why = refusal.decode(emission.value or b"")
                if why["reason"] == "no_date":
                    assert why["field"] == "properties.day" and why["outcome"] == "skipped"
                    undated[why["event_id"]] += 1
                elif why["outcome"] == "skipped":
                    assert why["reason"] == "outranked"
                    said[why["profile_id"], why["playbook"], why["event_ms"],
                         why["event_id"]] += 1
    return said, undated


@pytest.mark.parametrize("seed", range(60))
def test_choose_finds_every_moment_that_the_triggers_alone_find(seed: int) -> None:
    dice = random.Random(seed)
    playbooks, told = drawn(dice), events(dice)
    story = list(marked(dice, told))
    expected = slowly(playbooks, story)
    dated = sum(p.trigger.kind == "date" for p in playbooks)
    no_date = Counter({e["event_id"]: 1 for e in told if dated and e["event_type"] == "search"
                       and ("soon" in e["properties_json"] or "02-29" in e["properties_json"])})
    for size in (1, dice.randrange(2, 40), len(story)):
        said, undated = staged(playbooks, story, size)
        assert said == expected, f"{seed=} {size=}: {said - expected}, missing {expected - said}"
        assert undated == no_date
    alone = {p.name: slowly((p,), story) for p in playbooks}
    assert expected == sum(alone.values(), Told())


@pytest.mark.parametrize("kind", ["sequence", "absence", "date", "schedule"])
def test_how_far_the_watermark_is_behind_changes_no_moment(kind: str) -> None:
    found = 0
    for seed in range(12):
        dice = random.Random(seed)
        playbooks = tuple(p for p in drawn(dice) if p.trigger.kind == kind)
        told = events(dice)
        close = [each for each in marked(random.Random(1), told) if not isinstance(each, int)]
        end_ms = told[-1]["event_ms"] + 90 * DAY_MS
        steps = range(BEGIN, end_ms, 6 * HOUR_MS)
        live, before_ms = list[dict[str, Any] | int](), 0
        for n, event in enumerate(close):
            live.append(event)
            left_ms = min((each["event_ms"] for each in close[n + 1:]), default=event["event_ms"])
            live += [mark for mark in steps if before_ms < mark < left_ms]
            before_ms = max(before_ms, left_ms - 1)
        late: list[dict[str, Any] | int] = [*close, *steps]
        said = staged(playbooks, [*live, *steps], 50)[0]
        assert said == staged(playbooks, late, 50)[0], f"{seed=}"
        found += sum(said.values())
    assert found > 20
