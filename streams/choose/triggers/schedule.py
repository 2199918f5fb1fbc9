"""Schedule: at a time of day, on some days of the week, by the person's own clock.

In       the person's events: since when they are known, when they were last seen, in which zone
Keeps    p: [[ms, zone], ...], the newest event of each quarter of an hour as far as it still
         matters; f: the last time that came up; d: its date
Time     decided by the watermark. The zone, and whether somebody was seen lately, are as of the
         last event before the time itself; each date comes up at most once, also for travellers

After an outage every time that has come up is looked at in its order; one that has lost its use by
then is passed over.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from streams.choose.losing import note
from streams.choose.triggers.moment import Moment, Person
from streams.choose.triggers.zones import zone_of_event
from streams.kernel import ids
from streams.kernel.local_time import local_date, moment_at, zone_of
from streams.kernel.moments import DAY_MS, MINUTE_MS
from streams.playbooks.model import Playbook, Trigger

QUARTER_MS = 15 * MINUTE_MS      # times of day are whole quarters, and so are the zones' offsets
POINTS_MAX = 128
LATE_MS = DAY_MS                 # how late an event may come and still find all it is compared with
_DAYS_AHEAD = 10                 # a day of the week comes within 7; a date is used up, a zone apart

Point = list[Any]                # [event_ms, zone]


def on_event(playbook: Playbook, own: dict[str, Any], event: dict[str, Any],
             items: tuple[str, ...], person: Person) -> list[Moment]:
    trigger = playbook.trigger
    if trigger.event in ("", event["event_type"]):
        _remember(own, [event["event_ms"], zone_of_event(trigger, event)[0]], trigger)
        _arm(own, trigger)
    return []


def on_watermark(playbook: Playbook, own: dict[str, Any], watermark_ms: int, appended_ms: int,
                 reached_ms: int) -> list[Moment]:
    found = []
    while (coming := _next(own, playbook.trigger)) and coming[0] <= watermark_ms:
        due_ms, day, point = coming
        own["f"], own["d"] = due_ms, day.isoformat()
        moment = _moment(playbook, due_ms, day, point, appended_ms)
        if moment.useful_until_ms >= reached_ms:
            found.append(moment)
    points: list[Point] = own.get("p", [])
    passed = sum(1 for point in points if point[0] <= watermark_ms)
    own["p"] = points[max(passed - 1, 0):]
    _arm(own, playbook.trigger)
    return found


def merge(own: dict[str, Any], other: dict[str, Any]) -> None:
    """Take in when and where the same person was seen under another id. What came up for either
    has come up; what comes next is worked out at the next watermark."""
    newest: dict[int, Point] = {}
    for each in [*own.get("p", ()), *other.get("p", ())]:
        tile = each[0] // QUARTER_MS
        newest[tile] = max(newest.get(tile, each), each)
    _keep(own, [newest[tile] for tile in sorted(newest)])
    for name in ("f", "d"):
        if name in other:
            own[name] = max(own.get(name, other[name]), other[name])
    if own["p"]:
        own["due"] = own["p"][0][0]


def _remember(own: dict[str, Any], point: Point, trigger: Trigger) -> None:
    """Add the point; leave out what can make no difference to anything that comes up."""
    newest: dict[int, Point] = {}
    for each in [*own.get("p", ()), point]:
        tile = each[0] // QUARTER_MS
        newest[tile] = max(newest.get(tile, each), each)
    points = [newest[tile] for tile in sorted(newest)]
    settled_ms = points[-1][0] - LATE_MS
    left: list[Point] = []
    for n, each in enumerate(points):
        after = points[n + 1] if n + 1 < len(points) else None
        between = (left and after and each[0] < settled_ms and left[-1][1] == each[1] == after[1]
                   and after[0] - left[-1][0] <= trigger.within_ms)
        if not between:
            left.append(each)
    _keep(own, left)


def _keep(own: dict[str, Any], points: list[Point]) -> None:
    note(own, len(points) - POINTS_MAX)
    own["p"] = points[-POINTS_MAX:]


def _next(own: dict[str, Any], trigger: Trigger) -> tuple[int, date, Point] | None:
    """The next time that comes up, as far as is known: (moment, date, last event before it)."""
    points: list[Point] = own.get("p", [])
    handled_ms, used = own.get("f", 0), own.get("d", "")
    for n, point in enumerate(points):
        end_ms = point[0] + trigger.within_ms
        if n + 1 < len(points):
            end_ms = min(end_ms, points[n + 1][0])
        if end_ms <= handled_ms:
            continue
        found = _first(trigger, point[1], max(point[0], handled_ms), used)
        if found is not None and found[0] <= end_ms:
            return *found, point
    return None


def _first(trigger: Trigger, zone_name: str, after_ms: int, used: str) -> tuple[int, date] | None:
    zone = zone_of(zone_name)
    if zone is None:             # a row from a machine whose time zone data knew more
        return None
    # A time that is skipped where clocks are set forward over midnight comes on the next date.
    day = local_date(after_ms, zone) - timedelta(days=1)
    for _ in range(_DAYS_AHEAD + 1):
        if day.weekday() in trigger.days and day.isoformat() > used:
            due_ms = moment_at(day, trigger.minute, zone)
            if due_ms > after_ms:
                return due_ms, day
        day += timedelta(days=1)
    return None


def _arm(own: dict[str, Any], trigger: Trigger) -> None:
    coming = _next(own, trigger)
    own.pop("due", None)
    if coming is not None:
        own["due"] = coming[0]


def _moment(playbook: Playbook, due_ms: int, day: date, point: Point,
            appended_ms: int) -> Moment:
    minute = playbook.trigger.minute
    evidence = {"date": day.isoformat(), "at": f"{minute // 60:02d}:{minute % 60:02d}",
                "zone": point[1]}
    event_id = ids.derive("schedule", playbook.tenant, playbook.name, day.isoformat())
    return Moment(playbook, due_ms, event_id, "", (), appended_ms, evidence)
