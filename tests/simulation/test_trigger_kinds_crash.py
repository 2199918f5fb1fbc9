"""Every kind of trigger in the crash mill: decisions and rows as if nothing had happened."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import test_choose_crash as mill
from broker_model import Broker, drive

from schemas import contract
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.kernel.moments import DAY_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Condition, Step, Trigger

VIEWED = Condition("feature", name="product_views_1h", compare="at_least", number=2)
CALM = Condition("feature", name="product_views_1h", compare="at_most", number=0)
TRIGGERS = {
    "cart": Trigger("absence", "cart_add", "purchase", 30 * MINUTE_MS, "cart_id"),
    "shy": Trigger("edge", when=VIEWED, rearm=CALM),
    "warm": Trigger("score", weights=(("product_views_7d", 1.0), ("cart_adds_24h", 2.0)),
                    at_least=5.0, rearm_below=3.0),
    "hesitant": Trigger("sequence", "cart_add", within_ms=2 * DAY_MS, per="item_id", steps=(
        Step("product_view"), Step("purchase", True), Step("cart_add"), Step("search", True))),
    "twice": Trigger("sequence", "product_view", within_ms=3 * DAY_MS, steps=(
        Step("product_view"), Step("product_view"))),
    "at-nine-wherever-they-are": Trigger(
        "schedule", within_ms=9 * DAY_MS, minute=9 * 60, days=(0, 1, 2, 3, 4, 5, 6),
        zone="person", otherwise="Europe/Berlin"),
    "before-the-day-itself": Trigger("date", "search", property="day", shift_days=-2, minute=600,
                                     zone="Asia/Tokyo", per="item_id"),
    "an-item-that-they-looked-at-is-back": Trigger(
        "back_in_stock", without="purchase", within_ms=20 * DAY_MS, events=("product_view",)),
    "an-item-that-they-looked-at-costs-less": Trigger(
        "price_drop", without="purchase", within_ms=20 * DAY_MS, events=("cart_add", "search"),
        at_least=0.2),
    "welcome": Trigger("segment", segment="active"),
    "farewell": Trigger("segment", segment="active", enters=False),
}
PLAYBOOKS = tuple(replace(mill.playbook(name, trigger), expires_ms=5 * DAY_MS)
                  for name, trigger in TRIGGERS.items())


def logic() -> ChooseLogic:
    return ChooseLogic(SideInputs(), compiled(), lambda side, tenant: PLAYBOOKS, members_min=0)


def world(seed: int) -> Broker:
    """The mill's, of people who live somewhere and search for a day to come."""
    broker, admitted = mill.world(seed), contract("events.admitted")
    log = broker.logs["events.admitted", 0]
    for n, (key, value) in enumerate(log):
        if value is not None and admitted.is_mine(value):
            event = admitted.decode(value)
            day = datetime.fromtimestamp(event["event_ms"] / 1000 + 4 * 86_400, UTC).date()
            log[n] = key, admitted.encode({
                **event, "properties_json": f'{{"day": "{day}"}}',
                "timezone": ("", "America/New_York", "Asia/Tokyo")[event["origin_offset"] % 3]})
    broker.logs["events.admitted", 0] = list(with_changes(log, random.Random(seed)))
    return broker


def with_changes(log: list[tuple[bytes, bytes | None]],
                 dice: random.Random) -> Iterator[tuple[bytes, bytes | None]]:
    """The log with changes of items in between, some of them told twice."""
    for n, (key, value) in enumerate(log):
        yield key, value
        if value is not None and contract("events.admitted").is_mine(value) and dice.random() < 0.5:
            as_of_ms = contract("events.admitted").decode(value)["event_ms"]
            change = contract("item_change").encode({
                "tenant": "t", "item_id": f"i{dice.randrange(5)}", "as_of_ms": as_of_ms + 1,
                "price_before_micros": 100, "price_micros": dice.choice([60, 90]),
                "currency": "EUR", "was_in_stock": dice.random() < 0.5, "in_stock": True,
                "appended_ms": as_of_ms, "origin_partition": 0, "origin_offset": n,
                "origin_sequence": 0})
            yield from [(b"t", change)] * dice.choice([1, 1, 2])


def result(broker: Broker, batch: int = 7) -> tuple[list[Any], dict[bytes, bytes]]:
    lane = drive(broker, logic(), 0, batch=batch, checkpoint_every=2)
    assert lane is not None
    slab = lane.state.slab
    rows = {key: slab.encode(key)[12:] for key in slab}      # type: ignore[index]
    return mill.heard(broker, "decisions.made", "decision_id"), mill.without_stamps(rows)


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_anywhere_ends_in_the_same_decisions_and_rows(seed: int) -> None:
    whole = world(seed)
    expected = result(whole)
    assert len(expected[0]) > 10
    for fuse in random.Random(seed).sample(range(whole.effects), 20):
        broker = world(seed)
        broker.fuse = fuse
        assert drive(broker, logic(), 0, batch=7, checkpoint_every=2) is None
        broker.fuse = 10**9
        assert result(broker) == expected, f"{seed=} {fuse=}"


@pytest.mark.parametrize("seed", range(4))
def test_the_result_does_not_depend_on_how_the_stream_is_cut(seed: int) -> None:
    found = [result(world(seed), batch)[0] for batch in (1, 3, 1000)]
    assert found[0] == found[1] == found[2]


def test_every_kind_of_trigger_decides_something_here() -> None:
    made, kinds = contract("decisions.made"), set()
    for seed in range(3):
        broker = world(seed)
        result(broker)
        kinds |= {made.decode(record.value)["trigger"]
                  for record in broker.records("decisions.made", 0) if made.is_mine(record.value)}
    assert kinds == {trigger.kind for trigger in TRIGGERS.values()}
