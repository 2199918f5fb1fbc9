"""Measuring processes: wall time, CPU time of the whole process, resident memory."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figure:
    """One measurement. CPU is user plus system of all threads of the measured process.

    events_count   records measured, from the first progress to the end
    total_count    records there were in all; the start-up is in neither time
    """

    name: str
    events_count: int
    wall_s: float
    cpu_s: float
    total_count: int

    @property
    def events_per_s(self) -> float:
        return self.events_count / self.wall_s

    @property
    def cpu_us_per_event(self) -> float:
        return self.cpu_s / self.events_count * 1e6


def cpu_of(pid: int) -> float:
    """CPU seconds that process `pid` has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def calibrate() -> float:
    """Seconds of a fixed loop: how fast this machine is at this moment."""
    start, total = time.process_time(), 0
    for number in range(2_000_000):
        total += number & 7
    assert total > 0
    return time.process_time() - start


def quantile(values: list[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
