"""The load of the benchmark: people who look, fill carts and buy, by Zipf; JSON as apps send it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson
from confluent_kafka import Producer

from streams import pipeline
from streams.settings import Settings

TENANT = "bench"
START_MS = 1_600_000_000_000
PLAYBOOKS = {
    "bought": "{event: {on: purchase}}",
    "left": "{absence: {after: cart_add, without: purchase, within: 30m, per: cart_id}}",
}
_FORM = """\
playbook: {name}
trigger: {trigger}
purpose: contact
channels: [email]
brief: Thank the person or remind them.
facts: [item.title, item.price, item.url]
variants: {{reminder: {{strategy: reminder}}, help: {{strategy: helpful}}}}
cap: {{messages: 100, per: 1d}}
cooldown: 0s
expires: 24h
conversion: {{event: purchase, within: 3d}}
holdout: 10%
mode: shadow
clock: {clock}
"""
_KINDS = ("page_view", "product_view", "product_view", "search", "cart_add", "purchase")
_CONSENT = {"measure": True, "personalise": True, "contact": True, "train": True}


def playbook(name: str, clock: str) -> str:
    return _FORM.format(name=name, trigger=PLAYBOOKS[name], clock=clock)


def events(count: int, *, seed: int, people: int, start_ms: int = START_MS, step_ms: int = 400,
           tenant: str = TENANT) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """`count` events in the order of their time, with the key an app would use."""
    dice = random.Random(seed)
    for number in range(count):
        person = f"u{int(people * dice.random() ** 2)}"
        event = {
            "event_id": f"{tenant}-{seed}-{number}", "event_type": dice.choice(_KINDS),
            "event_ms": start_ms + number * step_ms, "tenant": tenant, "source": "bench",
            "user_id": person, "item_id": f"item{dice.randrange(200)}",
            "cart_id": f"{person}-{dice.randrange(2)}", "value": 20.0, "currency": "EUR",
            "consent": _CONSENT}
        yield person.encode(), event


def items() -> Iterator[dict[str, Any]]:
    for number in range(200):
        yield {"tenant": TENANT, "item_id": f"item{number}", "title": f"Oak table {number}",
               "category": "tables", "price_micros": 20_000_000 + number, "currency": "EUR",
               "url": f"https://shop.example.com/item{number}", "in_stock": True,
               "attributes_json": "", "as_of_ms": START_MS}


class Pump:
    """Produces events, and the tenant's clock to every partition."""

    def __init__(self, settings: Settings, tenant: str = TENANT) -> None:
        self._settings, self._tenant, self._ticks = settings, tenant, 0
        self._producer = Producer({**settings.kafka_client, "partitioner": "murmur2_random",
                                   "acks": "all", "compression.type": "lz4", "linger.ms": 2,
                                   "queue.buffering.max.messages": 1_000_000})

    def send(self, key: bytes, event: dict[str, Any]) -> None:
        self._producer.produce(pipeline.RAW, orjson.dumps(event), key)
        self._producer.poll(0)

    def clock(self, at_ms: int) -> None:
        self._producer.flush(60)
        for partition in range(self._settings.partitions):
            self._ticks += 1
            tick = {"event_id": f"clock-{self._tenant}-{self._ticks}", "event_type": "clock",
                    "event_ms": at_ms, "tenant": self._tenant}
            self._producer.produce(pipeline.RAW, orjson.dumps(tick), b"clock", partition)
        self._producer.flush(60)
