"""Buckets and clusters through the stage: the same people in any batch cut, as the twin says."""

from __future__ import annotations

from typing import Any

import pytest
from broker_model import drive
from test_choose_crash import world

from schemas import contract
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import load
from streams.choose.features.buckets import place
from streams.choose.features.clusters import Axis, Clusters
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.conditions import Asked, parse_condition
from streams.playbooks.model import Condition

FEATURES = load().features
KINDS = Clusters((Axis("spend_365d", 0.0, 5000.0, 4.0, 1.0),
                  Axis("days_since_purchase", 0.0, 365.0, 2.0, 1.0)),
                 (("keen", (1.0, -1.0)), ("gone", (-1.0, 2.0))))
SEGMENTS = (
    *(SegmentSpec(f"drawn_{low}", parse_condition(
        {"bucket": {"name": "spring", "from": low, "to": low + 50}}, features=(), segments=(),
        asked=Asked())) for low in (0, 50)),
    *(SegmentSpec(name, Condition("cluster", name=name), KINDS) for name in KINDS.names))


def changes(seed: int, batch: int) -> list[dict[str, Any]]:
    broker, meant = world(seed), contract("segments.changed")
    logic = ChooseLogic(SideInputs(), Program(FEATURES, SEGMENTS), lambda side, tenant: (),
                        members_min=0)
    assert drive(broker, logic, 0, batch=batch) is not None
    return [meant.decode(value) for _, value in broker.logs["segments.changed", 0]
            if meant.is_mine(value)]


@pytest.mark.parametrize("seed", range(4))
def test_everybody_is_in_their_bucket_and_in_one_cluster(seed: int) -> None:
    told = changes(seed, 5)
    for batch in (1, 64):
        assert changes(seed, batch) == told
    people = sorted({each["profile_id"] for each in told})
    assert len(people) == 4
    for person in people:
        own = [(e["segment"], e["entered"]) for e in told if e["profile_id"] == person]
        low = 0 if place("t", "spring", person) < 50 else 50
        assert [each for each in own if each[0].startswith("drawn")] == [(f"drawn_{low}", True)]
        inside: set[str] = set()
        for name, entered in own:
            if name in KINDS.names:
                (inside.add if entered else inside.discard)(name)
        assert len(inside) == 1
    lapsed = [each for each in told if each["cause"] == "lapse"]
    assert {each["segment"] for each in lapsed} <= set(KINDS.names), "time moves between kinds only"
    assert ("gone", True) in {(each["segment"], each["entered"]) for each in lapsed}
