"""Tenants whose moments fall together: with next to no memory, too, each lives by its own clock."""

from __future__ import annotations

import random

import pytest
import sim_cold
from broker_model import Broker, drive
from test_choose_crash import PLAYBOOKS, START, event, heard

from schemas import contract
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.choose.tables import tables_of
from streams.engine.room import Room
from streams.kernel.moments import DAY_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs

TENANTS = ("t", "u")
STEP_MS = 30 * MINUTE_MS               # as long as a cart waits


def world(seed: int) -> Broker:
    """Carts and purchases on the half hour; one tenant's time is far behind the other's."""
    dice, broker = random.Random(seed), Broker(partitions=1)
    log = broker.logs["events.admitted", 0]

    def watermark(tenant: str, at_ms: int) -> None:
        log.append((tenant.encode(), contract("watermark").encode({
            "tenant": tenant, "origin_partition": 0, "watermark_ms": at_ms, "appended_ms": at_ms,
            "origin_offset": 0, "origin_sequence": 0})))

    for number in range(300):
        at_ms, tenant = START + number // 6 * STEP_MS, dice.choice(TENANTS)
        fields = event(dice, number, at_ms)
        fields |= {"tenant": tenant, "profile_id": f"{tenant}{dice.randrange(6)}",
                   "event_type": dice.choice(["cart_add", "cart_add", "purchase"])}
        log.append((fields["profile_id"].encode(), contract("events.admitted").encode(fields)))
        if number % 6 == 5:
            watermark("t", at_ms)
        if number % 60 == 59:
            watermark("u", at_ms - 6 * STEP_MS)
    for tenant in TENANTS:
        watermark(tenant, START + 200 * DAY_MS)
    return broker


def decided(seed: int, room: Room | None) -> tuple[list[object], int]:
    broker = world(seed)
    logic = ChooseLogic(SideInputs(), compiled(), lambda side, tenant: PLAYBOOKS, members_min=0,
                        room=room)
    lane = drive(broker, logic, 0, batch=1, checkpoint_every=1)
    assert lane is not None
    return heard(broker, "decisions.made", "decision_id"), (
        tables_of(lane.state).people.cold_count)


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_woken_by_another_tenant_s_clock(seed: int) -> None:
    (few, cold), (many, _) = decided(seed, sim_cold.room()), decided(seed, None)
    assert few == many and len(few) > 20 and cold > 5
