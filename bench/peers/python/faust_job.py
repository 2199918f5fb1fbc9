"""The workloads on stock Faust: an agent that writes a table with a changelog."""

from __future__ import annotations

from typing import Any

import faust
import told
from row import Row

from bench.signal.workloads import COUNT_EVERY, KINDS

_KIND = {name: number for number, name in enumerate(KINDS)}

app = faust.App(told.GROUP, broker=f"kafka://{told.BOOTSTRAP}", store="memory://",
                topic_partitions=told.PARTITIONS, topic_disable_leader=True,
                broker_commit_interval=told.INTERVAL_S, datadir=told.STATE,
                broker_session_timeout=10, broker_heartbeat_interval=1,
                consumer_auto_offset_reset="earliest")
source = app.topic(told.SOURCE, key_type=bytes, value_serializer="json")
out = app.topic(told.OUT, value_serializer="json")
# The type of the values says how the changelog is read back: bytes as they are, numbers as JSON.
kept: Any = {"W1": int, "W2": bytes}[told.WORKLOAD]
table: Any = app.Table("table", key_type=str, value_type=kept, default=kept)


async def fire(event: dict[str, Any]) -> None:
    await out.send(value={"user_id": event["user_id"], "event_ms": event["event_ms"]})


async def count(stream: Any) -> None:
    async for event in stream:
        table[event["user_id"]] += 1
        if table[event["user_id"]] % COUNT_EVERY == 0:
            await fire(event)


async def features(stream: Any) -> None:
    async for event in stream:
        row = Row(table.get(event["user_id"]))
        holds = row.add(_KIND[event["event_type"]], event["event_ms"], event["value_cents"])
        table[event["user_id"]] = bytes(row)
        if holds:
            await fire(event)


app.agent(source)({"W1": count, "W2": features}[told.WORKLOAD])

if __name__ == "__main__":
    app.main()
