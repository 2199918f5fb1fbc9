"""Kairos in the signal benchmark fires as the twins say, however the stream is cut."""

from __future__ import annotations

import subprocess
import sys

import orjson
import pytest

from bench.signal import data, workloads
from bench.signal.kairos_job import SignalLogic, Told
from streams.engine import checkpoints
from streams.engine.records import Out, Record

PARTITIONS = 2


def fired(workload: str, stream: data.Stream, form: str, batch: int) -> list[tuple[str, int]]:
    logic = SignalLogic(Told(workload, form, "", "in", "out", "g", "", PARTITIONS, 10.0))
    found: list[tuple[str, int]] = []
    for partition in range(PARTITIONS):
        values = [value for (_, value), at in zip(stream.records(form), stream.partition.tolist(),
                                                  strict=True) if at == partition]
        values += [value for at, _, value in stream.closing(form) if at == partition]
        records = [Record("in", partition, offset, b"", value, 0)
                   for offset, value in enumerate(values)]
        state = checkpoints.fresh(logic, partition, 1)
        logic.recovered(state)
        for first in range(0, len(records), batch):
            out = Out("signal", 0)
            logic.walk(state, records[first:first + batch], out)
            told = [orjson.loads(emission.value or b"") for emission in out.emissions]
            found += [(each["user_id"], each["event_ms"]) for each in told]
    return found


@pytest.mark.parametrize("form", ["json", "avro"])
@pytest.mark.parametrize("workload", workloads.WORKLOADS)
def test_every_firing_is_the_twins_and_comes_once(workload: str, form: str) -> None:
    source = "absence" if workload == "W4" else "zipf"
    stream = data.make(source, events=20_000, users=4_000 if workload == "W4" else 400,
                       partitions=PARTITIONS)
    wanted = sorted(workloads.TWINS[workload](stream.events()))
    assert len(wanted) > 50
    for batch in (700, 5_000):
        assert sorted(fired(workload, stream, form, batch)) == wanted


def test_what_the_stopwatch_stands_at_is_there() -> None:
    """It wraps code by name, in a process of its own: what it wraps stays wrapped."""
    subprocess.run([sys.executable, "-c", "from bench.signal import kairos_job, phases; "
                    "phases.watch(kairos_job.SignalLogic)"], check=True)
