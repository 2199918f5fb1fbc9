"""Changes of items: one is back in stock, or costs another price.

In       a record of catalogue.items; or an `item_changed` event, sent to every partition of
         events.raw by a shop that publishes no catalogue
Out      an item_change record: of the catalogue's for every partition of events.admitted, of an
         event for its own; so every lane of choose meets the change at one place of its log |
         Poisoned
Keeps    price and stock of every item, as the catalogue told them last
Refuses  nothing
Time     the record's `as_of_ms`, or the event's own, is the moment of the change; what the
         catalogue says of an earlier moment than it did before changes nothing
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from streams.engine.records import Record
from streams.engine.slab import Slab
from streams.kernel.money import to_micros
from streams.kernel.outcomes import Poisoned

ITEM_CHANGED: Final = "item_changed"


def item_key(tenant: str, item_id: str) -> bytes:
    return b"i:" + f"{tenant}/{item_id}".encode()


def learn(slab: Slab, item: Mapping[str, Any], record: Record) -> dict[str, Any] | None:
    """Keep what the catalogue says of an item; the record of the change, when it is back in stock
    or costs another price. Of an item that was not heard of before nothing has changed, and
    nobody waits to hear that something is sold out."""
    key = item_key(item["tenant"], item["item_id"])
    known = slab.find(key)
    was = None if known is None else slab.tails[known]
    if was is not None and item["as_of_ms"] < was["at"]:
        return None
    slot = slab.slot(key)
    slab.tails[slot] = {"at": item["as_of_ms"], "price": item["price_micros"],
                        "currency": item["currency"], "stock": item["in_stock"]}
    slab.mark_due(slot)
    if was is None or not item["in_stock"] or (was["price"], was["currency"], was["stock"]) == (
            item["price_micros"], item["currency"], True):
        return None
    comparable = was["currency"] == item["currency"]
    return {"tenant": item["tenant"], "item_id": item["item_id"], "as_of_ms": item["as_of_ms"],
            "price_before_micros": was["price"] if comparable else 0,
            "price_micros": item["price_micros"], "currency": item["currency"],
            "was_in_stock": was["stock"], "in_stock": item["in_stock"],
            "appended_ms": record.appended_ms}


def withdraw(slab: Slab, record: Record) -> None:
    """The catalogue dropped an item: until it is told of again, it cannot be bought."""
    slot = slab.find(b"i:" + record.key)
    if slot is not None and slab.tails[slot]["stock"]:
        slab.tails[slot] = {**slab.tails[slot], "stock": False}
        slab.mark_due(slot)


def read(event: Mapping[str, Any], record: Record) -> dict[str, Any] | Poisoned:
    """The record of the change; flags that are left out are true, prices not known."""
    said = orjson.loads(event["properties"] or "{}")
    if not event["item_id"]:
        return Poisoned("missing_field", "item_id", "is missing; say which item has changed")
    for name in ("was_in_stock", "in_stock"):
        if not isinstance(said.get(name, True), bool):
            return Poisoned("wrong_type", f"properties.{name}", "must be true or false")
    prices = {"price": event["price"] or 0, "properties.price_before": said.get("price_before", 0)}
    for name, price in prices.items():
        if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price <= 1e9:
            return Poisoned("bad_value", name, "must be an amount from 0 to 1e9, in whole units")
    return {"tenant": event["tenant"], "item_id": event["item_id"], "as_of_ms": event["event_ms"],
            "price_before_micros": to_micros(prices["properties.price_before"]),
            "price_micros": to_micros(prices["price"]), "currency": event["currency"] or "",
            "was_in_stock": said.get("was_in_stock", True), "in_stock": said.get("in_stock", True),
            "appended_ms": record.appended_ms}
