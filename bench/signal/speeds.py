"""How fast each system was when it was last measured here: what half of its load is, in a run that
measures latency alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

from bench.signal.running import Result


def note(home: Path, result: Result) -> None:
    if not math.isnan(result.events_per_s):
        _file(home).write_text(json.dumps(
            {**_read(home), f"{result.system} {result.workload}": result.events_per_s}))


def half(home: Path, system: str, workload: str) -> float:
    """Events a second; 0 when it was never measured."""
    return _read(home).get(f"{system} {workload}", 0.0) / 2


def _read(home: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(_file(home).read_text()) if _file(home).exists() else {}
    return found


def _file(home: Path) -> Path:
    return home / "speeds.json"
