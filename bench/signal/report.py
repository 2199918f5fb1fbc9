"""bench/RESULTS.md: medians and ranges, each beside the calibration loop of its runs."""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.signal.crashing import Crash
from bench.signal.pacing import Pace
from bench.signal.running import Result
from bench.signal.systems import registry
from bench.signal.workloads import FLOOR, WORKLOADS
from infra.kafka import broker

_TITLES = {FLOOR: "Floor: consume and decode", "W1": "W1: running counts",
           "W2": "W2: the full set with a rule", "W3": "W3: hopping sums, 60/5 min",
           "W4": "W4: absence timers"}

_HOW = """A third of the events is warm-up. CPU is user + system of the system's processes, the \
broker's excluded; *flushed* includes what follows the last firing up to the final checkpoint; \
*whole* is all CPU from the start, over all events: the one to read for a system that takes in \
far more than it has put out (Pathway), whose first third is nearly all its work. Medians of the \
runs, ranges in brackets. *Loop* is a fixed Python loop before each run: where it differs, so did \
the machine. Figures of different machines do not compare; ratios in one table do. Definitions: \
`bench/signal/workloads.py`."""


@dataclass
class Findings:
    """Everything measured so far."""

    asked: argparse.Namespace
    versions: dict[str, str]
    speed: list[tuple[str, Result]] = field(default_factory=list)
    pace: list[Pace] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def fail(self, system: str, why: str) -> None:
        """Of a system's log only the last line is kept: the whole was printed when it failed."""
        lines = why.splitlines()
        last = f" … {lines[-1].strip()[:200]}" if len(lines) > 1 else ""
        self.failed.append(f"{system}: {lines[0]}{last}")

    def half_speed(self, system: str, workload: str) -> float:
        """Half of the events/s measured; 0 when it was not."""
        found = [r.events_per_s for _, r in self.speed
                 if r.system == system and r.workload == workload
                 and not math.isnan(r.events_per_s)]
        return statistics.median(found) / 2 if found else 0.0


def text(findings: Findings) -> str:
    return "\n".join(_lines(findings)) + "\n"


def _lines(findings: Findings) -> Iterator[str]:
    asked, today = findings.asked, datetime.date.today().isoformat()
    yield "# Signal path, side by side"
    yield ""
    yield (f"Written by `make bench-signal` on {today}. {_machine()}. Broker: Apache Kafka "
           f"{_broker_version()}, one node, on the same cores; {asked.partitions} partitions, "
           f"JSON of about 175 bytes; checkpoints or commits every {asked.interval:g} s; seed "
           f"{asked.seed}. {_HOW}")
    for workload in (FLOOR, *WORKLOADS):
        for source in dict.fromkeys(source for source, _ in findings.speed):
            runs = [r for at, r in findings.speed if at == source and r.workload == workload]
            if runs:
                yield from _speed(f"{_TITLES[workload]}, {source}", runs)
    if findings.pace:
        yield from _paces(findings.pace)
    if findings.crashes:
        yield from _crashes(findings.crashes)
    yield from _notes(findings)


def _speed(title: str, runs: list[Result]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield ("| system | durable | events | events/s | CPU µs/event | flushed | whole | peak MB | "
           "firings | outputs | loop s |")
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for name in dict.fromkeys(r.system for r in runs):
        mine = [r for r in runs if r.system == name]
        yield (f"| {name} | {_durable(name)} | {mine[0].events:,} "
               f"| {_spread(mine, lambda r: r.events_per_s, ',.0f')} "
               f"| {_spread(mine, lambda r: r.cpu_us, '.2f')} "
               f"| {_spread(mine, lambda r: r.flushed_us, '.2f')} "
               f"| {_spread(mine, lambda r: r.whole_us, '.2f')} "
               f"| {_spread(mine, lambda r: r.rss_mb, ',.0f')} | {mine[0].firings:,} "
               f"| {_verdict(mine)} | {_spread(mine, lambda r: r.calibration_s, '.3f')} |")


def _verdict(runs: list[Result]) -> str:
    wrong = sum(not r.equal for r in runs)
    twice = sum(r.twice for r in runs)
    words = "equal" if not wrong else (f"DIFFER: {max(r.missing for r in runs)} missing, "
                                       f"{max(r.unasked for r in runs)} unasked")
    return f"{words}, {twice} repeated" if twice else words


def _paces(paces: list[Pace]) -> Iterator[str]:
    yield from ("", "## Latency on W2, append to append", "")
    yield "| system | events/s | p50 ms | p99 ms | CPU µs/event | firings | outputs |"
    yield "|---|---|---|---|---|---|---|"
    for p in paces:
        yield (f"| {p.system} | {p.rate:,} | {p.p50_ms:.0f} | {p.p99_ms:.0f} | {p.cpu_us:.1f} "
               f"| {p.firings:,} | {'equal' if p.equal else 'DIFFER'} |")


def _crashes(crashes: list[Crash]) -> Iterator[str]:
    yield from ("", "## Recovery after kill -9 on W2", "")
    yield ("| system | profiles | to the first new firing s | to the last s | bytes/profile on "
           "disk | peak MB | outputs |")
    yield "|---|---|---|---|---|---|---|"
    for c in crashes:
        words = "equal" if not c.missing + c.unasked else (f"DIFFER: {c.missing} missing, "
                                                           f"{c.unasked} unasked")
        yield (f"| {c.system} | {c.profiles:,} | {c.first_s:.1f} | {c.all_s:.1f} "
               f"| {c.state_bytes:,.0f} | {c.rss_mb:,.0f} | {words}, {c.twice} repeated |")


def _notes(findings: Findings) -> Iterator[str]:
    yield from ("", "## Versions and what was left out", "")
    systems = registry()
    for name, version in findings.versions.items():
        left = [w for w in findings.asked.workloads if w not in systems[name].workloads]
        why = f"; no {', '.join(left)}: {systems[name].why_not}" if left and name != FLOOR else ""
        yield f"- {name}: {version}{why}"
    yield from (f"- failed: {each}" for each in findings.failed)


def _durable(name: str) -> str:
    systems = registry()
    return systems[name if name in systems else name.rpartition("-")[0]].durable


def _spread(runs: list[Result], of: Callable[[Result], float], form: str) -> str:
    values = [value for value in map(of, runs) if not math.isnan(value)]
    if not values:
        return "too short a run"
    middle = format(statistics.median(values), form)
    if len(values) == 1:
        return middle
    return f"{middle} [{min(values):{form}}–{max(values):{form}}]"


def _machine() -> str:
    model = next((line.partition(":")[2].strip() for line in
                  Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2 ** 30
    java = subprocess.run([broker.java() or "java", "-version"], capture_output=True, text=True,
                          check=False).stderr.splitlines()
    return (f"{len(os.sched_getaffinity(0))} cores ({model}), {memory_gb:.0f} GiB, Python "
            f"{platform.python_version()}, {java[0] if java else 'no Java'}")


def _broker_version() -> str:
    words = broker.POM.read_text().partition("kafka_2.13</artifactId>")[2]
    return words.partition("<version>")[2].partition("<")[0]
