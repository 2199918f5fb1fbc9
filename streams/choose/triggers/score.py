"""Score: once when a weighted sum of features reaches a threshold, with hysteresis.

Keeps    `on` from then until the sum was below `rearm_below`
Time     at events only, as `edge`

A feature without a value adds nothing. The terms are added in the order they are written, so that
rounding is the same everywhere.
"""

from __future__ import annotations

from typing import Any

from streams.choose.triggers.edge import is_due, rises
from streams.choose.triggers.moment import Moment, Person, at_event
from streams.playbooks.model import Playbook


def on_event(playbook: Playbook, own: dict[str, Any], event: dict[str, Any],
             items: tuple[str, ...], person: Person) -> list[Moment]:
    trigger = playbook.trigger
    if not is_due(own, event, person.features.types_of(trigger)):
        return []
    values = {name: person.feature(name) for name, _ in trigger.weights}
    score = 0.0
    for name, weight in trigger.weights:
        score += weight * (values[name] or 0.0)
    if rises(own, now=score >= trigger.at_least, calm=score < trigger.rearm_below):
        return [at_event(playbook, event, items, person.as_of_ms, score=score, values=values)]
    return []
