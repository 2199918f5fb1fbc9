"""A worker that stands by takes over from where it is, not from the beginning of the changelog."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chaos_findings import decisions_once
from chaos_workers import Workers, await_calm, until
from chaos_world import Sending, World
from conftest import module_broker
from test_kill_workers import TWO, obvious_rows, rows_on

from streams import pipeline
from streams.adapters.reading import end_of
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

_STANDING = re.compile(r"choose/(\d+): standing by, changelog read to \d+")
_TAKEN = re.compile(r"choose/(\d+): this worker stood by; the changelog is read from (\d+) on")


def test_a_killed_worker_is_replaced_by_one_that_stood_by(broker: Settings,
                                                          tmp_path: Path) -> None:
    world = World("standby", seed=12)
    world.prepare(broker)
    workers = Workers(broker.model_copy(update={"standby": True}), tmp_path)
    try:
        for name in ("one", "two"):
            workers.start(name, *TWO)
        workers.await_ready("one", "two")
        Sending(world, broker).join()
        await_calm(broker, workers, TWO)

        def followed() -> set[str]:
            return {partition for name in ("one", "two")
                    for partition in _STANDING.findall(workers.said(name))}

        until(lambda: len(followed()) == broker.partitions, "all partitions are followed", workers)
        ends = {str(partition): end_of(broker, pipeline.BY_NAME["choose"].keeps, partition)
                for partition in range(broker.partitions)}
        taken_before = len(_TAKEN.findall(workers.said("two")))
        workers.kill("one")

        def taken() -> dict[str, int]:
            found = _TAKEN.findall(workers.said("two"))[taken_before:]
            return {partition: int(offset) for partition, offset in found}

        until(lambda: len(taken()) > 0, "the other worker has taken over", workers)
        await_calm(broker, workers, TWO)
        codes = workers.stop()
    finally:
        workers.kill_all()
    assert codes == {"two": 0}, workers.said("two")[-3000:]
    # All but the end is not read again. What the last second wrote may not have been taken in yet.
    assert all(ends[partition] / 2 < offset <= ends[partition]
               for partition, offset in taken().items()), (taken(), ends)
    assert len(taken()) == broker.partitions // 2, taken()
    assert rows_on(broker) == obvious_rows(broker, world)
    decisions_once(broker, world)
