"""Edge: once when a condition turns true; armed again by its turning false.

Keeps    `on` while it is not armed
Time     at events only. While it is armed it looks at events that can make its condition true (see
         `interests`); while it is not, at every event, because time alone may have made it false.
         What it keeps is of the person as they are now: an event that comes late, behind newer
         ones, is looked at as of the newest, and what turns true then is a moment of then

With `rearm` it stays disarmed until its condition is false *and* `rearm` holds: a value that
trembles around its threshold fires once.
"""

from __future__ import annotations

from typing import Any

from streams.choose.triggers.moment import Moment, Person, at_event, values_in
from streams.playbooks.model import Playbook


def on_event(playbook: Playbook, own: dict[str, Any], event: dict[str, Any],
             items: tuple[str, ...], person: Person) -> list[Moment]:
    trigger = playbook.trigger
    if not is_due(own, event, person.features.types_of(trigger)) or trigger.when is None:
        return []
    now = person.holds(trigger.when)
    calm = not now and (trigger.rearm is None or person.holds(trigger.rearm))
    if rises(own, now=now, calm=calm):
        return [at_event(playbook, event, items, person.as_of_ms,
                         values=values_in(trigger.when, person))]
    return []


def is_due(own: dict[str, Any], event: dict[str, Any], types: frozenset[str] | None) -> bool:
    """Whether this event can change anything."""
    return "on" in own or types is None or event["event_type"] in types


def rises(own: dict[str, Any], *, now: bool, calm: bool) -> bool:
    """True once when `now` turns true; armed again when `calm`. Changes `own`."""
    if "on" in own:
        if calm:
            del own["on"]
        return False
    if now:
        own["on"] = True
    return now


def merge(own: dict[str, Any], other: dict[str, Any]) -> None:
    """What was told under either id was told."""
    if "on" in other:
        own["on"] = True
