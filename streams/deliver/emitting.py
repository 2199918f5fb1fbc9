"""What the stage says of each message: one delivery row, its receipts, and a reason for silence.

A replay tells the same story from the row, with the same ids, so the first telling wins downstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streams.deliver import mime
from streams.deliver.row import Send
from streams.engine.records import Out, Record
from streams.kernel import ids
from streams.pipeline import DELIVERIES, RECEIPTS


@dataclass(slots=True)
class Story:
    """One record on its way through the stage. `fault`: the bytes could not be read."""

    record: Record
    message: Mapping[str, Any]
    fault: str = ""
    send: Send | None = None
    detail: str = ""


def tell(story: Story, out: Out, *, mail_from: str) -> None:
    """Emit everything about one message, in a fixed order."""
    out.at(story.record)
    if story.fault:
        out.quarantine("bad_avro", detail=story.fault)
        return
    message, send = story.message, story.send
    if send is None:
        return
    if send.reason != "already_sent":        # its one delivery row stands already
        _delivery(message, send, out, mail_from)
    for kind, happened in (("delivered", send.confirmed), ("bounced", send.bounced)):
        if happened:
            _receipt(message, send, kind, out)
    if send.state != "sent":
        out.refuse("skipped", send.reason, detail=story.detail, tenant=message["tenant"],
                   profile_id=message["profile_id"], decision_id=message["decision_id"],
                   playbook=message["playbook"], event_ms=message["moment_ms"])


def _delivery(message: Mapping[str, Any], send: Send, out: Out, mail_from: str) -> None:
    decision_id, attempted = message["decision_id"], send.attempts > 0
    provider_id = (mime.message_id(decision_id, mail_from) if message["channel"] == "email"
                   else decision_id)
    out.emit(DELIVERIES, message["profile_id"], {
        "delivery_id": ids.derive("delivery", decision_id), "decision_id": decision_id,
        "tenant": message["tenant"], "profile_id": message["profile_id"],
        "playbook": message["playbook"], "channel": message["channel"], "arm": message["arm"],
        "rung": message["rung"], "status": send.state, "reason": send.reason,
        "attempts": send.attempts, "provider_id": provider_id if attempted else "",
        "moment_ms": message["moment_ms"], "sent_ms": send.sent_ms,
        "dispatched_ms": send.dispatched_ms})


def _receipt(message: Mapping[str, Any], send: Send, kind: str, out: Out) -> None:
    decision_id = message["decision_id"]
    out.emit(RECEIPTS, message["profile_id"], {
        "receipt_id": ids.derive("receipt", decision_id, kind), "decision_id": decision_id,
        "tenant": message["tenant"], "profile_id": message["profile_id"],
        "channel": message["channel"], "kind": kind, "event_ms": send.sent_ms,
        "recorded_ms": send.dispatched_ms, "machine": False})
