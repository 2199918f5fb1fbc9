"""What the harness tells a system: BENCH_* of the environment (bench/signal/systems.py)."""

from __future__ import annotations

import os

WORKLOAD = os.environ["BENCH_WORKLOAD"]
BOOTSTRAP = os.environ["BENCH_BOOTSTRAP"]
SOURCE = os.environ["BENCH_SOURCE"]
OUT = os.environ["BENCH_OUT"]
GROUP = os.environ["BENCH_GROUP"]
STATE = os.environ["BENCH_STATE"]
PARTITIONS = int(os.environ["BENCH_PARTITIONS"])
INTERVAL_S = float(os.environ["BENCH_INTERVAL_S"])
