"""Zones: by whose clock a schedule or a date goes."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from streams.kernel.local_time import zone_of
from streams.playbooks.model import Trigger

PERSON = "person"


def zone_of_event(trigger: Trigger, event: dict[str, Any]) -> tuple[str, ZoneInfo]:
    """Name and zone by which `trigger` goes for the person, as of `event`.

    `zone: person` is the person's trait as the event carries it, or `otherwise` where it is unknown
    or no zone.
    """
    names = ([event["timezone"], trigger.otherwise] if trigger.zone == PERSON else [trigger.zone])
    for name in names:
        zone = zone_of(name)
        if zone is not None:
            return name, zone
    return "UTC", ZoneInfo("UTC")
