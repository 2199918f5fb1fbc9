"""Events and decisions as the sink would have landed them, and a ledger that says so."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from feature_twin import Fast, Heard, obvious

from streams.choose.features.spec import FeatureSpec
from streams.kernel.moments import DAY_MS

TENANT, STRIDE = "drifting", 1000
NOW_MS = int(time.time() * 1000)      # rows must be younger than their retention
TABLES = ("raw_events_admitted", "raw_decisions_made", "sink_batches")
Known = Callable[[str, int], Any]           # a feature's value as of a moment


class Client(Protocol):
    def raw_insert(self, table: str, *, insert_block: bytes, fmt: str) -> Any: ...


class Landed:
    """Rows by table. Person n has every STRIDE-th offset from n on, so that people interleave."""

    def __init__(self, specs: tuple[FeatureSpec, ...]) -> None:
        self.specs = specs
        self.by_name = {spec.name: spec for spec in specs}
        self.tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        for topic in ("events.admitted", "decisions.made"):
            self.ledger(topic, 10**9)

    def fill(self, client: Client) -> None:
        for table, rows in self.tables.items():
            client.raw_insert(table, fmt="JSONEachRow",
                              insert_block=b"\n".join(json.dumps(row).encode() for row in rows))

    def ledger(self, topic: str, last_offset: int, topic_id: str = "t", **more: Any) -> None:
        self.tables["sink_batches"] += [
            {"topic": topic, "topic_id": topic_id, "partition": partition, "first_offset": 0,
             "last_offset": last_offset, "rows": 1, "token": f"{topic}{topic_id}{partition}",
             **more} for partition in (0, 1)]

    def event(self, person: int, heard: Heard, number: int, **fields: Any) -> None:
        """Event `number` of a person. Half of the items come as lines."""
        as_lines = number % 2 and heard.item
        self.tables["raw_events_admitted"].append({
            "tenant": TENANT, "profile_id": f"p{person}", "event_id": f"e{number}",
            "source": "app", "event_type": heard.event_type, "event_ms": heard.event_ms,
            "value_micros": round(heard.value * 1_000_000), "quantity": heard.quantity,
            "item_id": "" if as_lines else heard.item, "category": heard.category,
            "properties_json": heard.properties,
            "lines_json": json.dumps([[heard.item, 1.0, 5]]) if as_lines else "",
            "purposes": 15, "origin_partition": 0, "origin_offset": self.at(person, number),
            "origin_sequence": 0, "_topic_id": "t", "_partition": person % 2,
            "_offset": self.at(person, number), "_appended_ms": NOW_MS, **fields})

    def decision(self, person: int, number: int, moment_ms: int,
                 values: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """A decision that event `number` of a person caused."""
        rows = self.tables["raw_decisions_made"]
        features = {name: {"value": value, "age_ms": None} for name, value in values.items()}
        rows.append({
            "decision_id": f"d{len(rows)}", "tenant": TENANT, "profile_id": f"p{person}",
            "moment_ms": moment_ms, "features_json": json.dumps(features),
            "origin_partition": person % 2, "origin_offset": self.at(person, number),
            "origin_sequence": 0, "_topic_id": "t", "_partition": person % 2,
            "_offset": len(rows), "_appended_ms": NOW_MS, **fields})
        return rows[-1]

    def at(self, person: int, number: int) -> int:
        return STRIDE * number + person

    def live(self, person: int, events: Sequence[Heard],
             knowing: Callable[[Sequence[Heard]], Known], dice: random.Random) -> None:
        """All the events of one person, and decisions at some of them: at the event's own time,
        which may be long past, and as a timer makes them, at any time after all that was heard."""
        for number, heard in enumerate(events):
            self.event(person, heard, number)
        for number in dice.sample(range(len(events)), 5):
            before = events[:number + 1]
            newest_ms, value = max(e.event_ms for e in before), knowing(before)
            for moment_ms in (before[-1].event_ms, newest_ms + dice.randrange(2 * DAY_MS),
                              newest_ms + dice.randrange(500 * DAY_MS)):
                self.decision(person, number, moment_ms, {
                    spec.name: rounded(value(spec.name, moment_ms))
                    for spec in self.specs})

    def by_twin(self, heard: Sequence[Heard]) -> Known:
        return lambda name, at_ms: obvious(self.by_name[name], list(heard), at_ms, self.by_name)

    def by_row(self, heard: Sequence[Heard]) -> Known:
        return Fast(self.specs).take(*heard).value


def rounded(value: Any) -> Any:
    """As a decision's snapshot is; texts are told as they are."""
    return round(value, 6) if isinstance(value, float) else value
