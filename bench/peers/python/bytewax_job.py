"""The workloads on Bytewax: state in its recovery store, an epoch an interval."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import orjson
import told
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from row import Row

from bench.signal.workloads import (
    COUNT_EVERY,
    HOPPING_CENTS,
    HOPPING_SIZE_MS,
    HOPPING_STEP_MS,
    KINDS,
)

Event = tuple[int, int, int]                     # kind, ms, cents
_KIND = {name: number for number, name in enumerate(KINDS)}


def read(messages: list[Any]) -> Iterable[tuple[str, Event]]:
    for message in messages:
        event = orjson.loads(message.value)
        yield event["user_id"], (_KIND[event["event_type"]], event["event_ms"],
                                 event["value_cents"])


def counts(before: int | None, event: Event) -> tuple[int, list[int]]:
    now = (before or 0) + 1
    return now, [event[1]] if now % COUNT_EVERY == 0 else []


def features(row: Row | None, event: Event) -> tuple[Row, list[int]]:
    row = Row() if row is None else row
    return row, [event[1]] if row.add(*event) else []


def hopping(windows: dict[int, int] | None, event: Event) -> tuple[dict[int, int], list[int]]:
    """By hand: Bytewax' own windows give their sums only when they close."""
    _, ms, cents = event
    newest = ms // HOPPING_STEP_MS * HOPPING_STEP_MS
    oldest = newest - HOPPING_SIZE_MS + HOPPING_STEP_MS
    kept = {start: total for start, total in (windows or {}).items() if start >= oldest}
    for start in range(oldest, newest + 1, HOPPING_STEP_MS):
        kept[start] = kept.get(start, 0) + cents
    fires = kept[oldest] - cents < HOPPING_CENTS <= kept[oldest]
    return kept, [ms] if fires else []


def record(fired: tuple[str, int]) -> KafkaSinkMessage[bytes, bytes]:
    user, ms = fired
    return KafkaSinkMessage(user.encode(), orjson.dumps({"user_id": user, "event_ms": ms}))


def main() -> None:
    flow = Dataflow("bench")
    messages = op.input("in", flow, KafkaSource([told.BOOTSTRAP], [told.SOURCE], tail=True))
    events = op.flat_map_batch("read", messages, read)
    mapper: Any = {"W1": counts, "W2": features, "W3": hopping}[told.WORKLOAD]
    fired = op.stateful_flat_map("state", events, mapper)
    op.output("out", op.map("record", fired, record), KafkaSink([told.BOOTSTRAP], told.OUT))
    store = Path(told.STATE, "recovery")
    if not store.exists():
        store.mkdir(parents=True)
        init_db_dir(store, 1)
    cli_main(flow, epoch_interval=timedelta(seconds=told.INTERVAL_S),
             recovery_config=RecoveryConfig(str(store)))


if __name__ == "__main__":
    main()
