"""`kill -9` of workers on the real broker: the same features and decisions as an undisturbed run.

A few thousand events of people with carts and purchases go through admit and choose, run by two
worker processes that are killed again and again in the middle. What they leave is compared with
slow twins: plain counts over the events.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from chaos_findings import decisions_once
from chaos_workers import Workers, await_calm
from chaos_world import START, Sending, World
from confluent_kafka import Consumer, TopicPartition
from conftest import module_broker

from streams import pipeline
from streams.adapters.reading import read_whole
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.choose.tables import is_group
from streams.engine import checkpoints
from streams.engine.stage import PartitionState
from streams.kernel.moments import DAY_MS
from streams.kernel.side_inputs import SideInputs
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

KILLS = 6
TWO = ("admit", "choose")


def rows_on(settings: Settings) -> dict[str, dict[str, float | None]]:
    """{profile id: feature values} from the changelog, as a recovering worker would read them."""
    at_ms, found = START + 60 * DAY_MS, {}
    program = compiled()
    logic = ChooseLogic(SideInputs(), program, lambda side, tenant: (), members_min=0)
    for partition in range(settings.partitions):
        tables = recovered(settings, logic, partition).slab
        for key in tables:
            if not is_group(key):
                slot = tables.people.slot(key)
                found[key.decode()] = {name: program.feature(tables.people, slot, name, at_ms)
                                       for name in ("orders_lifetime", "purchases_365d",
                                                    "spend_365d", "days_since_purchase")}
    return found


def recovered(settings: Settings, logic: ChooseLogic, partition: int) -> PartitionState:
    """The state that the partition's next owner would find."""
    asking = Consumer({**settings.kafka_client, "group.id": "kairos-choose"})
    try:
        (place,) = asking.committed([TopicPartition(pipeline.ADMITTED, partition)], timeout=30)
    finally:
        asking.close()
    return checkpoints.recover(
        logic, partition, upstream=settings.partitions,
        lineage=checkpoints.newest([place.metadata]),
        changelog=read_whole(settings, pipeline.BY_NAME["choose"].keeps, partition))[0]


def obvious_rows(settings: Settings, world: World) -> dict[str, Any]:
    """The slow twin of the features: plain counts over the events."""
    at_ms, found = START + 60 * DAY_MS, {}
    for person in {e["user_id"] for e in world.events}:
        bought = [e for e in world.events
                  if e["user_id"] == person and e["event_type"] == "purchase"]
        found[world.profile(settings, person)] = {
            "orders_lifetime": float(len(bought)), "purchases_365d": float(len(bought)),
            "spend_365d": 10.0 * len(bought),
            "days_since_purchase": (at_ms - max(e["event_ms"] for e in bought)) / DAY_MS}
    return found


def test_killed_workers_leave_the_same_features_and_decisions(broker: Settings,
                                                              tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "11"))
    world, dice = World("chaos", seed=seed), random.Random(seed)
    world.prepare(broker)
    workers = Workers(broker, tmp_path)
    try:
        for name in ("one", "two"):
            workers.start(name, *TWO)
        workers.await_ready("one", "two")
        app = Sending(world, broker)
        for _ in range(KILLS):
            name = dice.choice(["one", "two"])
            time.sleep(dice.uniform(2.0, 5.0))
            workers.kill(name)
            workers.start(name, *TWO)
        app.join()
        await_calm(broker, workers, TWO)
        codes = workers.stop()
    finally:
        workers.kill_all()
    assert codes == {"one": 0, "two": 0}, workers.said("one")[-3000:]
    assert rows_on(broker) == obvious_rows(broker, world), f"{seed=}"
    decisions_once(broker, world)
