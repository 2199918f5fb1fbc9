"""Event: at each event of a type, as long as a condition holds as of that event. Keeps nothing."""

from __future__ import annotations

from typing import Any

from streams.choose.triggers.moment import Moment, Person, at_event, values_in
from streams.playbooks.model import Playbook


def on_event(playbook: Playbook, own: dict[str, Any], event: dict[str, Any],
             items: tuple[str, ...], person: Person) -> list[Moment]:
    trigger = playbook.trigger
    if event["event_type"] != trigger.event:
        return []
    if trigger.when is None:
        return [at_event(playbook, event, items)]
    if not person.holds(trigger.when):
        return []
    return [at_event(playbook, event, items, values=values_in(trigger.when, person))]
