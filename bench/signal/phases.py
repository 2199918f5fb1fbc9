"""Phases: where the CPU time of Kairos' own process goes, read inside it on a run of its own.

Functions of the road are wrapped by a stopwatch of thread CPU time that leaves out what is wrapped
further in; so phases add up to what the process used, but for librdkafka's own threads and the
event loop, which are the rest. The stopwatch costs something itself: such a run is no measurement.
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.measuring import own_cpu
from streams.adapters.consuming import BatchFeed
from streams.adapters.producing import Barrier, Outbox
from streams.choose.program import Program
from streams.engine import lane

START, REST = "start: imports, compiled code", "librdkafka's threads, event loop"
CONSUMER, DECODE, KERNEL, FIRINGS = "consumer", "decode", "kernel", "firings"
SEND, CHANGELOG, ROWS, REPORTS = ("send firings", "send changelog", "checkpoint: rows",
                                  "delivery reports")
ORDER = (START, CONSUMER, DECODE, KERNEL, FIRINGS, SEND, ROWS, CHANGELOG, REPORTS, REST)


class Stopwatch:
    """Seconds of CPU by phase, in every thread."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._started_s = -1.0

    def wrap(self, owner: Any, name: str, phase: str | Callable[..., str]) -> None:
        """Count the time in `owner.name` as `phase`, or as what that says of its arguments."""
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def timed(*args: Any, **more: Any) -> Any:
            if self._started_s < 0:
                self._started_s = own_cpu()
            found = phase if isinstance(phase, str) else phase(*args)
            begun, outer_inside = time.thread_time(), getattr(self._local, "inside", 0.0)
            self._local.inside = 0.0
            try:
                return inner(*args, **more)
            finally:
                spent = time.thread_time() - begun
                with self._lock:
                    self._seconds[found] += spent - self._local.inside
                self._local.inside = outer_inside + spent

        setattr(owner, name, timed)

    def save(self, path: Path) -> None:
        """Write {phase: seconds} as JSON."""
        whole = own_cpu()
        found = {START: max(self._started_s, 0.0), **self._seconds}
        path.write_text(json.dumps({**found, REST: max(0.0, whole - sum(found.values()))}))


def watch(logic: Any) -> Stopwatch:
    """Wrap what stands on the way of an event; `logic` is the job's stage."""
    stopwatch = Stopwatch()
    stopwatch.wrap(Program, "run", KERNEL)
    stopwatch.wrap(logic, "_batch", DECODE)
    stopwatch.wrap(logic, "walk", FIRINGS)
    stopwatch.wrap(lane, "rows_of", ROWS)
    stopwatch.wrap(Outbox, "send", _sent)
    stopwatch.wrap(Barrier, "reported", REPORTS)
    stopwatch.wrap(BatchFeed, "_turn", CONSUMER)
    return stopwatch


def _sent(_outbox: Outbox, emissions: Any, _barrier: Any) -> str:
    return CHANGELOG if emissions[0].topic.endswith("-changelog") else SEND
