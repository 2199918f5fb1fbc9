"""Which file answers for which kind, and the state that all kinds share.

`kept` is a person's trigger state, {playbook: own}; each kind writes its own part in place:
    k     the kind that wrote it: a playbook of the same name with another trigger starts afresh
    due   when something in it may be decided by the watermark (absences work theirs out)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from streams.choose import watches
from streams.choose.triggers import absence, date, edge, event, items, schedule, score, sequence
from streams.choose.triggers.moment import Moment, Person
from streams.playbooks.model import Playbook, Trigger

OnEvent = Callable[[Playbook, dict[str, Any], dict[str, Any], tuple[str, ...], Person],
                   list[Moment]]
Merge = Callable[[dict[str, Any], dict[str, Any]], None]
OnWatermark = Callable[[Playbook, dict[str, Any], int, int, int], list[Moment]]

_ON_EVENT: Final[dict[str, OnEvent]] = {
    "absence": absence.on_event, "recency": absence.on_event, "event": event.on_event,
    "edge": edge.on_event, "score": score.on_event,
    **dict.fromkeys(items.KINDS, items.on_event),
    "sequence": sequence.on_event, "date": date.on_event, "schedule": schedule.on_event,
}
_ON_WATERMARK: Final[dict[str, OnWatermark]] = {
    "absence": absence.on_watermark, "recency": absence.on_watermark,
    "sequence": sequence.on_watermark, "date": date.on_watermark,
    "schedule": schedule.on_watermark,
}

_MERGE: Final[dict[str, Merge]] = {
    "absence": watches.merge, "recency": watches.merge, "edge": edge.merge, "score": edge.merge,
    **dict.fromkeys(items.KINDS, items.merge),
    "sequence": sequence.merge, "date": date.merge, "schedule": schedule.merge,
}


def on_event(playbooks: Iterable[Playbook], kept: dict[str, Any], event: dict[str, Any],
             about: tuple[str, ...], person: Person, then: Person | None = None) -> list[Moment]:
    """Let every playbook look at one event; returns the moments that it makes at once.

    about   the items of the event
    kept    the person's trigger state; changed in place
    person  as of their newest event, for triggers that keep how things stand
    then    as of this event, for those that keep nothing; None: it is the newest
    """
    found = []
    for playbook in playbooks:
        look = _ON_EVENT.get(playbook.trigger.kind)
        if look is not None:
            own = _own(kept, playbook)
            keeps_nothing = playbook.trigger.kind == "event"
            found += look(playbook, own, event, about, then or person if keeps_nothing else person)
            _keep(kept, playbook, own)
    return found


def on_watermark(playbooks: Iterable[Playbook], kept: dict[str, Any], watermark_ms: int,
                 appended_ms: int, reached_ms: int = 0) -> list[Moment]:
    """The moments that have become certain by `watermark_ms`.

    `reached_ms` is how far the watermark has really come, when `watermark_ms` is a step on the way
    there: what has outlived its use by then need not be said. State that no playbook in force
    answers for goes when it comes up.
    """
    found, decided = [], set()
    for playbook in playbooks:
        decide = _ON_WATERMARK.get(playbook.trigger.kind)
        if decide is not None and playbook.name in kept:
            decided.add(playbook.name)
            own = _own(kept, playbook)
            found += decide(playbook, own, watermark_ms, appended_ms,
                            max(watermark_ms, reached_ms))
            _keep(kept, playbook, own)
    for name in [name for name, own in kept.items() if name not in decided
                 and (due_ms := _due_ms(own)) is not None and due_ms <= watermark_ms]:
        del kept[name]
    return found


def nameless(playbooks: Iterable[Playbook], event: dict[str, Any],
             about: tuple[str, ...]) -> list[Playbook]:
    """The playbooks for which the event would begin something, or go on with it, if it named the
    object that they are kept `per`. What only ends or forbids may name none."""
    return [playbook for playbook in playbooks
            if (per := playbook.trigger.per) and not event[per]
            and _LACKS.get(playbook.trigger.kind, _never)(playbook.trigger, event, about)]


def _begins(trigger: Trigger, event: dict[str, Any], about: tuple[str, ...]) -> bool:
    return event["event_type"] == trigger.event


def _never(trigger: Trigger, event: dict[str, Any], about: tuple[str, ...]) -> bool:
    return False


_LACKS: Final = {**dict.fromkeys(("absence", "recency", "date"), _begins),
                 "sequence": sequence.lacks_object}


def merge(kept: dict[str, Any], other: dict[str, Any]) -> None:
    """Take into `kept` what was kept of the same person under another id: triggers go on as if all
    of it had been done under one. `other` is used up."""
    for name, theirs in other.items():
        own = kept.get(name)
        if own is None:
            kept[name] = theirs
        elif (kind := own.get("k")) in _MERGE and kind == theirs.get("k"):
            _MERGE[kind](own, theirs)


def next_deadline_ms(kept: dict[str, Any]) -> int | None:
    """The earliest moment at which the watermark may decide something about the person."""
    deadlines = (_due_ms(own) for own in kept.values())
    return min((d for d in deadlines if d is not None), default=None)


def _due_ms(own: dict[str, Any]) -> int | None:
    due_ms: int | None = own.get("due")
    return watches.next_deadline_ms(own) if due_ms is None else due_ms


def _own(kept: dict[str, Any], playbook: Playbook) -> dict[str, Any]:
    own = kept.get(playbook.name, {})
    return own if own.get("k", playbook.trigger.kind) == playbook.trigger.kind else {}


def _keep(kept: dict[str, Any], playbook: Playbook, own: dict[str, Any]) -> None:
    own.pop("k", None)
    if own:
        own["k"] = playbook.trigger.kind
        kept[playbook.name] = own
    else:
        kept.pop(playbook.name, None)
