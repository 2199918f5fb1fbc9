"""Triggers: is this a moment to speak?

In       an admitted event, or a watermark; the person's features and segments
Out      Moments: playbook, time, object, items, evidence
Keeps    per playbook: watches (absence, recency), the last truth of an edge condition
Refuses  nothing
Time     event time; see `watches` for absence
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from streams.choose import watches
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.playbooks.conditions import holds
from streams.playbooks.model import Playbook


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of need. `appended_ms`: broker time of what made us notice."""

    playbook: Playbook
    moment_ms: int
    event_id: str
    object_id: str
    items: tuple[str, ...]
    appended_ms: int
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Person:
    """What a trigger may ask about the person, as of one moment."""

    feature: Callable[[str], float | None]
    in_segment: Callable[[str], bool]


def object_of(event: dict[str, Any], per: str) -> str:
    return str(event[per]) if per else ""


def on_event(playbooks: Iterable[Playbook], kept: dict[str, Any], event: dict[str, Any],
             items: tuple[str, ...], person: Person) -> list[Moment]:
    """Let every playbook look at one event; returns the moments that it makes at once.

    `kept` is the person's trigger state {playbook: {...}}; changed in place.
    """
    found = []
    for playbook in playbooks:
        trigger = playbook.trigger
        if trigger.kind in ("absence", "recency"):
            _watch(playbook, kept.setdefault(playbook.name, {}), event, items, person)
            if not kept[playbook.name]:
                del kept[playbook.name]
        elif trigger.kind == "edge":
            if _rises(playbook, kept, person):
                found.append(_at_event(playbook, event, items))
        elif trigger.event == event["event_type"] and _when(playbook, person):
            found.append(_at_event(playbook, event, items))
    return found


def on_watermark(playbooks: Iterable[Playbook], kept: dict[str, Any], watermark_ms: int,
                 appended_ms: int) -> list[Moment]:
    """The moments that have become certain by `watermark_ms`."""
    found = []
    for playbook in playbooks:
        own = kept.get(playbook.name)
        if own is None or playbook.trigger.kind not in ("absence", "recency"):
            continue
        for ripe in watches.take_ripe(own, watermark_ms):
            evidence = {"after": playbook.trigger.event, "at_ms": ripe.anchor_ms,
                        "event_id": ripe.event_id, "object": ripe.object_id,
                        "without": playbook.trigger.without or playbook.trigger.event,
                        "until_ms": ripe.deadline_ms}
            found.append(Moment(playbook, ripe.deadline_ms, ripe.event_id, ripe.object_id,
                                ripe.items, appended_ms, evidence))
        if not own:
            del kept[playbook.name]
    return found


def next_deadline_ms(kept: dict[str, Any]) -> int | None:
    """The earliest deadline among all watches of the person."""
    deadlines = (watches.next_deadline_ms(own) for own in kept.values())
    return min((d for d in deadlines if d is not None), default=None)


def _watch(playbook: Playbook, own: dict[str, Any], event: dict[str, Any], items: tuple[str, ...],
           person: Person) -> None:
    trigger = playbook.trigger
    kind, object_id = event["event_type"], object_of(event, trigger.per)
    if trigger.without and kind == trigger.without:
        watches.cancel(own, object_id=object_id, event_ms=event["event_ms"])
    if kind == trigger.event and (object_id or not trigger.per) and _when(playbook, person):
        within_ms = _within_ms(playbook, person)
        if within_ms is not None:
            watches.anchor(own, object_id=object_id, event_ms=event["event_ms"],
                           within_ms=within_ms, event_id=event["event_id"], items=items)


def _within_ms(playbook: Playbook, person: Person) -> int | None:
    """The span of the watch; for a recency of `times` the person's own mean gap, if known.

    Two orders in one afternoon say nothing about when the next is due: gaps below an hour are
    not extrapolated.
    """
    trigger = playbook.trigger
    if trigger.kind == "absence" or trigger.times == 0.0:
        return trigger.within_ms
    orders, gap_days = person.feature("orders_lifetime"), person.feature("mean_gap_days")
    if orders is None or orders < trigger.events_min or gap_days is None:
        return None
    within_ms = int(gap_days * trigger.times * DAY_MS)
    return within_ms if within_ms >= HOUR_MS else None


def _when(playbook: Playbook, person: Person) -> bool:
    condition = playbook.trigger.when
    return condition is None or holds(condition, person.feature, person.in_segment)


def _rises(playbook: Playbook, kept: dict[str, Any], person: Person) -> bool:
    """True once when the condition turns true; armed again by its turning false."""
    now = _when(playbook, person)
    was = kept.get(playbook.name, {}).get("on", False)
    if now and not was:
        kept.setdefault(playbook.name, {})["on"] = True
    elif was and not now:
        kept.pop(playbook.name, None)
    return now and not was


def _at_event(playbook: Playbook, event: dict[str, Any], items: tuple[str, ...]) -> Moment:
    evidence = {"event": event["event_type"], "event_id": event["event_id"],
                "at_ms": event["event_ms"]}
    return Moment(playbook, event["event_ms"], event["event_id"],
                  object_of(event, playbook.trigger.per), items[:watches.ITEMS_MAX],
                  event["appended_ms"], evidence)


def interests(playbooks: Iterable[Playbook]) -> frozenset[str] | None:
    """Event types that can matter to any of the playbooks; None: all of them."""
    found: set[str] = set()
    for playbook in playbooks:
        if playbook.trigger.kind == "edge":
            return None
        found |= {playbook.trigger.event, playbook.trigger.without} - {""}
    return frozenset(found)
