"""The order of the benchmark: what runs when, on which stream, and what is written at the end.

Runs are interleaved: every repeat goes once through all workloads and systems, and the systems take
turns at being first. A calibration loop before each run says how fast the machine was just then.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.measuring import calibrate
from bench.signal import crashing, data, pacing, report, speeds, topics
from bench.signal.jvm_systems import HEAP_MB
from bench.signal.running import Expected, Result, expect, measure
from bench.signal.systems import Job, System, registry
from bench.signal.workloads import FLOOR, WORKLOADS
from infra import secrets
from infra.kafka import broker
from streams.settings import PROJECT, Settings

PORTS = {"kafka_port": 38092, "kafka_controller_port": 38093}
HOME = PROJECT / ".kairos" / "bench-signal"
RESULTS = PROJECT / "bench" / "RESULTS.md"
# Below this a run ends before it has warmed up.
EVENTS_MIN = 6_000
PROFILES_MIN = 2_000
TWICE = "kairos-2"
# For the estimate: a system's start and its topics; what the slower ones do of their share.
START_S, EVENTS_PER_S, TWIN_S_PER_EVENT = 5.0, 90_000, 20e-6
QUICK = {"events": 30_000, "users": 1_000, "absence_users": 10_000, "many_users": 10_000,
         "repeats": 1, "forms": ["json"], "rate": 2_000, "seconds": 3, "profiles": PROFILES_MIN,
         "interval": 1.0,
         "systems": ["floor", "kairos", "kairos-2", "flink-heap", "kafka-streams", "quixstreams",
                     "bytewax", "pathway", "faust"],
         "closely": ["kairos", "flink-heap"], "keep_results": True}
# Hopping windows cost the peers about ten times what the rest does.
HOPPING_SHARE = 0.3


@dataclass
class Bench:
    """One broker, the streams that lie in it, and how a run of a system on them is set up."""

    asked: argparse.Namespace
    bootstrap: str
    work: Path
    broker_log: Path
    runs: int = 0
    _streams: dict[tuple[str, int], data.Stream] = field(default_factory=dict)
    _expected: dict[tuple[str, str, int], Expected] = field(default_factory=dict)
    _topics: set[str] = field(default_factory=set)

    def stream(self, source: str, system: System, workload: str) -> data.Stream:
        """The source's first events, as many as this system is given."""
        share = system.events_share * (HOPPING_SHARE if workload == "W3" else 1)
        count, users = max(EVENTS_MIN, int(self.asked.events * share)), self.asked.users
        if source == "absence":
            users = min(self.asked.absence_users, max(1, count // 3))
        if source == "many":
            users = max(1, int(self.asked.many_users * share))
            count += users
        if (source, count) not in self._streams:
            self._streams[source, count] = data.make(
                source, events=count, users=users, seed=self.asked.seed, skew=self.asked.skew,
                partitions=self.asked.partitions)
        return self._streams[source, count]

    def expected(self, workload: str, source: str, stream: data.Stream) -> Expected:
        key = workload, source, len(stream)
        if key not in self._expected:
            self._expected[key] = expect(workload, stream)
        return self._expected[key]

    def topic(self, source: str, stream: data.Stream, form: str) -> str:
        """The topic that holds the stream, produced when first asked for."""
        name = f"signal-{source}-{len(stream)}-{form}"
        if name not in self._topics:
            topics.create(self.bootstrap, name, partitions=self.asked.partitions)
            topics.produce(self.bootstrap, name, stream, form)
            found = topics.sizes(self.bootstrap, name, self.asked.partitions)
            assert found == stream.ends(), "the broker put users where murmur2 does not"
            self._topics.add(name)
        return name

    def job(self, system: System, workload: str, form: str, source_topic: str) -> Job:
        """A fresh run: output topic, group and state folder of its own."""
        self.runs += 1
        label = f"{system.name}-{workload.lower()}-{self.runs}"
        topics.create(self.bootstrap, f"fired-{label}", partitions=self.asked.partitions)
        return Job(workload, form, self.bootstrap, source_topic, f"fired-{label}",
                   f"bench-{label}", self.work / label, self.asked.partitions, self.broker_log,
                   self.asked.interval, self.asked.processes,
                   {"BENCH_HEAP_MB": str(self.asked.heap_mb)})

    def done(self, job: Job) -> None:
        topics.delete(self.bootstrap, job.out)
        topics.delete_all_of(self.bootstrap, job.group)
        shutil.rmtree(job.state, ignore_errors=True)


def plan(asked: argparse.Namespace, systems: list[System],
         repeat: int) -> Iterator[tuple[str, str, System, str]]:
    """(source, workload, system, form) of one repeat; the systems rotate by `repeat`."""
    turned = systems[repeat % len(systems):] + systems[:repeat % len(systems)]
    for workload in (FLOOR, *asked.workloads):
        for source in ["absence"] if workload == "W4" else asked.sources:
            for system in turned:
                if workload in system.workloads:
                    for form in (f for f in system.forms if f in asked.forms):
                        yield source, workload, system, form


def run(asked: argparse.Namespace, bench: Bench, systems: list[System],
        findings: report.Findings) -> None:
    findings.versions.update({system.name: system.prepare(HOME) for system in systems})
    findings.unfinished.update((FLOOR, *asked.workloads), [report.CLOSELY])
    for repeat in range(asked.repeats):
        at = FLOOR
        for source, workload, system, form in plan(asked, systems, repeat):
            if workload != at and repeat == asked.repeats - 1:
                findings.unfinished.discard(at)
            at = workload
            stream = bench.stream(source, system, workload)
            expected = bench.expected(workload, source, stream)
            job = bench.job(system, workload, form, bench.topic(source, stream, form))
            try:
                result = measure(system, job, stream, expected, calibration_s=calibrate())
            except RuntimeError as fault:
                findings.fail(system.name, f"{workload} on {source}: {fault}")
                print(f"{workload} {source} {system.name}: {fault}", flush=True)
            else:
                findings.speed.append((source, result))
                speeds.note(HOME, result)
                print(line(source, result), flush=True)
            finally:
                bench.done(job)
    findings.unfinished.difference_update((FLOOR, *asked.workloads))
    if not asked.no_phases:
        find_phases(asked, bench, systems, findings)
    pace_and_crash(asked, bench, systems, findings)
    findings.unfinished.clear()


def find_phases(asked: argparse.Namespace, bench: Bench, systems: list[System],
                findings: report.Findings) -> None:
    """One more run of Kairos per workload, which says inside where its time goes."""
    system = next((each for each in systems if each.name == "kairos"), None)
    for workload in asked.workloads if system is not None else ():
        source = "absence" if workload == "W4" else asked.sources[0]
        stream = bench.stream(source, system, workload)
        job = bench.job(system, workload, "json", bench.topic(source, stream, "json"))
        said = job.state.with_suffix(".phases")
        job = replace(job, extra={**job.extra, "BENCH_PHASES": str(said)})
        try:
            measure(system, job, stream, bench.expected(workload, source, stream),
                    calibration_s=calibrate())
            seconds = json.loads(said.read_text())
            findings.phases[f"{workload}, {source}"] = {
                phase: spent / len(stream) * 1e6 for phase, spent in seconds.items()}
            print(workload, {phase: round(us, 2) for phase, us in
                             findings.phases[f"{workload}, {source}"].items()}, flush=True)
        except RuntimeError as fault:
            findings.fail(system.name, f"{workload}, by phases: {fault}")
        finally:
            bench.done(job)


def pace_and_crash(asked: argparse.Namespace, bench: Bench, systems: list[System],
                   findings: report.Findings) -> None:
    for system in (each for each in systems if each.name in asked.closely):
        try:
            for workload in asked.paced if asked.rate and asked.seconds else ():
                half = (findings.half_speed(system.name, workload)
                        or speeds.half(HOME, system.name, workload)
                        or asked.rate * system.events_share)      # too short a run to tell
                if workload in system.workloads:
                    findings.pace.append(pacing.pace(
                        bench, system, workload, rate=min(asked.rate, half),
                        seconds=asked.seconds))
                    print(findings.pace[-1], flush=True)
            if asked.profiles and "W2" in system.workloads:
                findings.crashes.append(crashing.crash(
                    bench, system,
                    profiles=max(PROFILES_MIN, int(asked.profiles * system.events_share))))
                print(findings.crashes[-1], flush=True)
        except RuntimeError as fault:
            findings.fail(system.name, f"latency or recovery: {fault}")
            print(f"{system.name}: {fault}", flush=True)


def estimate_s(asked: argparse.Namespace, systems: list[System]) -> float:
    """Roughly how long it will take; on two cores, nothing else running."""
    apiece = START_S + 1.5 * asked.interval
    # Slow systems have their share of the events; so every run takes about as long.
    runs = asked.repeats * len(list(plan(asked, systems, 0)))
    whole = runs * (apiece + asked.events / EVENTS_PER_S)
    whole += len(asked.workloads) * TWIN_S_PER_EVENT * asked.events
    closely = [system for system in systems if system.name in asked.closely]
    paced = sum(each in system.workloads for system in closely for each in asked.paced)
    crashed = sum("W2" in system.workloads for system in closely)
    return (whole + paced * bool(asked.rate and asked.seconds) * (apiece + 1.5 * asked.seconds)
            + crashed * bool(asked.profiles) * (2 * apiece + 4 * asked.profiles / EVENTS_PER_S))


def line(source: str, r: Result) -> str:
    verdict = "equal" if r.equal else f"{r.missing} MISSING, {r.unasked} UNASKED"
    pace = ("too short a run   " if math.isnan(r.events_per_s)
            else f"{r.events_per_s:>9,.0f}/s {r.cpu_us:7.2f} us")
    return (f"{r.workload:5} {source:7} {r.system:16} {r.events:>9,} events {pace} "
            f"({r.flushed_us:.2f} flushed, "
            f"{r.whole_us:.2f} whole) "
            f"{r.rss_mb:6,.0f} MB  {r.firings:,} firings {verdict}"
            f"{f', {r.twice} twice' if r.twice else ''}  loop {r.calibration_s:.3f} s")


def options() -> argparse.ArgumentParser:
    names = list(registry())
    parser = argparse.ArgumentParser(prog="bench-signal", description=__doc__)
    parser.add_argument("--events", type=int, default=3_000_000,
                        help="events of a stream; slow systems get their share of them")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--absence-users", type=int, default=1_000_000,
                        help="users of W4, at most a third of its events")
    parser.add_argument("--many-users", type=int, default=5_000_000,
                        help="users of the source many; everybody comes once before it is measured")
    parser.add_argument("--systems", nargs="+", choices=names, default=names)
    parser.add_argument("--workloads", nargs="*", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--sources", nargs="+", choices=("zipf", "many", "otto", "retail"),
                        default=["zipf"])
    parser.add_argument("--forms", nargs="+", choices=("json", "avro"), default=["json", "avro"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rate", type=int, default=25_000,
                        help="events/s while latency is measured, at most half of what the system "
                             "can; 0 leaves it out")
    parser.add_argument("--seconds", type=int, default=20, help="how long latency is measured")
    parser.add_argument("--closely", nargs="*", choices=names,
                        default=[name for name in names if name != TWICE],
                        help="systems whose latency and recovery are measured")
    parser.add_argument("--paced", nargs="*", choices=("W1", "W2", "W3"), default=["W2"],
                        help="workloads whose latency is measured; a firing of W4 is made by time")
    parser.add_argument("--profiles", type=int, default=1_000_000,
                        help="profiles at the kill -9; 0 leaves recovery out")
    parser.add_argument("--no-phases", action="store_true",
                        help="leave out the runs that say where Kairos' time goes")
    parser.add_argument("--interval", type=float, default=10.0,
                        help="seconds between checkpoints or commits, for every system")
    parser.add_argument("--processes", type=int, default=1,
                        help="processes for systems that are spread over several")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--skew", type=float, default=0.9, help="exponent of Zipf's law")
    parser.add_argument("--heap-mb", type=int, default=HEAP_MB,
                        help="largest heap of a JVM; RocksDB gets outside it what exceeds this")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--keep-results", action="store_true", help="print only, write nothing")
    parser.add_argument("--quick", action="store_true",
                        help="everything once on small streams, to see that it works: the figures "
                             "say nothing, and are not written")
    return parser


def parse(words: list[str]) -> argparse.Namespace:
    """With --quick, what is not said otherwise is small."""
    parser = options()
    if parser.parse_args(words).quick:
        parser.set_defaults(**QUICK)
    return parser.parse_args(words)


def main() -> None:
    asked = parse(sys.argv[1:])
    # Ended by a signal, it still stops the broker and the system that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    systems = [system for name, system in registry().items() if name in asked.systems]
    print(f"about {max(1, round(estimate_s(asked, systems) / 60))} minutes on two cores; each "
          "section of the results is written by one run, and may be measured alone", flush=True)
    project = Settings.model_validate({"home": PROJECT / ".kairos"})
    jars = broker.ensure_jars(project)
    HOME.mkdir(parents=True, exist_ok=True)
    findings = report.Findings(asked, {})
    try:
        on_a_broker(asked, jars, systems, findings)
    finally:        # ended early, it still writes what is complete
        print(report.text(findings))
        if not asked.keep_results:
            before = asked.results.read_text() if asked.results.exists() else ""
            asked.results.write_text(report.text(findings, before))


def on_a_broker(asked: argparse.Namespace, jars: Path, systems: list[System],
                findings: report.Findings) -> None:
    """Start a broker, run everything, stop it."""
    with tempfile.TemporaryDirectory(prefix="run-", dir=HOME) as folder:
        home = Path(folder) / "home"
        (home / "kafka").mkdir(parents=True)
        (home / "kafka" / "libs").symlink_to(jars)
        settings = Settings.model_validate({"home": home, **PORTS, "kafka_heap_mb": 768})
        secrets.ensure(settings)
        broker.start(settings)
        try:
            broker.wait_ready(settings)
            bench = Bench(asked, settings.bootstrap, Path(folder), broker.data(settings))
            run(asked, bench, systems, findings)
        finally:
            broker.stop(settings)


if __name__ == "__main__":
    main()
