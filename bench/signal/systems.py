"""What a system under test is: command lines, an input topic, an output topic.

A system writes one JSON record {"user_id": ..., "event_ms": ...} per firing; more fields are
allowed, and a record with "diff": -1 is none. Topics that it makes for itself begin with its group.
Nothing else is asked of it: progress is read off the times of its firings, CPU and memory off
/proc, so that no system has to be trusted about itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.signal.workloads import FLOOR
from streams.settings import PROJECT


@dataclass(frozen=True)
class Job:
    """One run of one system: everything it is told.

    group        consumer group (or application id), unused before
    out          topic of its firings, empty at the start, as many partitions as the input
    state        folder of its own for checkpoints and stores; empty at the first start, kept when
                 the system is started again after a kill
    interval_s   seconds between checkpoints or commits, the same for every system
    broker_log   where the broker keeps its topics
    processes    processes to spread the partitions over; most systems are one process with threads
    """

    workload: str
    form: str
    bootstrap: str
    source: str
    out: str
    group: str
    state: Path
    partitions: int
    broker_log: Path
    interval_s: float = 10.0
    processes: int = 1
    extra: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """How every system is told its job: BENCH_* beside the ordinary environment."""
        return {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1",
                "BENCH_WORKLOAD": self.workload, "BENCH_FORM": self.form,
                "BENCH_BOOTSTRAP": self.bootstrap, "BENCH_SOURCE": self.source,
                "BENCH_OUT": self.out, "BENCH_GROUP": self.group,
                "BENCH_STATE": str(self.state), "BENCH_PARTITIONS": str(self.partitions),
                "BENCH_INTERVAL_S": str(self.interval_s), **self.extra}


@dataclass(frozen=True)
class Command:
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path = PROJECT


class System(Protocol):
    """A system under test.

    durable       what its settings promise, in a few words for the table
    workloads     those that it can express; the others are left out of the table, with `why_not`
    forms         json, avro
    events_share  share of --events it is given, so that slow systems end in reasonable time
    commits       True when the group's committed offsets say what has been made durable
    """

    @property
    def name(self) -> str: ...
    @property
    def durable(self) -> str: ...
    @property
    def workloads(self) -> tuple[str, ...]: ...
    @property
    def forms(self) -> tuple[str, ...]: ...
    @property
    def events_share(self) -> float: ...
    @property
    def commits(self) -> bool: ...
    @property
    def why_not(self) -> str: ...

    def prepare(self, home: Path) -> str:
        """Install what is needed below `home`; gives the versions, for the table."""

    def commands(self, job: Job) -> list[Command]:
        """The processes to start, at the first start as after a kill."""


@dataclass(frozen=True)
class Floor:
    """confluent-kafka and orjson, nothing computed: what reading this input costs in Python."""

    name: str = "floor"
    durable: str = "no"
    workloads: tuple[str, ...] = (FLOOR,)
    forms: tuple[str, ...] = ("json",)
    events_share: float = 1.0
    commits: bool = False
    why_not: str = ""

    def prepare(self, home: Path) -> str:
        import confluent_kafka
        import orjson

        return f"confluent-kafka {confluent_kafka.__version__}, orjson {orjson.__version__}"

    def commands(self, job: Job) -> list[Command]:
        return [Command((sys.executable, "-m", "bench.signal.floor_job"), job.environment())]


def registry() -> dict[str, System]:
    """Every system by name, in the order of the table."""
    from bench.signal import jvm_systems, kairos_system, python_systems

    every: list[System] = [Floor(), *kairos_system.SYSTEMS, *jvm_systems.SYSTEMS,
                           *python_systems.SYSTEMS]
    return {system.name: system for system in every}
