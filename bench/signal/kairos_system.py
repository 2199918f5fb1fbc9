"""The slot of Kairos in the benchmark: its processes, with the settings that it runs with."""

from __future__ import annotations

from bench.signal.systems import System

# Filled where the engine's process is: a `System` as any other, named kairos (json and avro forms).
SYSTEMS: list[System] = []
