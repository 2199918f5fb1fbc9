"""The workloads on Quix Streams: RocksDB state with changelog topics, at least once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import told
from quixstreams import Application, State
from row import Row

from bench.signal.workloads import (
    ABSENCE_MS,
    COUNT_EVERY,
    HOPPING_CENTS,
    HOPPING_SIZE_MS,
    HOPPING_STEP_MS,
    KINDS,
    TICK,
)

Fields = dict[str, Any]
_KIND = {name: number for number, name in enumerate(KINDS)}


def firing(user: str, ms: int) -> Fields:
    return {"user_id": user, "event_ms": ms}


def counts(event: Fields, state: State) -> Fields | None:
    now = state.get("count", 0) + 1
    state.set("count", now)
    return firing(event["user_id"], event["event_ms"]) if now % COUNT_EVERY == 0 else None


def features(event: Fields, state: State) -> Fields | None:
    row = Row(state.get_bytes("row"))
    holds = row.add(_KIND[event["event_type"]], event["event_ms"], event["value_cents"])
    state.set_bytes("row", bytes(row))
    return firing(event["user_id"], event["event_ms"]) if holds else None


def first_sum(event: Fields) -> list[Any]:
    return [event["value_cents"], event["value_cents"], event["user_id"], event["event_ms"]]


def next_sum(before: list[Any], event: Fields) -> list[Any]:
    return [before[0] + event["value_cents"], *first_sum(event)[1:]]


def crossing(window: Fields) -> Fields | None:
    """A firing when the window is the oldest that holds its newest event, and was lifted by it."""
    total, cents, user, ms = window["value"]
    oldest = window["end"] - ms <= HOPPING_STEP_MS
    return firing(user, ms) if oldest and total - cents < HOPPING_CENTS <= total else None


def newest(event: Fields) -> list[Any]:
    return [event["event_type"], event["user_id"], event["event_ms"]]


def left_cart(session: Fields) -> Fields | None:
    """Sessions of carts and purchases end after half an hour; ending in a cart is absence."""
    kind, user, ms = session["value"]
    return firing(user, ms) if kind == "cart_add" else None


def main() -> None:
    app = Application(told.BOOTSTRAP, consumer_group=told.GROUP, auto_offset_reset="earliest",
                      commit_interval=told.INTERVAL_S, state_dir=told.STATE, loglevel="WARNING",
                      # A restarted process takes its partitions back at once.
                      consumer_extra_config={"group.instance.id": "bench"})
    events = app.dataframe(app.topic(
        told.SOURCE, key_deserializer="str", value_deserializer="json",
        timestamp_extractor=lambda value, headers, ms, kind: value["event_ms"]))
    if told.WORKLOAD == "W1":
        fired = events.apply(counts, stateful=True)
    elif told.WORKLOAD == "W2":
        fired = events.apply(features, stateful=True)
    elif told.WORKLOAD == "W3":
        fired = events.hopping_window(timedelta(milliseconds=HOPPING_SIZE_MS),
                                      timedelta(milliseconds=HOPPING_STEP_MS)).reduce(
            next_sum, first_sum).current().apply(crossing)
    else:
        events = events.filter(lambda event: event["event_type"] in ("cart_add", "purchase", TICK))
        fired = events.session_window(timedelta(milliseconds=ABSENCE_MS)).reduce(
            lambda before, event: newest(event), newest, lambda earlier, later: later).final(
            closing_strategy="partition").apply(left_cart)
    fired.filter(lambda found: found is not None).to_topic(
        app.topic(told.OUT, value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main()
