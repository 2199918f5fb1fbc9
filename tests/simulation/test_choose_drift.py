"""The stage's own decisions, landed by the sink's own code, agree with the recount in SQL.

Repeats, replayed origins, watermarks and every trigger are in the log of the crash mill.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import pytest
from test_choose_crash import PLAYBOOKS, logic, world

from schemas import contract
from sinks.client import connect
from sinks.intents import Arrival, Where
from sinks.ports import LedgerEntry
from sinks.report import drift
from sinks.warehouse import ClickHouseWarehouse
from streams import pipeline
from streams.choose import definitions
from streams.choose.features.sql import recount
from streams.cli.reading import reader
from streams.engine import checkpoints
from streams.engine.records import Out, Record
from streams.settings import Settings

pytestmark = pytest.mark.integration
NOW_MS = int(time.time() * 1000)      # rows must be younger than their retention


@pytest.mark.parametrize("seed", range(4))
def test_the_decisions_of_the_stage_agree_with_the_recount(seed: int, clickhouse: Settings) -> None:
    log = world(seed).records(pipeline.ADMITTED, 0)
    values = decided(log, random.Random(seed))
    writer = connect(clickhouse, user="writer")
    warehouse = ClickHouseWarehouse(lambda: connect(clickhouse, user="writer"))
    warehouse.prepare()
    tables = ("raw_events_admitted", "raw_decisions_made", "sink_batches")
    for table in tables:
        writer.command(f"TRUNCATE TABLE {table}")
    land(warehouse, f"drift{seed}", pipeline.ADMITTED, [record.value for record in log])
    land(warehouse, f"drift{seed}", pipeline.DECISIONS, values)
    specs = definitions.load().features
    found = drift.by_feature(reader(clickhouse)(drift.question(recount(specs)), {}))
    for table in tables:
        writer.command(f"TRUNCATE TABLE {table}")
    assert drift.drifted(found) == []
    assert set(found) == {spec.name for spec in specs}
    made: list[dict[str, Any]] = [contract(pipeline.DECISIONS).decode(value) for value in values
                                  if contract(pipeline.DECISIONS).is_mine(value)]
    assert len(made) > 15 and {each["playbook"] for each in made} >= {"thanks", "cart"}
    assert {each["playbook"] for each in made} <= {each.name for each in PLAYBOOKS}
    for name, told in found.items():
        assert told["compared"] == len({each["decision_id"] for each in made}), name


def decided(log: Sequence[Record], dice: random.Random) -> list[bytes]:
    """What the stage says to decisions.made, in batches of any size."""
    stage = logic()
    state = checkpoints.fresh(stage, 0, 1)
    stage.recovered(state)
    values, at = list[bytes](), 0
    while at < len(log):
        batch = log[at:at + dice.randrange(1, 20)]
        out = Out(stage.name, NOW_MS)
        stage.walk(state, batch, out)
        values += [each.value for each in out.emissions
                   if each.topic == pipeline.DECISIONS and each.value is not None]
        at += len(batch)
    return values


def land(warehouse: ClickHouseWarehouse, topic_id: str, topic: str, values: list[bytes],
         partition: int = 0) -> None:
    """As the sink does: decode, insert, enter into the ledger."""
    where = Where(topic, partition)
    rows = warehouse.decode(where, topic_id, [
        Arrival(topic, partition, offset, b"k", value, NOW_MS)
        for offset, value in enumerate(values)])
    assert not rows.faults
    token = f"{topic}{topic_id}{partition}"
    warehouse.insert(where, rows.rows, token)
    warehouse.enter([LedgerEntry(where, topic_id, 0, len(values) - 1, rows.rows.height, 0,
                                 rows.controls, token)])
