"""Changes of items: a shop says that an item is back in stock, or costs another price.

In       an `item_changed` event, sent to every partition of events.raw
Out      an item_change record for the same partition of events.admitted, so that every lane of
         choose meets the change once, at one place of its log | Poisoned
Keeps    nothing
Refuses  nothing
Time     the event's own is the moment of the change
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from streams.engine.records import Record
from streams.kernel.money import to_micros
from streams.kernel.outcomes import Poisoned

ITEM_CHANGED: Final = "item_changed"


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
