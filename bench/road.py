"""`python -m bench.road`: the whole road and each stage, beside a floor measured in the same run.

Floor: one process that consumes events.raw and decodes the JSON, nothing else. Every stage runs
alone in a process of its own over what the stage before it left in Kafka, durably (checkpoints
as in production). Latency is measured with all stages running, at a moderate rate, on a tenant that
lives by the wall clock. Ratios are to the floor; figures of different machines do not compare.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer

from bench import load
from bench.measuring import Figure, calibrate, cpu_of, own_cpu, quantile
from infra import parts, processes, secrets
from infra.kafka import broker
from schemas import contract
from streams import pipeline
from streams.adapters.history import KafkaBus, Offsets
from streams.adapters.reading import read_whole
from streams.settings import PROJECT, Settings

PORTS = {"kafka_port": 39092, "kafka_controller_port": 39093, "clickhouse_port": 39123,
         "web_port": 39080, "smtp_port": 39025}


def settings_of(home: Path) -> Settings:
    """A home of its own; Kafka's jars are shared with the project's."""
    project = Settings.model_validate({"home": PROJECT / ".kairos"})
    broker.ensure_jars(project)
    (home / "kafka").mkdir(parents=True, exist_ok=True)
    (home / "kafka" / "libs").symlink_to(project.home / "kafka" / "libs")
    return Settings.model_validate({"home": home, **PORTS})


def floor(settings: Settings, count: int) -> Figure:
    """Consume and decode: what any consumer in this language pays at least."""
    consumer = Consumer({**settings.kafka_client, "group.id": "bench-floor",
                         "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([pipeline.RAW])
    read, wall, cpu = 0, 0.0, 0.0
    while read < count:
        messages = consumer.consume(2000, 1.0)
        if messages and not wall:
            wall, cpu = time.perf_counter(), own_cpu()
            continue      # the first batch warms up: joining the group is not the floor
        for message in messages:
            orjson.loads(message.value() or b"{}")
        read += len(messages)
        if read >= count - 4000:
            break
    figure = Figure("floor: consume + decode", read, time.perf_counter() - wall, own_cpu() - cpu,
                    count)
    consumer.close()
    return figure


def stage_alone(settings: Settings, stage: pipeline.Stage) -> Figure:
    """Run one stage over all that waits for it; timed from its first committed progress."""
    offsets = Offsets(settings)
    todo = offsets.lag(stage)
    child = subprocess.Popen(
        [sys.executable, "-m", "streams.cli.main", "work", "--stages", stage.name, "--name",
         f"bench-{stage.name}"], cwd=PROJECT, env=parts.environment(settings),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        left = todo
        while left >= todo:
            time.sleep(0.05)
            left = offsets.lag(stage)
        start_left, wall, cpu = left, time.perf_counter(), cpu_of(child.pid)
        while left > 0:
            assert child.poll() is None, f"{stage.name} ended by itself"
            time.sleep(0.05)
            left = offsets.lag(stage)
        taken = max(start_left, 1)
        return Figure(stage.name, taken, time.perf_counter() - wall, cpu_of(child.pid) - cpu,
                      todo)
    finally:
        child.terminate()
        child.wait(120)


def sink_alone(settings: Settings) -> Figure:
    """Rows per second of the sink into the embedded engine, from the first to the last row."""
    from sinks.client import connect

    with_engine = [p for p in parts.roster(settings) if p.name in ("clickhouse", "sink")]
    processes.up(settings, with_engine)
    client = connect(settings, user="reader")
    pid = next(s.pid for s in processes.status(settings) if s.name == "sink")
    assert pid is not None
    ask = "SELECT count(), min(inserted_at), max(inserted_at), sum(rows) FROM sink_batches"
    calm, rows, cpu = 0, 0, 0.0
    first: tuple[float, float] | None = None
    while calm < 12:
        time.sleep(0.25)
        now = int(client.query(ask).result_rows[0][3] or 0)
        if now and first is None:
            first = (time.perf_counter(), cpu_of(pid))
            rows = now
            base = now
        calm = calm + 1 if now == rows and now else 0
        if now > rows:
            rows, last = now, time.perf_counter()
            cpu = cpu_of(pid)
    assert first is not None
    return Figure("sink (rows)", max(rows - base, 1), max(last - first[0], 1e-6),
                  max(cpu - first[1], 0.0), rows)


def latency(settings: Settings, *, rate: int, seconds: int) -> dict[str, Any]:
    """Append to decision and to ready message at a steady rate, milliseconds."""
    tenant = "bench-live"
    bus = KafkaBus(settings, "bench")
    load.publish(bus, tenant, "wall", int(time.time() * 1000))
    workers = [p for p in parts.roster(settings) if p.name.startswith("worker")
               or p.name == "mail"]
    processes.up(settings, workers)
    start = time.time()
    for number, (key, event) in enumerate(load.events(
            rate * seconds, seed=3, people=2000, tenant=tenant)):
        load.send(bus, key, {**event, "event_ms": int(time.time() * 1000)})
        ahead = number / rate - (time.time() - start)
        if ahead > 0:
            time.sleep(ahead)
    bus.settle()
    bus.close()
    time.sleep(3)
    processes.down(settings, workers)
    hops = {"event to decision": [], "event to ready message": []}  # type: dict[str, list[float]]
    for topic, field, hop in ((pipeline.DECISIONS, "decided_ms", "event to decision"),
                              (pipeline.MESSAGES, "ready_ms", "event to ready message")):
        for partition in range(settings.partitions):
            for _, value in read_whole(settings, topic, partition):
                if value and contract(topic).is_mine(value):
                    fields = contract(topic).decode(value)
                    if fields["tenant"] == tenant:
                        hops[hop].append(fields[field] - fields["trigger_appended_ms"])
    return {hop: {"count": len(ms), "p50_ms": quantile(ms, 0.5), "p99_ms": quantile(ms, 0.99)}
            for hop, ms in hops.items() if ms}


def run(count: int, *, rate: int, seconds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kairos-bench-") as folder:
        settings = settings_of(Path(folder) / "home")
        secrets.ensure(settings)
        try:
            return _run(settings, count, rate=rate, seconds=seconds)
        finally:
            processes.down(settings)


def _run(settings: Settings, count: int, *, rate: int, seconds: int) -> dict[str, Any]:
    processes.up(settings, [p for p in parts.roster(settings) if p.name in ("kafka", "topics")])
    bus = KafkaBus(settings, "bench")
    load.publish(bus, load.TENANT, "event", load.START_MS)
    bus.clock(load.TENANT, load.START_MS)
    for number, (key, event) in enumerate(load.events(count, seed=1, people=20_000)):
        load.send(bus, key, event)
        if number % 5000 == 4999:
            bus.settle()
            bus.clock(load.TENANT, event["event_ms"])
    bus.settle()
    bus.close()
    before = calibrate()
    figures = [floor(settings, count)]
    figures += [stage_alone(settings, stage) for stage in pipeline.STAGES]
    figures.append(sink_alone(settings))
    return {"machine": f"{platform.machine()}, Python {platform.python_version()}",
            "calibration_s": [before, calibrate()], "events": count, "figures": figures,
            "latency": latency(settings, rate=rate, seconds=seconds)}


def show(result: dict[str, Any]) -> None:
    base = result["figures"][0]
    print(f"{result['machine']}; calibration loop {result['calibration_s'][0]:.3f} s before, "
          f"{result['calibration_s'][1]:.3f} s after; {result['events']:,} JSON events")
    print(f"{'':28} {'records/s':>10} {'x floor':>8} {'CPU us/record':>14} {'x floor':>8}")
    for each in result["figures"]:
        print(f"{each.name:28} {each.events_per_s:10,.0f} "
              f"{each.events_per_s / base.events_per_s:8.2f} {each.cpu_us_per_event:14.1f} "
              f"{each.cpu_us_per_event / base.cpu_us_per_event:8.1f}")
    stages = result["figures"][1:6]
    road = sum(f.cpu_us_per_event * f.total_count for f in stages) / result["events"]
    print(f"{'whole road, per raw event':28} {'':10} {'':8} {road:14.1f} "
          f"{road / base.cpu_us_per_event:8.1f}")
    for hop, found in result["latency"].items():
        print(f"{hop}: p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms "
              f"({found['count']} of them)")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=100_000)
    options.add_argument("--rate", type=int, default=500, help="events/s while latency is measured")
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    result = run(asked.events, rate=asked.rate, seconds=asked.seconds)
    if asked.json:
        print(json.dumps({**result, "figures": [f.__dict__ for f in result["figures"]]}))
    else:
        show(result)


if __name__ == "__main__":
    main()
