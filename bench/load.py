"""The load of the benchmark: people who look, fill carts and buy, by Zipf; JSON as apps send it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson

from streams.adapters.history import KafkaBus
from streams.playbooks.loading import from_yaml

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


def items(tenant: str, as_of_ms: int) -> Iterator[dict[str, Any]]:
    for number in range(200):
        yield {"tenant": tenant, "item_id": f"item{number}", "title": f"Oak table {number}",
               "category": "tables", "price_micros": 20_000_000 + number, "currency": "EUR",
               "url": f"https://shop.example.com/item{number}", "in_stock": True,
               "attributes_json": "", "as_of_ms": as_of_ms}


def send(bus: KafkaBus, key: bytes, event: dict[str, Any]) -> None:
    bus.event(key, orjson.dumps(event))


def publish(bus: KafkaBus, tenant: str, clock: str, as_of_ms: int) -> None:
    """The catalogue and the playbooks of the load, acknowledged."""
    for item in items(tenant, as_of_ms):
        bus.item(item)
    for name in PLAYBOOKS:
        text = playbook(name, clock)
        bus.playbook(from_yaml(text, tenant, 1), text, version=1, published_ms=START_MS)
    bus.settle()
