"""Arrival: can I read you, are you whole, are you too old or too large?

In       a record of events.raw, its tenant's clock
Out      an event that keeps the contract | Poisoned | Refused | Clamped
Keeps    nothing
Refuses  too_late; from_the_future, where there is no present to clamp the event to
Time     the broker's (`appended_ms`) and the tenant's event clock; never reads a clock
"""

from __future__ import annotations

from typing import Any

from schemas.events import EventDecoder, Fault
from streams.admit.clocks import Clocks
from streams.admit.limits import AdmitLimits
from streams.engine.records import Record
from streams.engine.watermarks import NEVER
from streams.kernel.moments import show_moment, show_span
from streams.kernel.outcomes import Clamped, Poisoned, Refused

CLOCK = "clock"


def read(record: Record, decoder: EventDecoder, clocks: Clocks, limits: AdmitLimits,
         ) -> dict[str, Any] | Poisoned:
    """The event in `record`, or why there is none."""
    event = decoder.decode(record.value)
    if isinstance(event, Fault):
        return Poisoned(event.reason, event.field, event.detail)
    if event["tenant"] not in clocks and len(clocks) >= limits.tenants_max:
        return Poisoned("bad_value", "tenant", f"is new, and {limits.tenants_max} tenants are "
                        "known already; is it misspelt?")
    return event


def judge_time(event: dict[str, Any], record: Record, clocks: Clocks, limits: AdmitLimits,
               ) -> Refused | Clamped | None:
    """Refused when the event lies too far behind its tenant's clock; clamped to that clock when it
    lies ahead of the broker's."""
    event_ms, tenant = event["event_ms"], event["tenant"]
    clock_ms = clocks.event_mark_ms(tenant) if clocks.is_event(tenant) else record.appended_ms
    if event_ms > record.appended_ms + limits.future_ms:
        return _from_the_future(event, clock_ms, limits)
    if event["event_type"] == CLOCK:
        return None
    if clock_ms != NEVER and event_ms < clock_ms - limits.late_ms:
        return Refused("too_late", "event_ms", f"{show_moment(event_ms)} is more than "
                       f"{show_span(limits.late_ms)} before {show_moment(clock_ms)}, its "
                       f"tenant's clock; raise KAIROS_LATE_DAYS to admit it")
    return None


def _from_the_future(event: dict[str, Any], clock_ms: int, limits: AdmitLimits,
                     ) -> Refused | Clamped:
    """What happened did happen, only not yet: it counts as of its tenant's present. A clock that
    is wrong must not move anybody's time, and before the first clock event there is no present."""
    why = (f"{show_moment(event['event_ms'])} is more than {show_span(limits.future_ms)} after it "
           "was appended; ")
    remedy = "check the producer's clock, or raise KAIROS_FUTURE_MINUTES"
    if event["event_type"] == CLOCK or clock_ms == NEVER:
        return Refused("from_the_future", "event_ms", why + remedy)
    return Clamped("from_the_future", "event_ms",
                   f"{why}counted as of {show_moment(clock_ms)}: {remedy}", clock_ms)
