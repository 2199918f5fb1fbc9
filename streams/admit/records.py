"""The records that admission emits: an admitted event, a receipt, a word on consent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from streams.admit.gate import Claim
from streams.engine.records import Record
from streams.kernel import ids, purposes
from streams.kernel.money import to_micros

RECEIPT_PREFIX: Final = "message_"
_PURPOSE_OF: Final = {bit: name for name, bit in purposes.BITS.items()}


def admitted(event: Mapping[str, Any], record: Record, *, profile_id: str, allowed: int,
             traits: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The admitted event, lighter by what its purposes do not cover.

    Search text never goes on. Free properties and coarse traits need `personalise`; the rest is
    what counting needs.
    """
    personal = bool(allowed & purposes.PERSONALISE)
    lines = event["lines"] or []
    quantity = event["quantity"]
    if quantity is None:
        quantity = sum((line["quantity"] for line in lines), 0.0)
    return {
        "event_id": event["event_id"], "tenant": event["tenant"], "source": event["source"],
        "event_type": event["event_type"], "event_ms": event["event_ms"],
        "appended_ms": record.appended_ms, "profile_id": profile_id,
        "item_id": event["item_id"] or "", "category": event["category"] or "",
        "cart_id": event["cart_id"] or "", "order_id": event["order_id"] or "",
        "quantity": quantity,
        "value_micros": 0 if event["value"] is None else to_micros(event["value"]),
        "currency": event["currency"] or "", "lines_json": _lines_json(lines),
        "properties_json": (event["properties"] or "") if personal else "",
        "locale": _trait(traits, "locale") if personal else "",
        "country": _trait(traits, "country") if personal else "",
        "timezone": _trait(traits, "timezone") if personal else "",
        "purposes": allowed}


def _trait(traits: Mapping[str, list[Any]], name: str) -> str:
    return str(traits[name][1]) if name in traits else ""


def _lines_json(lines: list[dict[str, Any]]) -> str:
    if not lines:
        return ""
    return orjson.dumps([[line["item_id"], line["quantity"], to_micros(line["price"])]
                         for line in lines]).decode()


def is_receipt(event: Mapping[str, Any]) -> bool:
    return str(event["event_type"]).startswith(RECEIPT_PREFIX)


def receipt(event: Mapping[str, Any], *, profile_id: str, now_ms: int) -> dict[str, Any]:
    """A receipts.received record; its id is the same on every replay."""
    kind = event["event_type"].removeprefix(RECEIPT_PREFIX)
    return {
        "receipt_id": ids.derive("receipt", event["tenant"], event["event_id"], kind),
        "decision_id": event["decision_id"], "tenant": event["tenant"],
        "profile_id": profile_id, "channel": event["channel"], "kind": kind,
        "event_ms": event["event_ms"], "recorded_ms": now_ms, "machine": False}


def consent_change(event: Mapping[str, Any], claim: Claim, *, profile_id: str, origin: str,
                   proof: str, now_ms: int) -> dict[str, Any]:
    """A consents.changed record."""
    bit, granted, event_ms = claim
    return {"tenant": event["tenant"], "profile_id": profile_id, "purpose": _PURPOSE_OF[bit],
            "granted": granted, "event_ms": event_ms, "origin": origin, "basis": "consent",
            "evidence": proof, "recorded_ms": now_ms}


def labels(event: dict[str, Any]) -> dict[str, Any]:
    """What a refusal says of an event: whose, from where, which, when. Nothing personal."""
    return {name: event[name] for name in ("tenant", "source", "event_id", "event_ms")}
