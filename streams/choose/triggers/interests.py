"""Interests: which event types can matter to a trigger at all, for a filter before per-event work.

An event of another type may be left out, unless `is_alert(kept)`: the result is the same, because
each trigger passes over such events itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from streams.playbooks.conditions import TEXT_COMPARES
from streams.playbooks.model import Condition, Playbook, Trigger

_NONE: frozenset[str] = frozenset()
_TRIGGERS_MAX = 4096
# Kinds of features that only their own events can raise (True) or lower (False): a window loses
# what is old, the time since something grows by itself. Of other kinds time alone may do either.
_MOVED_BY_EVENTS = {
    True: {"count", "sum", "rate", "distinct", "decay", "max", "lifetime", "first", "last",
           "mean_gap", "sessions", "session", "rfm"},
    False: {"since", "min", "lifetime", "first", "last", "mean_gap", "session"}}


class Declared(Protocol):
    """What is asked of a declared feature: the event type it is made of ('*': any), its kind."""

    @property
    def name(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def max_age_ms(self) -> int: ...
    @property
    def where(self) -> tuple[str, ...]: ...


def rhythms(declared: Iterable[Declared]) -> dict[str, tuple[str, str]]:
    """{event type: (its lifetime feature, its mean_gap feature)}, for what has both, whatever they
    are called: with less nobody can say how often somebody does it."""
    found: dict[str, dict[str, str]] = {}
    for spec in declared:
        if spec.kind in ("lifetime", "mean_gap") and not spec.where:
            found.setdefault(spec.event, {}).setdefault(spec.kind, spec.name)
    return {event: (of["lifetime"], of["mean_gap"]) for event, of in found.items() if len(of) == 2}


class Features:
    """The declared features, as far as triggers must know them. Made once, shared by all people.

    Without any, every event may matter to a condition.
    """

    def __init__(self, declared: Iterable[Declared] = ()) -> None:
        self._declared = {spec.name: spec for spec in declared}
        self.rhythms = rhythms(self._declared.values())
        self._types: dict[Trigger, frozenset[str] | None] = {}

    def types_of(self, trigger: Trigger) -> frozenset[str] | None:
        """The event types that can matter to `trigger` while it is armed; None: all of them.

        A segment trigger hears of changes, not of events.
        """
        if trigger not in self._types:
            if len(self._types) >= _TRIGGERS_MAX:       # playbooks come and go
                self._types.clear()
            self._types[trigger] = self._work_out(trigger)
        return self._types[trigger]

    def _work_out(self, trigger: Trigger) -> frozenset[str] | None:
        if trigger.kind == "edge":
            return None if trigger.when is None else self._makes(trigger.when, True)
        if trigger.kind == "score":
            return _union(self._moves(name, up=weight >= 0) for name, weight in trigger.weights)
        if trigger.kind == "schedule" and not trigger.event:
            return None
        named = (trigger.event, trigger.without, *trigger.events,
                 *(step.event for step in trigger.steps))
        return frozenset(filter(None, named))

    def _makes(self, condition: Condition, wanted: bool) -> frozenset[str] | None:
        """Types of the events that can give `condition` the truth `wanted`."""
        if condition.op in ("all", "any"):
            return _union(self._makes(part, wanted) for part in condition.parts)
        if condition.op == "not":
            return self._makes(condition.parts[0], not wanted)
        if condition.op == "segment" or condition.compare in (
                "equals", *TEXT_COMPARES):
            return None
        return self._moves(condition.name,
                           up=(condition.compare in ("at_least", "above")) is wanted)

    def _moves(self, name: str, *, up: bool) -> frozenset[str] | None:
        """Types of the events that can raise the feature (or lower it)."""
        spec = self._declared.get(name)
        if spec is None or spec.event == "*" or spec.max_age_ms:
            return None
        return frozenset((spec.event,)) if spec.kind in _MOVED_BY_EVENTS[up] else None


UNKNOWN = Features()


def interests(playbooks: Iterable[Playbook],
              features: Features = UNKNOWN) -> frozenset[str] | None:
    """The event types that can matter to any of `playbooks`; None: all of them."""
    return _union(features.types_of(playbook.trigger) for playbook in playbooks)


def listeners(playbooks: Iterable[Playbook], features: Features = UNKNOWN,
              ) -> list[tuple[str, Condition | None]]:
    """(event type or '*', what must hold) of every event that can matter to any of `playbooks`.

    An event trigger with a condition listens only while it holds; whether another kind's condition
    matters depends on what it keeps, so it listens always.
    """
    found: dict[tuple[str, Condition | None], None] = {}
    for playbook in playbooks:
        trigger = playbook.trigger
        rule = trigger.when if trigger.kind == "event" else None
        types = features.types_of(trigger)
        found.update({(name, rule): None for name in (["*"] if types is None else sorted(types))})
    return list(found)


def is_alert(kept: dict[str, Any]) -> bool:
    """True while any event of this person may matter: an edge or a score waits to be armed again,
    which time alone may have brought about."""
    return any("on" in own for own in kept.values())


def _union(parts: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    found = _NONE
    for part in parts:
        if part is None:
            return None
        found |= part
    return found
