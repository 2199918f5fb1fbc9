"""What a trigger may ask of a person, and what it says when it is a moment to speak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streams.choose.triggers.interests import UNKNOWN, Features
from streams.playbooks.conditions import Known, features_in, holds, names_in
from streams.playbooks.model import Condition, Playbook

ITEMS_MAX = 5
OBJECTS_MAX = 16          # of one event; about more than these it is about the whole person


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of need.

    appended_ms   broker time of what made us notice
    evidence      the events and values that it rests on; part of the decision's record
    until_ms      when it loses its use though the playbook's `expires` is not over; 0: never
    """

    playbook: Playbook
    moment_ms: int
    event_id: str
    object_id: str
    items: tuple[str, ...]
    appended_ms: int
    evidence: dict[str, Any] = field(default_factory=dict)
    until_ms: int = 0

    @property
    def useful_until_ms(self) -> int:
        """After this a message would come too late; the playbook's `expires` at the latest."""
        expires_ms = self.moment_ms + self.playbook.expires_ms
        return min(expires_ms, self.until_ms) if self.until_ms else expires_ms


@dataclass(frozen=True, slots=True)
class Person:
    """What a trigger may ask about the person, as of one moment; `features`: what is declared.

    feature     its number; None: no value, or it is a text
    texts       its texts, none where it is a number or has no value
    reached_ms  how far the watermark of the person's tenant has come; below 0: it has not begun
    as_of_ms    the moment; 0: that of the event that is looked at
    """

    feature: Callable[[str], float | None]
    in_segment: Callable[[str], bool]
    features: Features = UNKNOWN
    texts: Callable[[str], list[str]] = lambda name: []
    reached_ms: int = -1
    as_of_ms: int = 0

    def holds(self, condition: Condition) -> bool:
        return holds(condition, self.feature, self.in_segment, Known(texts=self.texts))


def at_event(playbook: Playbook, event: dict[str, Any], items: tuple[str, ...],
             as_of_ms: int = 0, **evidence: Any) -> Moment:
    """The moment that `event` makes at once: its own, or `as_of_ms` if that is later, because what
    makes it one was read as of then."""
    return Moment(playbook, max(event["event_ms"], as_of_ms), event["event_id"],
                  object_of(event, playbook.trigger.per), items[:ITEMS_MAX], event["appended_ms"],
                  {"event": event["event_type"], "event_id": event["event_id"],
                   "at_ms": event["event_ms"], **evidence})


def object_of(event: dict[str, Any], per: str) -> str:
    """What the event is about: the value of the field `per`, or '' for the person."""
    return str(event[per]) if per else ""


def objects_of(event: dict[str, Any], per: str, items: tuple[str, ...]) -> tuple[str, ...]:
    """Every object that the event is about: a purchase of several items is about each of them.

    ('',) when it names none, or more than OBJECTS_MAX: it is then about the whole person.
    """
    own = object_of(event, per)
    found = {own: None, **dict.fromkeys(items)} if per == "item_id" else {own: None}
    objects = tuple(each for each in found if each)
    return objects if 0 < len(objects) <= OBJECTS_MAX else ("",)


def values_in(condition: Condition | None, person: Person) -> dict[str, Any]:
    """What `condition` was judged by: every feature's value, every segment's membership."""
    if condition is None:
        return {}
    return {**{name: person.texts(name) or person.feature(name)
               for name in sorted(features_in(condition))},
            **{name: person.in_segment(name) for name in sorted(names_in(condition, "segment"))}}
