"""Recovery: every profile is filled, all is made durable, kill -9, more events, start again.

What counts as recovered is a firing that can only come from the state before the kill; in the end
the firings must be the twin's, repeated ones allowed (they are counted).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.signal import data, topics
from bench.signal.running import await_firings, await_flush, expect, stored_bytes
from bench.signal.systems import System
from bench.signal.topics import Firings
from bench.signal.watching import Processes

if TYPE_CHECKING:
    from bench.signal.table import Bench


@dataclass(frozen=True)
class Crash:
    """kill -9 with `profiles` profiles in the state of W2.

    first_s, all_s   from the new start to the first new firing, and to the last
    state_bytes      per profile, in the system's folder and topics at the kill
    rss_mb           peak before the kill
    """

    system: str
    profiles: int
    first_s: float
    all_s: float
    state_bytes: float
    rss_mb: float
    missing: int
    unasked: int
    twice: int


def crash(bench: Bench, system: System, *, profiles: int) -> Crash:
    """Raises RuntimeError when the system ends by itself."""
    asked = bench.asked
    events = profiles * 5 // 4
    stream = data.make("zipf", events=events, users=profiles, seed=asked.seed + 2, skew=asked.skew,
                       partitions=asked.partitions, sweep=True)
    cut = profiles + profiles // 5
    before, after = stream.slice(0, cut), stream.slice(cut, events)
    wanted = expect("W2", stream).firings
    early = frozenset(firing for firing in wanted if firing[1] < int(after.ms[0]))
    source = f"crashed-{system.name}-{bench.runs + 1}"
    topics.create(bench.bootstrap, source, partitions=asked.partitions)
    topics.produce(bench.bootstrap, source, before, "json")
    job = bench.job(system, "W2", "json", source)
    job.state.mkdir(parents=True)
    outputs = Firings(job.bootstrap, job.out, job.partitions)
    log = job.state.with_suffix(".log")
    processes = Processes(system.commands(job), log)
    try:
        await_firings(processes, outputs, early)
        await_flush(system, job, before, processes, outputs)
        rss_mb, state_bytes = processes.rss_peak_mb(), stored_bytes(job) / profiles
        processes.kill()
        topics.produce(bench.bootstrap, source, after, "json")
        processes, begun = Processes(system.commands(job), log), time.time() * 1000
        known = len(outputs.at)
        await_firings(processes, outputs, wanted)
        new = [at for at, user, ms in outputs.at[known:] if (user, ms) in wanted - early]
        return Crash(system.name, profiles, (min(new) - begun) / 1000 if new else float("nan"),
                     (max(new) - begun) / 1000 if new else float("nan"), state_bytes, rss_mb,
                     len(wanted - outputs.distinct), len(outputs.distinct - wanted),
                     len(outputs.at) - len(outputs.distinct))
    finally:
        processes.stop()
        outputs.close()
        topics.delete(job.bootstrap, source)
        bench.done(job)
