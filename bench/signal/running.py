"""One run of one system over one stream: started, watched, stopped, its firings compared."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.signal import topics
from bench.signal.data import Stream
from bench.signal.systems import Job, System
from bench.signal.topics import Firings
from bench.signal.watching import Processes
from bench.signal.workloads import EVENTS_MIN, FLOOR, FLOOR_EVERY, TWINS, Firing, seen_ms

POLL_S = 0.05
# No firing for so long means that none will come: what is missing then is reported as missing. Of
# the first events of a swept stream none fires: the slowest take in so many of these a second.
STALL_S, SWEPT_PER_S = 90.0, 10_000
# A shorter measurement says nothing: a system that works on large batches gives all at once.
SPAN_MIN_S = 0.5


@dataclass(frozen=True)
class Expected:
    """What the twin says."""

    workload: str
    firings: frozenset[Firing]


@dataclass(frozen=True)
class Result:
    """One measured run.

    events_per_s, cpu_us   from the first progress beyond the stream's warm-up to the last firing;
                           not a number when that took less than SPAN_MIN_S
    flushed_us             CPU µs per event with what follows up to the final checkpoint
    whole_us               CPU µs of the whole run, start included, per event
    rss_mb                 peak resident memory, all processes
    state_bytes            what lies in the system's state folder and in its own topics at the end
    profiles               users of the stream
    missing, unasked, twice  firings that differ from the twin's, and repeated ones
    """

    system: str
    workload: str
    events: int
    events_per_s: float
    cpu_us: float
    flushed_us: float
    whole_us: float
    rss_mb: float
    state_bytes: int
    profiles: int
    firings: int
    missing: int
    unasked: int
    twice: int
    calibration_s: float

    @property
    def equal(self) -> bool:
        return not (self.missing or self.unasked)


def expect(workload: str, stream: Stream) -> Expected:
    if workload == FLOOR:
        marks = np.flatnonzero(stream.offset % FLOOR_EVERY == FLOOR_EVERY - 1)
        names = (f"u{user:07d}" for user in stream.user[marks].tolist())
        return Expected(workload, frozenset(zip(names, stream.ms[marks].tolist(), strict=True)))
    # Of millions who come once, the slow twin need not keep all.
    some = stream.of_users_with(EVENTS_MIN[workload])
    return Expected(workload, frozenset(TWINS[workload](some.events())))


def measure(system: System, job: Job, stream: Stream, expected: Expected, *,
            calibration_s: float) -> Result:
    """Run to the last expected firing, then until the last checkpoint has been made durable.

    Raises RuntimeError when the system ends by itself; its last words are in the message.
    """
    job.state.mkdir(parents=True)
    outputs = Firings(job.bootstrap, job.out, job.partitions)
    processes = Processes(system.commands(job), job.state.with_suffix(".log"))
    try:
        await_firings(processes, outputs, expected.firings, swept=stream.swept)
        processes.sample()
        await_flush(system, job, stream, processes, outputs)
        return _result(system, job, stream, expected, processes, outputs, calibration_s)
    finally:
        processes.stop()
        outputs.close()


def await_firings(processes: Processes, outputs: Firings, wanted: frozenset[Firing], *,
                  swept: int = 0) -> None:
    """Come back when all `wanted` have come out, or when nothing more comes; the first comes after
    `swept` events.

    Raises RuntimeError when the system ends by itself.
    """
    moved, last = time.monotonic(), 0
    while len(outputs.distinct) < len(wanted) or not wanted <= outputs.distinct:
        outputs.poll(POLL_S)
        processes.sample()
        if not processes.all_alive():
            raise RuntimeError(f"it ended by itself; its log ends with\n{processes.last_words()}")
        if len(outputs.distinct) > last:
            moved, last = time.monotonic(), len(outputs.distinct)
        if time.monotonic() - moved > STALL_S + (0 if last else swept / SWEPT_PER_S):
            return


def await_flush(system: System, job: Job, stream: Stream, processes: Processes,
                outputs: Firings) -> None:
    """Until the committed offsets say that all is durable, or for an interval and a half."""
    deadline = time.monotonic() + 1.5 * job.interval_s + 2
    todo = sum(stream.ends())
    while time.monotonic() < deadline:
        outputs.poll(0.25)
        processes.sample()
        if system.commits and topics.committed(job.bootstrap, job.group, job.source,
                                               job.partitions) >= todo:
            return


def _result(system: System, job: Job, stream: Stream, expected: Expected, processes: Processes,
            outputs: Firings, calibration_s: float) -> Result:
    begin, end = progress(stream, job.workload, outputs)
    (begin_ms, begin_events), (end_ms, end_events) = begin, end
    events = max(1, end_events - begin_events)
    seen = outputs.distinct
    span_s = (end_ms - begin_ms) / 1000
    long_enough = span_s >= SPAN_MIN_S
    return Result(
        system.name if job.form == "json" else f"{system.name}-{job.form}", job.workload,
        len(stream), events / span_s if long_enough else math.nan,
        (processes.cpu_at(end_ms) - processes.cpu_at(begin_ms)) / events * 1e6
        if long_enough else math.nan,
        (processes.samples[-1][1] - processes.cpu_at(begin_ms))
        / max(1, len(stream) - begin_events) * 1e6,
        processes.samples[-1][1] / len(stream) * 1e6,
        processes.rss_peak_mb(), stored_bytes(job), len(np.unique(stream.user)), len(seen),
        len(expected.firings - seen), len(seen - expected.firings), len(outputs.at) - len(seen),
        calibration_s)


def progress(stream: Stream, workload: str,
             outputs: Firings) -> tuple[tuple[int, int], tuple[int, int]]:
    """((unix ms, events done) when the warm-up was done, the same at the last firing).

    A firing shows how far its partition has come: to the event whose time it carries.
    """
    by_partition = [stream.ms[stream.partition == p] for p in range(stream.partitions)]
    users = {f"u{user:07d}": partition for user, partition in zip(
        *(column.tolist() for column in _partitions(stream)), strict=True)}
    done, total = [0] * stream.partitions, 0
    points: list[tuple[int, int]] = []
    for at_ms, user, ms in sorted(outputs.at):
        partition = users.get(user)
        if partition is None:
            continue
        here = int(np.searchsorted(by_partition[partition], seen_ms(workload, ms), "right"))
        if here > done[partition]:
            total += here - done[partition]
            done[partition] = here
        points.append((at_ms, total))
    if not points:
        return (0, 0), (0, 0)
    begin = next(point for point in points if point[1] >= stream.warm
                 or point is points[-1])
    return begin, points[-1]


def _partitions(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    users, first = np.unique(stream.user, return_index=True)
    return users, stream.partition[first]


def stored_bytes(job: Job) -> int:
    """In the job's state folder, and in the topics that it made for itself, as they lie on disk."""
    own = [path for path in job.broker_log.iterdir()
           if path.name.startswith((job.group, f"changelog__{job.group}"))]
    return _folder_bytes(job.state) + sum(map(_folder_bytes, own))


def _folder_bytes(folder: Path) -> int:
    """Of regular files; a Kafka index is allocated ahead, and counts for nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):        # the system goes on while we look
            if path.is_file() and not path.is_symlink() and "index" not in path.suffix:
                total += path.stat().st_size
    return total
