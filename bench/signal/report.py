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
from bench.signal.phases import ORDER as PHASES
from bench.signal.running import Result
from bench.signal.sections import VERSIONS, merged
from bench.signal.systems import registry
from bench.signal.workloads import FLOOR, WORKLOADS
from infra.kafka import broker

_TITLES = {FLOOR: "Floor: consume and decode", "W1": "W1: running counts",
           "W2": "W2: the full set with a rule", "W3": "W3: hopping sums, 60/5 min",
           "W4": "W4: absence timers"}

_LATENCY, _RECOVERY, _PHASES = ("Latency, append to append", "Recovery after kill -9 on W2",
                                "Where the time of Kairos goes")
_ORDER = (*_TITLES.values(), _LATENCY, _RECOVERY, _PHASES, VERSIONS)

CLOSELY = "latency, recovery and phases"

_HOW = """Written by `make bench-signal`, section by section: each says when, where and on how \
much it was measured, by one run. Broker: one node, on the same cores; JSON of about 175 bytes. \
A third of the events is warm-up; of *many*, one event of each of its people (they stand in the \
table as events too). CPU is user + system of the system's processes, the \
broker's excluded; *flushed* includes what follows the last firing up to the final checkpoint; \
*whole* is all CPU from the start, over all events: the one to read for a system that takes in \
far more than it has put out (Pathway), whose first third is nearly all its work. Medians of the \
runs, ranges in brackets. *Loop* is a fixed Python loop before each run: where it differs, so did \
the machine. *B/profile* is what lies in the state folder and in the system's own topics at the \
end, not compacted, per user of the stream. Figures of different machines or sections do not \
compare; ratios in one table do. Definitions: `bench/signal/workloads.py`."""


@dataclass
class Findings:
    """Everything measured so far.

    unfinished   workloads of which runs are missing, and CLOSELY: nothing is written of these
    """

    asked: argparse.Namespace
    versions: dict[str, str]
    speed: list[tuple[str, Result]] = field(default_factory=list)
    pace: list[Pace] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)

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


def text(findings: Findings, before: str = "") -> str:
    """RESULTS.md with what was found; sections of `before` that were not measured stay."""
    sections = {title: "\n".join(lines) for title, lines in _sections(findings)}
    return merged(f"# Signal path, side by side\n\n{_HOW}", before, sections, _ORDER)


def _sections(findings: Findings) -> Iterator[tuple[str, list[str]]]:
    said = [_provenance(findings.asked), ""]
    for workload in (FLOOR, *WORKLOADS):
        for source in dict.fromkeys(source for source, _ in findings.speed):
            runs = [r for at, r in findings.speed if at == source and r.workload == workload]
            if runs and workload not in findings.unfinished:
                yield f"{_TITLES[workload]}, {source}", [*said, *_speed(runs)]
    if findings.pace and CLOSELY not in findings.unfinished:
        yield _LATENCY, [*said, *_paces(findings.pace)]
    if findings.crashes and CLOSELY not in findings.unfinished:
        yield _RECOVERY, [*said, *_crashes(findings.crashes)]
    if findings.phases and CLOSELY not in findings.unfinished:
        yield _PHASES, [*said, *_phases(findings.phases)]
    yield VERSIONS, list(_notes(findings))


def _provenance(asked: argparse.Namespace) -> str:
    repeats = f"{asked.repeats} interleaved runs" if asked.repeats > 1 else "One run"
    return (f"*{datetime.date.today().isoformat()}, {_machine()}, Apache Kafka "
            f"{_broker_version()}. {repeats} of {asked.events:,} events at most, "
            f"{asked.partitions} partitions, checkpoints or commits every {asked.interval:g} s, "
            f"seed {asked.seed}.*")


def _speed(runs: list[Result]) -> Iterator[str]:
    yield ("| system | durable | events | events/s | CPU µs/event | flushed | whole | peak MB | "
           "B/profile | firings | outputs | loop s |")
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for name in dict.fromkeys(r.system for r in runs):
        mine = [r for r in runs if r.system == name]
        yield (f"| {name} | {_durable(name)} | {mine[0].events:,} "
               f"| {_spread(mine, lambda r: r.events_per_s, ',.0f')} "
               f"| {_spread(mine, lambda r: r.cpu_us, '.2f')} "
               f"| {_spread(mine, lambda r: r.flushed_us, '.2f')} "
               f"| {_spread(mine, lambda r: r.whole_us, '.2f')} "
               f"| {_spread(mine, lambda r: r.rss_mb, ',.0f')} "
               f"| {_spread(mine, lambda r: r.state_bytes / r.profiles, ',.0f')} "
               f"| {mine[0].firings:,} "
               f"| {_verdict(mine)} | {_spread(mine, lambda r: r.calibration_s, '.3f')} |")


def _verdict(runs: list[Result]) -> str:
    wrong = sum(not r.equal for r in runs)
    twice = sum(r.twice for r in runs)
    words = "equal" if not wrong else (f"DIFFER: {max(r.missing for r in runs)} missing, "
                                       f"{max(r.unasked for r in runs)} unasked")
    return f"{words}, {twice} repeated" if twice else words


def _paces(paces: list[Pace]) -> Iterator[str]:
    yield ("At half of what the system can, or at the rate that was asked when that is less: the "
           "producer shares the cores. A new process each; half as many events come at once "
           "before.")
    yield ""
    yield "| system | workload | events/s | p50 ms | p99 ms | CPU µs/event | firings | outputs |"
    yield "|---|---|---|---|---|---|---|---|"
    for p in paces:
        yield (f"| {p.system} | {p.workload} | {p.rate:,} | {p.p50_ms:.0f} | {p.p99_ms:.0f} "
               f"| {p.cpu_us:.1f} | {p.firings:,} | {'equal' if p.equal else 'DIFFER'} |")


def _crashes(crashes: list[Crash]) -> Iterator[str]:
    yield ("| system | profiles | to the first new firing s | to the last s | bytes/profile on "
           "disk | peak MB | outputs |")
    yield "|---|---|---|---|---|---|---|"
    for c in crashes:
        words = "equal" if not c.missing + c.unasked else (f"DIFFER: {c.missing} missing, "
                                                           f"{c.unasked} unasked")
        yield (f"| {c.system} | {c.profiles:,} | {c.first_s:.1f} | {c.all_s:.1f} "
               f"| {c.state_bytes:,.0f} | {c.rss_mb:,.0f} | {words}, {c.twice} repeated |")


def _phases(phases: dict[str, dict[str, float]]) -> Iterator[str]:
    yield ("CPU µs per event by phase, read inside a run of its own by a stopwatch that costs "
           "something itself, start and final checkpoint included.")
    yield ""
    yield f"| phase | {' | '.join(phases)} |"
    yield f"|---|{'---|' * len(phases)}"
    for phase in PHASES:
        yield (f"| {phase} | "
               f"{' | '.join(f'{us.get(phase, 0.0):.2f}' for us in phases.values())} |")
    yield f"| all | {' | '.join(f'{sum(us.values()):.2f}' for us in phases.values())} |"


def _notes(findings: Findings) -> Iterator[str]:
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
