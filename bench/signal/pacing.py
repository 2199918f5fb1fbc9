"""Latency: from the append of the event that makes a rule hold to the append of its firing.

A first part of the stream comes at once and warms the system up, the rest at a steady rate. Both
times are the broker's own (LogAppendTime), so that no clock of a system is trusted; producer,
broker and system share the machine.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.measuring import quantile
from bench.signal import data, topics
from bench.signal.running import await_firings, expect
from bench.signal.systems import System
from bench.signal.topics import Firings
from bench.signal.watching import Processes

if TYPE_CHECKING:
    from bench.signal.table import Bench


@dataclass(frozen=True)
class Pace:
    """Latency at `rate` events a second; `firings` of the paced part."""

    system: str
    workload: str
    rate: int
    firings: int
    p50_ms: float
    p99_ms: float
    cpu_us: float
    equal: bool


def pace(bench: Bench, system: System, workload: str, *, rate: float, seconds: int) -> Pace:
    """Raises RuntimeError when the system ends by itself."""
    asked = bench.asked
    count = int(rate * seconds)
    first = count // 2
    stream = data.make("zipf", events=first + count, users=asked.users, seed=asked.seed + 1,
                       skew=asked.skew, partitions=asked.partitions)
    warming, paced = stream.slice(0, first), stream.slice(first, first + count)
    wanted = expect(workload, stream).firings
    early = frozenset(firing for firing in wanted if firing[1] < int(paced.ms[0]))
    source = f"paced-{system.name}-{bench.runs + 1}"
    topics.create(bench.bootstrap, source, partitions=asked.partitions)
    job = bench.job(system, workload, "json", source)
    job.state.mkdir(parents=True)
    outputs = Firings(job.bootstrap, job.out, job.partitions)
    processes = Processes(system.commands(job), job.state.with_suffix(".log"))
    pump = threading.Thread(target=topics.produce, args=(job.bootstrap, source, paced, "json"),
                            kwargs={"rate": rate})
    try:
        topics.produce(job.bootstrap, source, warming, "json")
        await_firings(processes, outputs, early)
        pump.start()
        await_firings(processes, outputs, wanted)
        pump.join()
        appended = topics.append_ms(job.bootstrap, source, job.partitions)
        paced_ms = int(paced.ms[0])
        first_ms, last_ms = appended[paced_ms], max(at for at, _, _ in outputs.at)
        waits = [float(at - appended[ms]) for at, _, ms in outputs.at if ms >= paced_ms]
        cpu_s = processes.cpu_at(last_ms) - processes.cpu_at(first_ms)
        return Pace(system.name, workload, int(rate), len(waits), quantile(waits, 0.5),
                    quantile(waits, 0.99), cpu_s / count * 1e6, outputs.distinct == wanted)
    finally:
        if pump.ident is not None:
            pump.join()
        processes.stop()
        outputs.close()
        topics.delete(job.bootstrap, source)
        bench.done(job)
