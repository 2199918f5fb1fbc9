"""The choose stage in the crash mill: rows, decisions, segment changes as if nothing happened."""

from __future__ import annotations

import random
from typing import Any

import pytest
from broker_model import Broker, drive
from sim_rows import in_place

from schemas import contract
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.engine.records import Seen
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Condition, Playbook, Trigger, Variant

START = 1_600_000_000_000
ARMS = (Variant("a", "reminder"), Variant("b", "helpful"))


def playbook(name: str, trigger: Trigger) -> Playbook:
    return Playbook(name=name, trigger=trigger, brief="b", variants=ARMS, conversion="purchase",
                    window_ms=3 * DAY_MS, expires_ms=DAY_MS, cooldown_ms=HOUR_MS, tenant="t",
                    version=1, value_micros=len(name), holdout=0.3, cap_messages=5)


PLAYBOOKS = (
    playbook("cart", Trigger("absence", "cart_add", "purchase", 30 * MINUTE_MS, "cart_id")),
    playbook("due", Trigger("recency", "purchase", times=1.0, events_min=2)),
    playbook("keen", Trigger("edge", when=Condition("feature", name="product_views_1h",
                                                    compare="at_least", number=3))),
    playbook("thanks", Trigger("event", "purchase")),
)


def logic() -> ChooseLogic:
    return ChooseLogic(SideInputs(), compiled(), lambda side, tenant: PLAYBOOKS, members_min=0)


def event(dice: random.Random, number: int, at_ms: int) -> dict[str, Any]:
    kind = dice.choice(["product_view", "product_view", "cart_add", "purchase", "search"])
    return {"event_id": f"e{number}", "tenant": "t", "event_type": kind, "event_ms": at_ms,
            "appended_ms": at_ms, "profile_id": f"p{dice.randrange(4)}",
            "item_id": f"i{dice.randrange(5)}", "cart_id": f"c{dice.randrange(3)}",
            "value_micros": dice.randrange(500) * 1_000_000, "purposes": 15,
            "origin_partition": 0, "origin_offset": number, "origin_sequence": 0}


def world(seed: int) -> Broker:
    """Events, a copy of some (the upstream crashed), a repeat by a producer, watermarks."""
    dice, broker = random.Random(seed), Broker(partitions=1)
    log, at_ms = broker.logs["events.admitted", 0], START
    told: list[tuple[bytes, bytes]] = []
    for number in range(60):
        at_ms += dice.choice([MINUTE_MS, 20 * MINUTE_MS, 5 * HOUR_MS, 3 * DAY_MS])
        fields = event(dice, number, at_ms)
        told.append((fields["profile_id"].encode(), contract("events.admitted").encode(fields)))
        log.append(told[-1])
        if dice.random() < 0.1:
            log.extend(told[-dice.randrange(1, 4):])
        if dice.random() < 0.4:
            log.append((b"t", watermark(at_ms - MINUTE_MS)))
    log.append((b"t", watermark(at_ms + 200 * DAY_MS)))
    return broker


def watermark(at_ms: int) -> bytes:
    return contract("watermark").encode({
        "tenant": "t", "origin_partition": 0, "watermark_ms": at_ms, "appended_ms": at_ms,
        "origin_offset": 0, "origin_sequence": 0})


def result(broker: Broker) -> tuple[list[Any], list[Any], dict[bytes, Any]]:
    lane = drive(broker, logic(), 0, batch=7, checkpoint_every=2)
    assert lane is not None
    slab = lane.state.slab
    rows = {key: in_place(slab.encode(key))[16:] for key in slab}      # type: ignore[index]
    return (heard(broker, "decisions.made", "decision_id"),
            heard(broker, "segments.changed", "change_id"), rows)


def heard(broker: Broker, topic: str, name: str) -> list[Any]:
    seen, found = Seen(), []
    for record in broker.records(topic, 0):
        if contract(topic).is_mine(record.value):
            fields = contract(topic).decode(record.value)
            if not seen.is_repeat(topic, fields):
                found.append((fields[name], fields.get("arm"), fields.get("holdout")))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_crash_anywhere_ends_in_the_same_decisions_and_rows(seed: int) -> None:
    whole = world(seed)
    decisions, changes, rows = result(whole)
    assert len(decisions) > 10 and len(changes) > 3
    dice = random.Random(seed)
    for fuse in sorted(dice.sample(range(whole.effects), min(40, whole.effects))):
        broker = world(seed)
        broker.fuse = fuse
        assert drive(broker, logic(), 0, batch=7, checkpoint_every=2) is None
        broker.fuse = 10**9
        again = result(broker)
        assert again[0] == decisions, f"{seed=} {fuse=}"
        assert sorted(again[1]) == sorted(changes), f"{seed=} {fuse=}"
        assert without_stamps(again[2]) == without_stamps(rows), f"{seed=} {fuse=}"


def without_stamps(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: row[8:] for key, row in rows.items()}


@pytest.mark.parametrize("seed", range(8))
def test_the_result_does_not_depend_on_how_the_stream_is_cut(seed: int) -> None:
    found = []
    for batch in (1, 3, 1000):
        broker = world(seed)
        assert drive(broker, logic(), 0, batch=batch, checkpoint_every=2) is not None
        found.append(heard(broker, "decisions.made", "decision_id"))
    assert found[0] == found[1] == found[2]


def test_a_repeat_by_a_producer_counts_once_and_is_recorded() -> None:
    broker, dice = Broker(partitions=1), random.Random(1)
    first = event(dice, 1, START)
    for offset in (1, 2):      # the same id came in through two partitions or offsets
        broker.logs["events.admitted", 0].append(
            (first["profile_id"].encode(),
             contract("events.admitted").encode({**first, "origin_offset": offset})))
    assert drive(broker, logic(), 0) is not None
    (refusal,) = [contract("refusals.recorded").decode(r.value)
                  for r in broker.records("refusals.recorded", 0)]
    assert (refusal["outcome"], refusal["reason"]) == ("duplicate", "duplicate")
