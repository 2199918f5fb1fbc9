"""Absence and recency: 'X on this object, then not Y within T', and 'quiet for as long as usual'.

In       events, then watermarks
Keeps    watches, by object; see `watches` for the law of time
Time     decided by the watermark alone: however late anybody looks, who bought in time is never
         told that they forgot

An absence is keyed by its object: two carts are two waits, and a purchase ends the wait of the
cart that it names. One that names no cart ends them all; per item, it ends those of all its lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streams.choose import watches
from streams.choose.triggers.moment import Moment, Person, object_of, objects_of
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.playbooks.model import Playbook


def on_event(playbook: Playbook, own: dict[str, Any], event: dict[str, Any],
             items: tuple[str, ...], person: Person) -> list[Moment]:
    trigger = playbook.trigger
    kind, object_id = event["event_type"], object_of(event, trigger.per)
    if trigger.without and kind == trigger.without:
        for ended in objects_of(event, trigger.per, items):
            watches.cancel(own, object_id=ended, event_ms=event["event_ms"])
    if kind == trigger.event and (object_id or not trigger.per):
        within_ms = _within_ms(playbook, person)
        if within_ms is not None:
            watches.anchor(own, object_id=object_id, event_ms=event["event_ms"],
                           within_ms=within_ms, event_id=event["event_id"], items=items)
    return []


def on_watermark(playbook: Playbook, own: dict[str, Any], watermark_ms: int, appended_ms: int,
                 reached_ms: int) -> list[Moment]:
    return [_moment_of(playbook, ripe, appended_ms)
            for ripe in watches.take_ripe(own, watermark_ms)]


def moments_of(playbooks: Iterable[Playbook], ripe: Sequence[tuple[str, watches.Ripe]],
               appended_ms: int) -> list[Moment]:
    """What ripe watches say, (playbook, watch) in any order: as `take_ripe` would have them."""
    return [_moment_of(playbook, watch, appended_ms)
            for playbook in playbooks
            for watch in sorted((watch for name, watch in ripe if name == playbook.name),
                                key=lambda watch: (watch.deadline_ms, watch.object_id))]


def _moment_of(playbook: Playbook, ripe: watches.Ripe, appended_ms: int) -> Moment:
    trigger = playbook.trigger
    return Moment(playbook, ripe.deadline_ms, ripe.event_id, ripe.object_id, ripe.items,
                  appended_ms,
                  {"after": trigger.event, "at_ms": ripe.anchor_ms, "event_id": ripe.event_id,
                   "object": ripe.object_id, "without": trigger.without or trigger.event,
                   "until_ms": ripe.deadline_ms})


def _within_ms(playbook: Playbook, person: Person) -> int | None:
    """The span of the watch; for a recency of `times` the person's own mean gap, if known.

    Two orders in one afternoon say nothing about when the next is due: gaps below an hour are
    not extrapolated.
    """
    trigger = playbook.trigger
    if trigger.kind == "absence" or trigger.times == 0.0:
        return trigger.within_ms
    rhythm = person.features.rhythms.get(trigger.event)
    if rhythm is None:          # `kairos plan` asks for both features
        return None
    count, gap_days = map(person.feature, rhythm)
    if count is None or count < trigger.events_min or gap_days is None:
        return None
    within_ms = int(gap_days * trigger.times * DAY_MS)
    return within_ms if within_ms >= HOUR_MS else None
