"""Segment: the person enters or leaves one, by an event or because a window lapsed.

In       the changes that the segments step has just found
Keeps    nothing: the row keeps the segments themselves
Time     the change's own; its deterministic id is in the evidence
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from streams.choose.triggers.moment import ITEMS_MAX, Moment
from streams.playbooks.model import Playbook


@dataclass(frozen=True, slots=True)
class Change:
    """The person entered `segment` (or left it). `change_id`: as in segments.changed."""

    segment: str
    entered: bool
    change_id: str


def on_segments(playbooks: Iterable[Playbook], changes: Iterable[Change], at_ms: int,
                appended_ms: int, event: dict[str, Any] | None = None,
                items: tuple[str, ...] = ()) -> list[Moment]:
    """The moments that `changes` make. `event` is what caused them; None: time alone."""
    found = []
    for change in changes:
        for playbook in playbooks:
            trigger = playbook.trigger
            if (trigger.kind, trigger.segment, trigger.enters) == ("segment", change.segment,
                                                                   change.entered):
                evidence: dict[str, Any] = {
                    "segment": change.segment, "entered": change.entered, "at_ms": at_ms,
                    "change_id": change.change_id, "cause": "lapse"}
                if event is not None:
                    evidence |= {"cause": "event", "event": event["event_type"],
                                 "event_id": event["event_id"]}
                event_id = change.change_id if event is None else event["event_id"]
                found.append(Moment(playbook, at_ms, event_id, "", items[:ITEMS_MAX], appended_ms,
                                    evidence))
    return found
