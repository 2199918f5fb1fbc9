"""Frozen workers on the real broker: stopped for longer than their session, and let go on.

In the middle of the load workers are frozen (SIGSTOP) until another has their partitions, and
thawed (SIGCONT) when it has gone on with them; in between, one is added and one taken away.
Whatever the zombies still write, what is left is what slow twins say.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from chaos_findings import decisions_once, outcomes
from chaos_workers import Workers, await_calm, until
from chaos_world import Sending, World
from confluent_kafka import Consumer, TopicPartition
from conftest import module_broker
from test_kill_workers import obvious_rows, rows_on

from streams import pipeline
from streams.engine import checkpoints
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

ROUNDS = 4
TWO = ("admit", "choose")
TAKEN = "assigned partitions ["
GONE = "restarting from the last checkpoint"


def freeze(workers: Workers, name: str, dice: random.Random) -> None:
    """Stop a worker until another has taken its partitions and gone on; then let it go on too."""
    others = [other for other in workers.running if other != name]
    before = sum(workers.said(other).count(TAKEN) for other in others)
    gone = workers.said(name).count(GONE)
    os.kill(workers.running[name].pid, signal.SIGSTOP)
    until(lambda: sum(workers.said(other).count(TAKEN) for other in others) >= before + len(TWO),
          f"{name}'s partitions are taken over", workers)
    time.sleep(dice.uniform(0.0, 2.5))
    os.kill(workers.running[name].pid, signal.SIGCONT)
    until(lambda: workers.said(name).count(GONE) > gone, f"{name} finds that it was replaced",
          workers)
    until(lambda: workers.said(name).rpartition(GONE)[2].count(TAKEN) >= len(TWO),
          f"{name} is back with partitions of its own", workers)


def epochs(settings: Settings) -> int:
    """How many owners the partitions of choose have had."""
    asking = Consumer({**settings.kafka_client, "group.id": pipeline.BY_NAME["choose"].group})
    try:
        places = asking.committed([TopicPartition(pipeline.ADMITTED, partition)
                                   for partition in range(settings.partitions)], timeout=30)
    finally:
        asking.close()
    return sum(checkpoints.newest([place.metadata]).epoch for place in places)


def test_workers_that_go_on_after_they_were_replaced_change_nothing(broker: Settings,
                                                                    tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "17"))
    world, dice = World("frozen", seed=seed, pause_s=2.0), random.Random(seed)
    world.prepare(broker)
    workers = Workers(broker, tmp_path)
    try:
        for name in ("one", "two"):
            workers.start(name, *TWO)
        workers.await_ready("one", "two")
        app = Sending(world, broker)
        for number in range(ROUNDS):
            freeze(workers, dice.choice(sorted(workers.running)), dice)
            if number % 2 == 0:
                workers.start("three", *TWO)
                workers.await_ready("three")
            else:
                assert workers.stop("three") == {"three": 0}, workers.said("three")[-3000:]
        app.join()
        await_calm(broker, workers, TWO)
        codes = workers.stop()
    finally:
        workers.kill_all()
    assert codes == {"one": 0, "two": 0}, workers.said("one")[-3000:]
    assert epochs(broker) > ROUNDS
    assert rows_on(broker) == obvious_rows(broker, world), f"{seed=}"
    assert outcomes(broker)["admitted"] >= len(world.events)
    decisions_once(broker, world)
