"""How the storefront's apps put events on the wire: half of them JSON, half Avro; and the mess.

Bad traffic is sent on purpose, in known numbers, so that the accounting at the end can be checked
against what was really sent.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import orjson

from schemas import contract
from streams.kernel.moments import DAY_MS

Event = dict[str, Any]

# kind of mess -> where admission must put it
FATES = {"repeated": "duplicate", "cut_off": "quarantined", "not_text": "quarantined",
         "unknown_field": "quarantined", "wrong_type": "quarantined", "oversized": "quarantined",
         "from_the_future": "admitted", "ancient": "refused", "nobody": "refused"}


@dataclass(frozen=True, slots=True)
class Packet:
    """One message for events.raw.

    kind   "event", or what is wrong with it on purpose
    fate   where admission must put it: admitted, refused, quarantined or duplicate
    """

    key: bytes
    value: bytes
    kind: str = "event"
    fate: str = "admitted"


def packet(event: Event, *, key: str, avro: bool, agreed: bool) -> Packet:
    """`agreed`: whether the person allows anything at all; otherwise it must be refused."""
    value = _RAW.encode(event) if avro else orjson.dumps(event)
    return Packet(key.encode(), value, fate="admitted" if agreed else "refused")


def repeat(previous: Packet) -> Packet:
    """The very same bytes again. Only what was admitted can be a duplicate."""
    fate = FATES["repeated"] if previous.fate == "admitted" else previous.fate
    return Packet(previous.key, previous.value, "repeated", fate)


_RAW = contract("events.raw")


def mess(kind: str, dice: random.Random, *, tenant: str, now_ms: int, wall_ms: int, number: int,
         bytes_max: int) -> Packet:
    """One message with something wrong. `now_ms`: virtual time; `wall_ms`: the real one."""
    event: Event = {"event_id": f"mess-{number:05d}", "event_type": "page_view",
                    "event_ms": now_ms, "tenant": tenant, "source": "storefront-broken-app",
                    "user_id": f"visitor-{number:05d}", "consent": {"measure": True}}
    if kind == "unknown_field":
        event["shoe_size"] = dice.randint(35, 48)
    elif kind == "wrong_type":
        event["event_ms"] = {"when": "yesterday"}
    elif kind == "oversized":
        event["properties"] = {"note": "x" * (bytes_max + 1024)}
    elif kind == "from_the_future":
        event["event_ms"] = wall_ms + 2 * DAY_MS
    elif kind == "ancient":
        event["event_ms"] = now_ms - 400 * DAY_MS
    elif kind == "nobody":
        del event["user_id"]
    value = orjson.dumps(event)
    if kind == "cut_off":
        value = value[:-dice.randint(2, 30)]
    elif kind == "not_text":
        value = bytes([0xff]) + dice.randbytes(60)
    return Packet(f"visitor-{number:05d}".encode(), value, kind, FATES[kind])
