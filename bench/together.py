"""`python -m bench.together`: the whole road at once, as `make demo` runs it, but without its pace.

A real retailer's year is replayed as fast as the broker takes it while admit, choose, compose,
deliver, learn and the sink all run, in the processes of a local Kairos. Timed from the first event
until every group has committed the last record. CPU of every process stands beside the wall time:
what all of them together leave of the cores is waiting.

Then, on the idle road, single events: append to decision, to ready message, to the hand-off at the
channel. Ratios are to a fixed loop of this run; figures of different machines do not compare.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import load
from bench.measuring import calibrate, cpu_of, own_cpu, quantile
from bench.road import settings_of
from infra import parts, processes, secrets
from schemas import contract
from sinks.consumer import GROUP as SINK_GROUP
from sinks.topics import BY_TOPIC
from streams import pipeline
from streams.adapters.history import KafkaBus, Offsets
from streams.adapters.reading import read_whole
from streams.cli.demo_worlds import RETAIL_FILE, RETAIL_MAPPING, publish_playbooks
from streams.cli.replay import Files, produce
from streams.playbooks.loading import from_yaml
from streams.settings import Settings
from streams.worlds.loading import load as load_mapping
from streams.worlds.preparing import prepare
from streams.worlds.progress import Progress, ProgressFile

LIVE = "bench-live"
_LOOK_S = 0.1
_SETTLE_S = 5.0        # a tenant on the wall clock has a watermark each second: it is never quiet
_HOPS = ((pipeline.DECISIONS, "decided_ms", "event to decision"),
         (pipeline.MESSAGES, "ready_ms", "event to ready message"),
         (pipeline.DELIVERIES, "dispatched_ms", "event to hand-off"))


def behind(offsets: Offsets) -> dict[str, int]:
    """Records that wait, by stage, and for the sink."""
    left = {stage.name: offsets.lag(stage) for stage in pipeline.STAGES}
    left["sink"] = offsets.behind(SINK_GROUP, BY_TOPIC)
    return left


def drain(offsets: Offsets, began: float) -> dict[str, float]:
    """Seconds from `began` until each group was last seen to have something left."""
    busy, quiet = dict.fromkeys([*pipeline.BY_NAME, "sink"], 0.0), 0
    while quiet < 5:                  # stages answer each other in a circle
        now, left = time.perf_counter() - began, behind(offsets)
        busy.update({name: now for name, count in left.items() if count})
        quiet = 0 if any(left.values()) else quiet + 1
        time.sleep(_LOOK_S)
    return busy


def idle(settings: Settings) -> dict[str, float]:
    """Share of one core that each process takes while nothing happens."""
    pids = {each.name: each.pid for each in processes.status(settings) if each.pid}
    cpu = {name: cpu_of(pid) for name, pid in pids.items()}
    time.sleep(_SETTLE_S)
    return {name: (cpu_of(pid) - cpu[name]) / _SETTLE_S for name, pid in pids.items()}


def flood(settings: Settings, rows_max: int) -> dict[str, Any]:
    """The retailer's year down the road, all at once."""
    mapping, offsets = load_mapping(RETAIL_MAPPING), Offsets(settings)
    files = Files.of(settings, mapping.name)
    publish_playbooks(settings)
    with prepare(RETAIL_FILE, mapping, folder=files.folder, rejects=files.rejects,
                 rows_max=rows_max) as prepared:
        drain(offsets, time.perf_counter())
        pids = {each.name: each.pid for each in processes.status(settings) if each.pid}
        cpu = {name: cpu_of(pid) for name, pid in pids.items()}
        began, own = time.perf_counter(), own_cpu()
        produce(settings, prepared, mapping, ProgressFile(files.progress), Progress("bench"),
                days_per_s=None, watch=lambda _: None)
        sent_s, sent_cpu = time.perf_counter() - began, own_cpu() - own
        busy = drain(offsets, began)
        events = prepared.counts.events
    return {"events": events, "sent_s": sent_s, "busy_s": busy,
            "cpu_s": {"sender": sent_cpu, **{name: cpu_of(pid) - cpu[name]
                                             for name, pid in pids.items()}}}


