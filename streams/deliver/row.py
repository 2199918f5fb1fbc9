"""The row of deliver: what was sent to one person, and what became of every decision.

A view over the tail of a slab row (a small JSON-able dict):

    sends       decision id -> [state, offset, reason, attempts, sent_ms, dispatched_ms, marks]
    suppressed  channel -> mark of the address that bounced for good
    keep_ms     how long sends are remembered: 30 days, or the longest cap window seen

The offset tells a replay (same offset: say the same again) from a second message of the same
decision (another offset: `already_sent`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

State = Literal["reserved", "sent", "skipped", "failed"]
KEEP_MS: Final = 30 * 86_400_000
SENDS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Send:
    """What became of one decision at the exit.

    sent_ms is the tenant's time, dispatched_ms the wall clock; `confirmed`: the channel's yes
    already is a receipt; `bounced`: it came back.
    """

    state: State
    offset: int
    reason: str = ""
    attempts: int = 0
    sent_ms: int = 0
    dispatched_ms: int = 0
    confirmed: bool = False
    bounced: bool = False


class Row:
    """Reads and changes one tail in place."""

    def __init__(self, tail: dict[str, Any]) -> None:
        self._tail = tail

    def find(self, decision_id: str) -> Send | None:
        kept = self._tail.get("sends", {}).get(decision_id)
        return None if kept is None else Send(*kept)

    def put(self, decision_id: str, send: Send) -> None:
        sends = self._tail.setdefault("sends", {})
        sends[decision_id] = [send.state, send.offset, send.reason, send.attempts, send.sent_ms,
                              send.dispatched_ms, send.confirmed, send.bounced]

    def sent_ms(self, *, but: str) -> list[int]:
        """Times of what was sent or is being sent, except for the decision `but`."""
        return [kept[4] for decision_id, kept in self._tail.get("sends", {}).items()
                if kept[0] in ("sent", "reserved") and decision_id != but]

    def suppress(self, channel: str, mark: str) -> None:
        self._tail.setdefault("suppressed", {})[channel] = mark

    def suppressed(self, channel: str) -> str:
        """Mark of the address that bounced on `channel`, or ""."""
        mark = self._tail.get("suppressed", {}).get(channel, "")
        assert isinstance(mark, str)
        return mark

    def forget(self, *, now_ms: int, cap_per_ms: int) -> None:
        """Drop what no cap and no replay can ask for any more."""
        keep_ms = max(KEEP_MS, cap_per_ms, self._tail.get("keep_ms", 0))
        if keep_ms > KEEP_MS:
            self._tail["keep_ms"] = keep_ms
        sends = self._tail.get("sends", {})
        old = [key for key, kept in sends.items() if kept[4] <= now_ms - keep_ms]
        spare = len(sends) - len(old) - SENDS_MAX
        if spare > 0:
            fresh = sorted((kept[4], key) for key, kept in sends.items() if key not in set(old))
            old += [key for _, key in fresh[:spare]]
        for key in old:
            del sends[key]
