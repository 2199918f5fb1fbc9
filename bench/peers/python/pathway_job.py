"""The workloads on Pathway: stateful reducers, input journalled to disk.

Pathway works on batches of updates and gives the newest result of a group, so that a rule that must
be read at every event needs a reducer that sees them one by one; a group's value is its state and
what fired in the newest batch. Taking back the batch before is written with diff -1.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

import pathway as pw
import told
from row import Row

from bench.signal.workloads import (
    COUNT_EVERY,
    HOPPING_CENTS,
    HOPPING_SIZE_MS,
    HOPPING_STEP_MS,
    KINDS,
)

Value = tuple[bytes, tuple[int, ...]]
Updates = list[tuple[list[Any], int]]
_KIND = {name: number for number, name in enumerate(KINDS)}


class Event(pw.Schema):
    user_id: str
    event_type: str
    event_ms: int
    value_cents: int


def in_order(rows: Updates) -> list[list[Any]]:
    return sorted(row for row, times in rows for _ in range(times))


@pw.reducers.stateful_many
def counts(value: Value | None, rows: Updates) -> Value:
    count = int.from_bytes(value[0], "little") if value else 0
    fired = []
    for ms, _, _ in in_order(rows):
        count += 1
        if count % COUNT_EVERY == 0:
            fired.append(ms)
    return count.to_bytes(8, "little"), tuple(fired)


@pw.reducers.stateful_many
def features(value: Value | None, rows: Updates) -> Value:
    row = Row(value[0] if value else None)
    fired = [ms for ms, kind, cents in in_order(rows) if row.add(_KIND[kind], ms, cents)]
    return bytes(row), tuple(fired)


@pw.reducers.stateful_many
def hopping(value: Value | None, rows: Updates) -> Value:
    windows: dict[int, int] = pickle.loads(value[0]) if value else {}
    fired = []
    for ms, _, cents in in_order(rows):
        newest = ms // HOPPING_STEP_MS * HOPPING_STEP_MS
        oldest = newest - HOPPING_SIZE_MS + HOPPING_STEP_MS
        windows = {start: total for start, total in windows.items() if start >= oldest}
        for start in range(oldest, newest + 1, HOPPING_STEP_MS):
            windows[start] = windows.get(start, 0) + cents
        if windows[oldest] - cents < HOPPING_CENTS <= windows[oldest]:
            fired.append(ms)
    return pickle.dumps(windows), tuple(fired)


def main() -> None:
    broker = {"bootstrap.servers": told.BOOTSTRAP}
    # The broker's shortest session: after a kill the next process waits for it to end.
    events = pw.io.kafka.read({**broker, "group.id": told.GROUP, "auto.offset.reset": "earliest",
                               "session.timeout.ms": "6000"},
                              topic=told.SOURCE, schema=Event, format="json",
                              autocommit_duration_ms=50, name="events")
    reducer = {"W1": counts, "W2": features, "W3": hopping}[told.WORKLOAD]
    groups = events.groupby(pw.this.user_id).reduce(
        pw.this.user_id, value=reducer(pw.this.event_ms, pw.this.event_type, pw.this.value_cents))
    fired = groups.select(pw.this.user_id, event_ms=pw.this.value[1]).flatten(pw.this.event_ms)
    pw.io.kafka.write(fired, broker, told.OUT, format="json")
    store = pw.persistence.Backend.filesystem(os.path.join(told.STATE, "journal"))
    pw.run(monitoring_level=pw.MonitoringLevel.NONE, persistence_config=pw.persistence.Config(
        store, snapshot_interval_ms=int(told.INTERVAL_S * 1000)))


if __name__ == "__main__":
    main()