def single(settings: Settings, *, rate: int, seconds: int) -> dict[str, Any]:
    """One event at a time on an idle road: milliseconds from its append."""
    bus = KafkaBus(settings, "bench")
    for item in load.items(LIVE, int(time.time() * 1000)):
        bus.item(item)
    text = load.playbook("bought", "wall").replace("mode: shadow", "mode: live")
    bus.playbook(from_yaml(text, LIVE, 1), text, version=1, published_ms=load.START_MS)
    bus.settle()
    count = rate * seconds
    for number in range(count):
        load.send(bus, *_event(number, "identify", traits={
            "email": f"p{number}@shop.example", "first_name": "Ada"}))
    bus.settle()
    time.sleep(_SETTLE_S)
    start = time.time()
    for number in range(count):
        load.send(bus, *_event(number, "purchase", item_id="item1", value=20.0, currency="EUR"))
        bus.settle()
        time.sleep(max(start + (number + 1) / rate - time.time(), 0))
    bus.close()
    time.sleep(_SETTLE_S)
    return _latency(settings)


def _event(number: int, kind: str, **fields: Any) -> tuple[bytes, dict[str, Any]]:
    person = f"p{number}"
    return person.encode(), {
        "event_id": f"{kind}-{number}", "event_type": kind, "event_ms": int(time.time() * 1000),
        "tenant": LIVE, "source": "bench", "user_id": person,
        "consent": {"measure": True, "personalise": True, "contact": True}, **fields}


def _latency(settings: Settings) -> dict[str, Any]:
    appended: dict[str, int] = {}
    hops: dict[str, list[float]] = {}
    for topic, field, hop in _HOPS:
        for partition in range(settings.partitions):
            for _, value in read_whole(settings, topic, partition):
                if not value or not contract(topic).is_mine(value):
                    continue
                fields = contract(topic).decode(value)
                if fields["tenant"] == LIVE and fields.get(field):
                    since = appended.setdefault(fields["decision_id"],
                                                fields.get("trigger_appended_ms", 0))
                    hops.setdefault(hop, []).append(fields[field] - since)
    return {hop: {"count": len(ms), "p50_ms": quantile(ms, 0.5), "p99_ms": quantile(ms, 0.99)}
            for hop, ms in hops.items()}


def run(rows_max: int, *, rate: int, seconds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kairos-bench-") as folder:
        settings = settings_of(Path(folder) / "home")
        secrets.ensure(settings)
        try:
            processes.up(settings, [part for part in parts.roster(settings) if part.name != "web"])
            before = calibrate()
            return {"cores": os.cpu_count(), "flood": flood(settings, rows_max),
                    "idle": idle(settings),
                    "latency": single(settings, rate=rate, seconds=seconds),
                    "calibration_s": [before, calibrate()]}
        finally:
            processes.down(settings)


def show(result: dict[str, Any]) -> None:
    found, cores = result["flood"], result["cores"]
    events, busy, cpu = found["events"], found["busy_s"], found["cpu_s"]
    road_s = max(busy[stage] for stage in pipeline.BY_NAME)
    print(f"{events:,} events, sent in {found['sent_s']:.1f} s; calibration loop "
          f"{result['calibration_s'][0]:.3f} s before, {result['calibration_s'][1]:.3f} s after")
    print("through after: " + ", ".join(f"{name} {s:.1f} s" for name, s in busy.items()))
    print(f"road {events / road_s:,.0f} events/s; with the sink "
          f"{events / max(busy.values()):,.0f} events/s")
    used = sum(cpu.values())
    print(f"CPU {used:.1f} s of {cores} x {max(busy.values()):.1f} s "
          f"({used / cores / max(busy.values()):.0%}), {used / events * 1e6:,.0f} us an event: "
          + ", ".join(f"{name} {s:.1f}" for name, s in sorted(cpu.items(), key=lambda x: -x[1])))
    print(f"idle: {sum(result['idle'].values()):.0%} of a core: " + ", ".join(
        f"{name} {share:.1%}" for name, share in result["idle"].items()))
    for hop, ms in result["latency"].items():
        print(f"{hop}: p50 {ms['p50_ms']:.0f} ms, p99 {ms['p99_ms']:.0f} ms ({ms['count']})")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=0, help="at most so many invoice lines; 0 all")
    options.add_argument("--rate", type=int, default=20, help="single events a second")
    options.add_argument("--seconds", type=int, default=15)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    result = run(asked.rows, rate=asked.rate, seconds=asked.seconds)
    if asked.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
