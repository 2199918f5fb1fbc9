"""Recheck: still agreed, still fresh, not too often?

In       a Message, what consent says now, the person's row, the tenant's time
Out      None (go on) | Refused
Keeps    nothing
Refuses  consent_withdrawn, suppressed, message_expired, capped, shadow
Time     the tenant's now comes in; never reads a clock
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams.kernel.outcomes import Refused
from streams.kernel.purposes import CONTACT


@dataclass(frozen=True, slots=True)
class Rules:
    """What the playbook says about sending. The defaults hold where it is not known (any more)."""

    cap_messages: int = 3
    cap_per_ms: int = 7 * 86_400_000
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How the person stands at this moment.

    denied      purposes that were denied or withdrawn, by the newest word
    suppressed  the channel gave this address up for good
    sent_ms     tenant's times of the messages sent to this person, any playbook, any order
    """

    denied: int = 0
    suppressed: bool = False
    sent_ms: Sequence[int] = ()


def tenant_now_ms(message: Mapping[str, Any], *, wall_ms: int, by_wall: bool = False) -> int:
    """The tenant's time: the decision's moment and what has passed since it was decided.

    by_wall   the tenant lives by the wall clock: no less than that, however late it was decided
    """
    passed_ms = max(0, wall_ms - int(message["decided_ms"]))
    now_ms = int(message["moment_ms"]) + passed_ms
    return max(now_ms, wall_ms) if by_wall else now_ms


def useful_until_wall_ms(message: Mapping[str, Any], *, by_wall: bool = False) -> int:
    """Wall clock at which the message stops being useful; `by_wall` as in `tenant_now_ms`."""
    useful_until_ms = int(message["useful_until_ms"])
    until_ms = int(message["decided_ms"]) + useful_until_ms - int(message["moment_ms"])
    return min(until_ms, useful_until_ms) if by_wall else until_ms


def sent_within(sent_ms: Sequence[int], *, now_ms: int, span_ms: int) -> int:
    """Messages sent in the `span_ms` before `now_ms` (rolling, not by calendar)."""
    return sum(1 for moment_ms in sent_ms if moment_ms > now_ms - span_ms)


def agreed(message: Mapping[str, Any], denied: int) -> bool:
    """Whether the person agrees to be contacted, by the message's purposes and what was denied."""
    return bool(message["purposes"] & CONTACT & ~denied)


def recheck(message: Mapping[str, Any], rules: Rules, standing: Standing, *,
            now_ms: int) -> Refused | None:
    """The first reason not to send, in the order of what weighs most; None to go on.

    Shadow comes last: a playbook in shadow mode shows what it would really have sent.
    """
    if not agreed(message, standing.denied):
        return Refused("consent_withdrawn", "purposes")
    if standing.suppressed:
        return Refused("suppressed", "channel", "this address bounced before")
    if now_ms > message["useful_until_ms"]:
        return Refused("message_expired", "useful_until_ms",
                       f"{now_ms - message['useful_until_ms']} ms too late")
    count = sent_within(standing.sent_ms, now_ms=now_ms, span_ms=rules.cap_per_ms)
    if count >= rules.cap_messages:
        return Refused("capped", "cap", f"{count} of {rules.cap_messages} messages were sent")
    if rules.shadow:
        return Refused("shadow", "mode")
    return None
