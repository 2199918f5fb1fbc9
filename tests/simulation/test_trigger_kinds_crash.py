"""Every kind of trigger in the crash mill: decisions and rows as if nothing had happened."""

from __future__ import annotations

import random
from typing import Any

import pytest
import test_choose_crash as mill
from broker_model import Broker, drive

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
    "welcome": Trigger("segment", segment="active"),
    "farewell": Trigger("segment", segment="active", enters=False),
}
PLAYBOOKS = tuple(mill.playbook(name, trigger) for name, trigger in TRIGGERS.items())


def logic() -> ChooseLogic:
    return ChooseLogic(SideInputs(), compiled(), lambda side, tenant: PLAYBOOKS)


def result(broker: Broker, batch: int = 7) -> tuple[list[Any], dict[bytes, bytes]]:
    lane = drive(broker, logic(), 0, batch=batch, checkpoint_every=2)
    assert lane is not None
    slab = lane.state.slab
    rows = {key: slab.encode(key)[12:] for key in slab}      # type: ignore[index]
    return mill.heard(broker, "decisions.made", "decision_id"), mill.without_stamps(rows)


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_anywhere_ends_in_the_same_decisions_and_rows(seed: int) -> None:
    whole = mill.world(seed)
    expected = result(whole)
    assert len(expected[0]) > 10
    for fuse in random.Random(seed).sample(range(whole.effects), 20):
        broker = mill.world(seed)
        broker.fuse = fuse
        assert drive(broker, logic(), 0, batch=7, checkpoint_every=2) is None
        broker.fuse = 10**9
        assert result(broker) == expected, f"{seed=} {fuse=}"


@pytest.mark.parametrize("seed", range(4))
def test_the_result_does_not_depend_on_how_the_stream_is_cut(seed: int) -> None:
    found = [result(mill.world(seed), batch)[0] for batch in (1, 3, 1000)]
    assert found[0] == found[1] == found[2]


def test_every_kind_of_trigger_decides_something_here() -> None:
    broker = mill.world(1)
    result(broker)
    contract = mill.contract("decisions.made")
    kinds = {contract.decode(record.value)["trigger"]
             for record in broker.records("decisions.made", 0) if contract.is_mine(record.value)}
    assert kinds == {trigger.kind for trigger in TRIGGERS.values()}
