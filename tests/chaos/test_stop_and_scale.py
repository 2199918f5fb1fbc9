"""Workers come and go as operators let them: stopped, added and taken away under load."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from chaos_findings import decisions_once, outcomes
from chaos_workers import Workers, await_calm
from chaos_world import Sending, World
from conftest import module_broker

from infra.parts import Part, roster
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

TWO = ("admit", "choose")


def test_workers_stopped_added_and_taken_away_under_load_change_nothing(
        broker: Settings, tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "13"))
    world = World("scaled", seed=seed, count=4500)
    world.prepare(broker)
    workers = Workers(broker, tmp_path)
    try:
        workers.start("one", *TWO)
        workers.await_ready("one")
        app = Sending(world, broker)
        time.sleep(1.0)
        codes = workers.stop("one")                   # in the middle of the load
        assert "stopping: finishing what was taken" in workers.said("one")
        workers.start("one", *TWO)
        for name in ("two", "three"):                 # out ...
            workers.start(name, *TWO)
        workers.await_ready("one", "two", "three")
        time.sleep(1.0)
        codes |= workers.stop("one", "three")         # ... and back in
        app.join()
        await_calm(broker, workers, TWO)
        codes |= workers.stop()
    finally:
        workers.kill_all()
    assert set(codes.values()) == {0}, codes
    assert all("assigned partitions" in workers.said(name) for name in ("one", "two", "three"))
    assert outcomes(broker)["admitted"] >= len(world.events)
    decisions_once(broker, world)


def test_a_stop_takes_seconds_and_less_than_the_supervisor_grants(
        broker: Settings, tmp_path: Path) -> None:
    part: Part = next(part for part in roster(broker) if part.name == "worker-1")
    workers = Workers(broker, tmp_path)
    try:
        workers.start("quick", "admit", "choose", "compose", "deliver", "learn")
        workers.await_ready("quick")
        began = time.monotonic()
        assert workers.stop("quick") == {"quick": 0}
        took_s = time.monotonic() - began
    finally:
        workers.kill_all()
    assert took_s < part.stop_wait_s
