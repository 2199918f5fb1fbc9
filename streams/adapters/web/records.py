"""What a link or a provider tells us, as records of our topics. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from schemas import contract
from streams.deliver.links import Link
from streams.kernel import ids
from streams.pipeline import CONSENTS, RECEIPTS

Kind = Literal["delivered", "opened", "clicked", "bounced", "unsubscribed", "complained"]
KINDS: Final = ("delivered", "opened", "clicked", "bounced", "unsubscribed", "complained")
# Kinds after which nobody may write to the person any more, and what consents.changed calls them.
ENDINGS: Final = {"unsubscribed": "unsubscribe", "complained": "complaint", "bounced": "bounce"}


@dataclass(frozen=True, slots=True)
class Ready:
    """A record ready to publish."""

    topic: str
    key: bytes
    value: bytes
    partition: int


def _ready(topic: str, link: Link, key: str, fields: dict[str, Any], partitions: int) -> Ready:
    """The partition is the person's, whatever the key: stages join by partition."""
    return Ready(topic, key.encode(), contract(topic).encode(fields),
                 ids.partition_of(link.profile_id.encode(), partitions))


def receipt(link: Link, kind: Kind, *, event_ms: int, now_ms: int, partitions: int,
            machine: bool = False) -> Ready:
    """One receipt per decision and kind: repeats have the same id and are dropped downstream.

    A machine's receipt has an id of its own, so that it cannot hide the person's.
    """
    parts = (link.decision_id, kind, "machine") if machine else (link.decision_id, kind)
    return _ready(RECEIPTS, link, link.profile_id, {
        "receipt_id": ids.derive("receipt", *parts), "decision_id": link.decision_id,
        "tenant": link.tenant, "profile_id": link.profile_id, "channel": link.channel,
        "kind": kind, "event_ms": event_ms, "recorded_ms": now_ms, "machine": machine}, partitions)


def ending(link: Link, kind: Kind, *, event_ms: int, now_ms: int, partitions: int) -> Ready:
    """The withdrawal of consent to be contacted that follows an unsubscribe or a complaint."""
    return _ready(CONSENTS, link, f"{link.profile_id}|contact", {
        "tenant": link.tenant, "profile_id": link.profile_id, "purpose": "contact",
        "granted": False, "event_ms": event_ms, "origin": ENDINGS[kind], "basis": "consent",
        "evidence": link.decision_id, "recorded_ms": now_ms}, partitions)
