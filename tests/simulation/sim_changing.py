"""The choose stage in the simulation, whose definitions change between two owners.

From some owner on all have the new definitions. The twin has them from the beginning, and what is
new in its rows is wiped where the old owners' commits end: so cells of both layouts must hold the
whole history, and new ones what came since, whatever befell the workers.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import sim
from sim_broker import Broker
from sim_choose import SPOKEN, fill, heard, rows
from sim_rows import in_place
from test_choose_crash import PLAYBOOKS

from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import load
from streams.choose.features.layout import NEWEST, TENANT
from streams.choose.features.spec import FeatureSpec
from streams.choose.program import Program
from streams.choose.tables import Tables
from streams.engine import checkpoints
from streams.engine.records import Out
from streams.engine.stage import PartitionState
from streams.kernel.moments import DAY_MS
from streams.kernel.side_inputs import SideInputs

GONE = ("cart_adds_24h", "searches_24h")
NEW = (FeatureSpec("pace_3d", "product_view", "rate", 3 * DAY_MS),
       FeatureSpec("warm", "*", "decay", half_life_ms=2 * DAY_MS),
       FeatureSpec("basket_30d", "purchase", "mean", 30 * DAY_MS, of=("value",)))


@cache
def programs() -> tuple[Program, Program]:
    """With the old definitions and with the new ones, whose cells lie elsewhere."""
    shipped = load()
    kept = [spec for spec in shipped.features if spec.name not in GONE]
    return (Program(shipped.features, shipped.segments),
            Program((*NEW, *reversed(kept)), shipped.segments))


def logic(program: Program | None = None) -> ChooseLogic:
    return ChooseLogic(SideInputs(), program or programs()[0], lambda side, tenant: PLAYBOOKS,
                       members_min=0)


class Changing(sim.World):
    """`changed_at`: the offset from which on owners have the new definitions."""

    changed_at = -1

    def _start(self) -> None:
        committed = self.broker.offsets.get((pipeline.ADMITTED, 0), (0, ""))[0]
        if self.changed_at < 0 and (self.calm or self.dice.random() < (0.5 if committed else 0.02)):
            self.changed_at, self.logic = committed, logic(programs()[1])
            self.happened["changed in the middle"] += 0 < committed < self.broker.log(
                pipeline.ADMITTED).end
        super()._start()


def run(seed: int, *, talk: bool = False) -> Any:
    return Changing(seed, Stage, talk=talk).run()


def compare(world: Any, when: str) -> None:
    """Raises AssertionError when rows, coverage, decisions or changes are not the twin's."""
    twin, said, newest_ms = calm(world)
    state = world.state()
    assert unstamped(rows(state)) == unstamped(rows(twin)), f"{when}: other rows than the twin's"
    for topic, name in SPOKEN.items():
        found = heard(topic, name, [value for _, _, value, _ in world.broker.log(topic).entries])
        assert found == heard(topic, name, said[topic]), f"{when}: {topic}"
    people = state.slab.people
    for slot in people.index:
        tenant = int(people.views.i64[slot, TENANT])
        expected = {programs()[1].people.by_name[spec.name]: newest_ms[tenant]
                    for spec in NEW if tenant in newest_ms}
        assert dict(state.slab.covers(people, slot)) == expected, (
            f"{when}: {people.key(slot)!r} counts {dict(state.slab.covers(people, slot))}, "
            f"the twin {expected}")


def unstamped(found: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    """Without the offset that a row has seen: a timer that comes up in vain stamps its row, and
    whoever recovered meanwhile has not armed it."""
    return {key: (whole := in_place(row))[:16] + whole[24:]
            for key, row in found.items() if row is not None}


def calm(world: Any) -> tuple[PartitionState, dict[str, list[bytes | None]], dict[int, int]]:
    said: dict[str, list[bytes | None]] = {topic: [] for topic in SPOKEN}
    newest_ms: dict[int, int] | None = None
    state = checkpoints.fresh(world.logic, 0, 1)
    world.logic.recovered(state)
    for record in world.broker.records(pipeline.ADMITTED, 0, 10**9):
        if newest_ms is None and record.offset >= world.changed_at:
            newest_ms = wiped(state.slab)
        out = Out(world.logic.name, world.broker.now_ms)
        world.logic.walk(state, [record], out)
        for emission in out.emissions:
            if emission.topic in said:
                said[emission.topic].append(emission.value)
    return state, said, wiped(state.slab) if newest_ms is None else newest_ms


def wiped(tables: Tables) -> dict[int, int]:
    """Begin what is new anew; returns the newest event of each tenant by then."""
    old, new = programs()
    for kind, before, after in ((tables.people, old.people, new.people),
                                (tables.groups, old.groups, new.groups)):
        for signature, cell in after.cells.items():
            if signature not in before.cells:
                kind.views.u8[:, cell.at:cell.at + cell.size] = 0
    words = tables.people.views.i64[np.fromiter(tables.people.index, np.int64)]
    return {tenant: int(words[words[:, TENANT] == tenant, NEWEST].max())
            for tenant in set(words[:, TENANT].tolist()) - {0}}


class Stage:
    """What `sim.World` asks of a stage."""

    logic = staticmethod(logic)
    compare = staticmethod(compare)

    @staticmethod
    def fill(broker: Broker, dice: random.Random) -> None:
        fill(broker, dice)
