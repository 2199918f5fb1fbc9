"""Rows of things through crashes, recoveries and hand-overs: as if nothing had happened."""

from __future__ import annotations

import random
from typing import Any

import pytest
from broker_model import Broker, drive
from test_choose_crash import PLAYBOOKS, START, event, watermark
from test_handover import VISITOR
from test_handover import event as of_person
from test_handover import link as link_of

from schemas import contract
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import load
from streams.choose.entities import tally
from streams.choose.entities.spec import EntitySpec
from streams.choose.features.spec import FeatureSpec
from streams.choose.pooling import Pools
from streams.choose.program import Program
from streams.choose.tables import tables_of
from streams.engine.lane import Lane
from streams.kernel.ids import partition_of
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs

SHIPPED = load()
ITEM = EntitySpec("item", 9, 6, (FeatureSpec("views", "product_view", "count", 30 * DAY_MS),
                                 FeatureSpec("people", "*", "distinct", 30 * DAY_MS)))
ROLLED = contract("segments.rolled")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Things go every eight offsets, so that they go at all in a short story."""
    monkeypatch.setattr(tally, "BLOCK_BITS", 3)


def logic(side: SideInputs | None = None) -> ChooseLogic:
    return ChooseLogic(side or SideInputs(), Program(
        SHIPPED.features, SHIPPED.segments, entities=(ITEM,)),
        lambda side, tenant: PLAYBOOKS, members_min=0)


def world(seed: int) -> Broker:
    """Many items, a repeat here and there, watermarks between."""
    dice, broker, at_ms = random.Random(seed), Broker(partitions=1), START
    log: list[Any] = broker.logs["events.admitted", 0]
    for number in range(120):
        at_ms += dice.choice([MINUTE_MS, HOUR_MS, DAY_MS])
        fields = {**event(dice, number, at_ms), "item_id": f"i{int(40 * dice.random() ** 3)}"}
        log.append((fields["profile_id"].encode(), contract("events.admitted").encode(fields)))
        if dice.random() < 0.1:
            log.append(log[-1])
        if dice.random() < 0.2:
            log.append((b"t", watermark(at_ms - MINUTE_MS)))
    return broker


def rows(lane: Lane | None) -> dict[bytes, bytes | None]:
    assert lane is not None
    tables = tables_of(lane.state)
    return {key: tables.encode(key) for key in tables.entities}


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_anywhere_ends_in_the_same_rows(seed: int) -> None:
    calm = world(seed)
    wanted = rows(drive(calm, logic(), 0, batch=7, checkpoint_every=2))
    gone = {f"i{n}".encode() for n in range(40)} - {key.split(b"\x1f")[2] for key in wanted}
    assert 5 < len(wanted) < 20 and len(gone) > 5, "some were kept and some have gone"
    for fuse in random.Random(seed).sample(range(calm.effects), 12):
        broker = world(seed)
        broker.fuse = fuse
        assert drive(broker, logic(), 0, batch=7, checkpoint_every=2) is None
        broker.fuse = 10**9
        assert rows(drive(broker, logic(), 0, batch=7, checkpoint_every=2)) == wanted, fuse


def test_the_result_does_not_depend_on_how_the_stream_is_cut() -> None:
    found = [rows(drive(world(5), logic(), 0, batch=batch)) for batch in (1, 4, 50, 1000)]
    assert found[0] == found[1] == found[2] == found[3]


def pooled(partitions: int) -> bytes:
    """Of the one item of a visitor who turns out to be a person, all partitions together."""
    broker = Broker(partitions=partitions)
    parts = [[of_person(n, VISITOR, "product_view", START + n, item_id="a") for n in range(1, 4)],
             [link_of(9, START + HOUR_MS)],
             [of_person(20, VISITOR, "product_view", START + 2 * HOUR_MS, item_id="a")]]
    for part in parts:
        for key, value in part:
            broker.logs["events.admitted", partition_of(key, partitions)].append((key, value))
    for _ in range(2):
        for part_ in range(partitions):
            assert drive(broker, logic(), part_) is not None
    side = SideInputs()
    for (topic, _), log in broker.logs.items():
        for _, value in log if topic == "segments.rolled" else ():
            side.take("segments.rolled", ROLLED.decode(value or b""))
    pools = Pools(ITEM.layout, side)
    slot = pools.slot(("t", "item", "a"))
    assert slot is not None
    return pools.rows.views.u8[slot].tobytes()


def test_what_a_visitor_did_counts_once_wherever_it_is_passed_on_to() -> None:
    assert pooled(1) == pooled(2) == pooled(3)
