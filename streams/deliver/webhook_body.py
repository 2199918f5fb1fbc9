"""A webhook's final bytes: one JSON object, the same on every repeat of the same decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from streams.deliver.binding import Bound
from streams.deliver.links import Signer


def write(message: Mapping[str, Any], bound: Bound, signer: Signer) -> bytes:
    """The body to post. `receipt_token` is what the receiver hands back with its receipts."""
    link = next((piece for piece in bound.pieces if piece.kind == "link"), None)
    return orjson.dumps({
        "decision_id": message["decision_id"], "tenant": message["tenant"],
        "profile_id": message["profile_id"], "playbook": message["playbook"],
        "arm": message["arm"], "subject": bound.subject, "text": bound.text,
        "locale": message["locale"], "link": "" if link is None else link.href,
        "open_url": bound.pixel_url, "unsubscribe_url": bound.unsubscribe_url,
        "receipt_token": signer.token("receipt"), "moment_ms": message["moment_ms"],
        "useful_until_ms": message["useful_until_ms"]})
