"""Absences in arrays: the stage says the same as when everything goes through `watches`."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from broker_model import Broker, drive
from test_choose_crash import PLAYBOOKS, START, event, heard, logic, watermark, world

from schemas import contract
from streams.choose import absent, tables
from streams.choose.absences import Absences
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.choose.program import Program
from streams.kernel.moments import DAY_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs

WITHIN_MS = 30 * MINUTE_MS


class Plain(Absences):
    """Nothing fits: everything goes through `watches`."""

    def reserve(self, nodes: int, text_bytes: int) -> absent.Nodes:
        return super().reserve(0, 0)

    def freeze(self, slot: int, kept: dict[str, Any]) -> None:
        self.mark(slot, kept)


@pytest.mark.parametrize("seed", range(12))
def test_the_stage_says_the_same_without_arrays(seed: int, monkeypatch: pytest.MonkeyPatch,
                                                ) -> None:
    said = []
    for store in (Absences, Plain):
        monkeypatch.setattr(tables, "Absences", store)
        broker = world(seed)
        lane = drive(broker, logic(), 0, batch=5, checkpoint_every=2)
        assert lane is not None
        assert isinstance(lane.state.slab.absences, store)
        said.append([heard(broker, "decisions.made", "decision_id"),
                     heard(broker, "segments.changed", "change_id")])
    assert said[0] == said[1] and len(said[0][0]) > 10


def without_watermarks(seed: int) -> tuple[list[tuple[bytes, bytes]], set[tuple[str, int]]]:
    """Days of people with carts, more of them than arrays hold, and who left which cart when."""
    dice, at_ms, told = random.Random(seed), START, list[dict[str, Any]]()
    for number in range(400):
        at_ms += dice.randrange(0, 30 * MINUTE_MS)
        who = f"p{dice.randrange(4)}"
        told.append({**event(dice, number, at_ms), "profile_id": who,
                     "event_type": dice.choice(["cart_add", "purchase", "product_view"]),
                     "cart_id": f"{who}-{dice.randrange(3)}"})
    left = set()
    for one in told:
        own = [e for e in told if e["cart_id"] == one["cart_id"]]
        end_ms = one["event_ms"] + WITHIN_MS
        if one["event_type"] == "cart_add" and not any(
                one["event_ms"] < e["event_ms"] <= end_ms for e in own
                if e["event_type"] == "cart_add") and not any(
                one["event_ms"] <= e["event_ms"] <= end_ms for e in own
                if e["event_type"] == "purchase"):
            left.add((one["profile_id"], end_ms))
    return [(e["profile_id"].encode(), contract("events.admitted").encode(e))
            for e in told], left


@pytest.mark.parametrize("cuts", [[], [40], [200], [30, 90, 310]])
@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_who_left_a_cart_hears_of_it_however_late_time_comes(seed: int, segments: bool,
                                                             cuts: list[int]) -> None:
    """No watermark for days, and owners that come and go meanwhile; without segments nothing is
    kept of groups by which an owner would know the tenants."""
    program = compiled() if segments else Program(compiled().people.specs, ())
    playbook = replace(PLAYBOOKS[0], cooldown_ms=0, cap_messages=1000)
    assert playbook.trigger.kind == "absence" and playbook.trigger.within_ms == WITHIN_MS
    told, left = without_watermarks(seed)
    broker, before = Broker(partitions=1), 0
    for cut in [*cuts, len(told), len(told) + 1]:       # the last owner hears of time alone
        broker.logs["events.admitted", 0].extend(told[before:cut])
        before = cut
        if cut > len(told):
            broker.logs["events.admitted", 0].append((b"t", watermark(START + 100 * DAY_MS)))
        logic = ChooseLogic(SideInputs(), program, lambda side, tenant: (playbook,),
                            members_min=0)
        assert drive(broker, logic, 0, batch=20) is not None
    made = [contract("decisions.made").decode(value)
            for _, value in broker.logs["decisions.made", 0]
            if contract("decisions.made").is_mine(value or b"")]
    found = {(d["profile_id"], d["moment_ms"]) for d in made}
    assert found == left and len(made) == len(left) > 50
