"""Memory for a few hundred people, load of many more, and a worker killed in the middle: rows and
decisions are those of the slow twin, on the real broker."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest
from chaos_findings import decisions_once
from chaos_workers import Workers, await_calm
from chaos_world import Sending, World
from conftest import module_broker
from test_kill_workers import TWO, rows_on

from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

PEOPLE = 1500


def files_without_names(pid: int, home: Path) -> int:
    """Files of the installation that the process holds open and nobody else can."""
    found = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(each)
        except OSError:         # closed meanwhile
            continue
        found += target.startswith(str(home)) and target.endswith("(deleted)")
    return found


def test_rows_out_of_memory_outlive_a_killed_worker(broker: Settings, tmp_path: Path) -> None:
    world = World("cold", seed=13, count=7000, people=PEOPLE, pause_s=0.3)
    world.prepare(broker)
    tight = broker.model_copy(update={"profile_memory_mb": 1})
    workers, held = Workers(tight, tmp_path), list[int]()
    try:
        workers.start("one", *TWO)
        workers.await_ready("one")
        app = Sending(world, broker)
        for name in ("two", "three"):
            time.sleep(4)
            (before,) = workers.running
            held.append(files_without_names(workers.running[before].pid, broker.home))
            workers.kill(before)
            workers.start(name, *TWO)
            workers.await_ready(name)
        app.join()
        await_calm(broker, workers, TWO)
        held.append(files_without_names(workers.running["three"].pid, broker.home))
        codes = workers.stop()
    finally:
        workers.kill_all()
    assert codes == {"three": 0}, workers.said("three")[-3000:]
    assert held[-1] > 0, "nobody left memory"
    bought = Counter(e["user_id"] for e in world.events if e["event_type"] == "purchase")
    expected = {world.profile(broker, f"u{n}"): (float(bought[f"u{n}"]), 10.0 * bought[f"u{n}"])
                for n in range(PEOPLE)}
    assert {who: (row["orders_lifetime"], row["spend_365d"])
            for who, row in rows_on(broker).items()} == expected
    decisions_once(broker, world)
