"""Kairos as a system under test: one process, or several that share the partitions."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from bench.signal.systems import Command, Job, System
from bench.signal.workloads import WORKLOADS


@dataclass(frozen=True)
class Kairos:
    """`processes` share the partitions."""

    name: str = "kairos"
    processes: int = 1
    durable: str = "changelog, effectively once"
    workloads: tuple[str, ...] = WORKLOADS
    forms: tuple[str, ...] = ("json", "avro")
    events_share: float = 1.0
    commits: bool = True
    why_not: str = ""

    def prepare(self, home: object) -> str:
        import confluent_kafka
        import numba

        return (f"Python {sys.version.split()[0]}, confluent-kafka {confluent_kafka.__version__}, "
                f"numba {numba.__version__}")

    def commands(self, job: Job) -> list[Command]:
        one = Command((sys.executable, "-m", "bench.signal.kairos_job"), job.environment())
        return [one] * max(job.processes, self.processes)


SYSTEMS: list[System] = [
    Kairos(),
    # Flink and Kafka Streams have a thread for each core anyway.
    Kairos("kairos-2", 2, workloads=("W2",), forms=("json",),
           why_not="two processes are asked on W2 only")]
