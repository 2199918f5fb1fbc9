"""Date: some days before or after a date that an event carries, at a time of day.

In       events of one type whose property holds a date; the newest word on an object counts
Keeps    d: {object: [word, ...]}, until a word's moment has come or another took its place
Time     decided by the watermark; what was said after the moment cannot change it

The date is one of the calendar: `2026-03-01` is that day wherever the person is; a moment in time
is the day it falls on there. An empty value takes the date back. A moment that was over when the
date was told does not come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from streams.choose.losing import clear, note
from streams.choose.triggers.moment import ITEMS_MAX, OBJECTS_MAX, Moment, Person, object_of
from streams.choose.triggers.zones import zone_of_event
from streams.kernel.local_time import end_of, local_date, moment_at
from streams.kernel.moments import DAY_MS, YEAR_2100_MS, parse_moment
from streams.playbooks.model import Playbook, Trigger

WORDS_MAX = 32           # per object
LATE_MS = DAY_MS         # how much later than the newest word an older one is still waited for

_UNSAID = object()

# A word on an object's date: [event_ms, event_id, due_ms, until_ms, date, zone, [items]]; a due_ms
# of 0 is no moment: the date was taken back.
Word = list[Any]


def on_event(playbook: Playbook, own: dict[str, Any], event: dict[str, Any],
             items: tuple[str, ...], person: Person) -> list[Moment]:
    trigger = playbook.trigger
    object_id = object_of(event, trigger.per)
    if event["event_type"] == trigger.event and (object_id or not trigger.per):
        name, zone = zone_of_event(trigger, event)
        found = _told(trigger, event["properties_json"], zone)
        if found is not None:
            word = [event["event_ms"], event["event_id"], *found, name, list(items[:ITEMS_MAX])]
            _remember(own, object_id, word)
            _arm(own)
    return []


def on_watermark(playbook: Playbook, own: dict[str, Any], watermark_ms: int, appended_ms: int,
                 reached_ms: int) -> list[Moment]:
    found = []
    objects: dict[str, list[Word]] = own.get("d", {})
    for object_id in sorted(objects):
        for word in _coming(objects[object_id]):
            if word[2] <= watermark_ms:
                moment = _moment(playbook, object_id, word, appended_ms)
                if moment.useful_until_ms >= reached_ms:
                    found.append(moment)
        old = [word for word in objects[object_id] if word[0] <= watermark_ms]
        objects[object_id] = ([word for word in old[-1:] if word[2] > watermark_ms]
                              + objects[object_id][len(old):])
        if not objects[object_id]:
            del objects[object_id]
    _arm(own)
    return sorted(found, key=lambda m: (m.moment_ms, m.object_id))


def unreadable(playbooks: Iterable[Playbook], event: dict[str, Any]) -> list[Playbook]:
    """The playbooks whose date the event carries, and it is none: 2026-02-29, or `soon`."""
    return [playbook for playbook in playbooks
            if (trigger := playbook.trigger).kind == "date"
            and trigger.event == event["event_type"]
            and (value := _said(trigger, event["properties_json"])) not in (_UNSAID, None, "")
            and _day(value, zone_of_event(trigger, event)[1]) is None]


def _said(trigger: Trigger, properties_json: str) -> object:
    """What the event says of the property; _UNSAID: nothing."""
    try:
        properties = orjson.loads(properties_json) if properties_json else None
    except orjson.JSONDecodeError:
        return _UNSAID
    return properties.get(trigger.property, _UNSAID) if isinstance(properties, dict) else _UNSAID


def _told(trigger: Trigger, properties_json: str,
          zone: ZoneInfo) -> tuple[int, int, str] | None:
    """(due_ms, until_ms, date) of the property; None when it says nothing that can be read."""
    value = _said(trigger, properties_json)
    if value is _UNSAID:
        return None
    if value is None or value == "":
        return 0, 0, ""
    day = _day(value, zone)
    if day is None:
        return None
    due_ms = moment_at(day + timedelta(days=trigger.shift_days), trigger.minute, zone)
    if trigger.shift_days > 0:
        return due_ms, 0, day.isoformat()
    # Where clocks are set forward over midnight a time of the day comes on the next date only.
    last = max(day, local_date(due_ms, zone))
    return due_ms, end_of(last, zone), day.isoformat()


def _day(value: object, zone: ZoneInfo) -> date | None:
    if isinstance(value, str):
        value = value.strip()
        with suppress(ValueError):
            day = date.fromisoformat(value)
            return day if 1970 < day.year < 2100 else None
    try:
        moment_ms = parse_moment(value)
    except (ValueError, OverflowError):
        return None
    return local_date(moment_ms, zone) if 366 * DAY_MS < moment_ms < YEAR_2100_MS else None


def _remember(own: dict[str, Any], object_id: str, word: Word) -> None:
    objects: dict[str, list[Word]] = own.setdefault("d", {})
    objects[object_id] = _in_order([*objects.get(object_id, ()), word])
    newest_ms = max(each[-1][0] for each in objects.values())
    for each in list(objects):
        if not any(_coming(objects[each])) and objects[each][-1][0] < newest_ms - LATE_MS:
            del objects[each]
    _keep_bounds(own)


def merge(own: dict[str, Any], other: dict[str, Any]) -> None:
    """Take in the dates that were told under another id of the same person."""
    objects: dict[str, list[Word]] = own.setdefault("d", {})
    for object_id, words in other.get("d", {}).items():
        objects[object_id] = _in_order([*objects.get(object_id, ()), *words])
    _keep_bounds(own)
    _arm(own)


def _in_order(words: list[Word]) -> list[Word]:
    """Each once; of too many, what another has taken the place of goes first. A log may tell weeks
    of somebody before the watermark brings what was due meanwhile."""
    found = {(word[0], word[1]): word for word in words}
    left = [found[key] for key in sorted(found)]
    if len(left) > WORDS_MAX:
        coming, late_ms = list(_coming(left)), left[-1][0] - LATE_MS
        left = [word for word in left if word[0] >= late_ms or word in coming]
    return left


def _keep_bounds(own: dict[str, Any]) -> None:
    objects: dict[str, list[Word]] = own["d"]
    for object_id, words in objects.items():
        note(own, len([*_coming(words)]) - len([*_coming(words[-WORDS_MAX:])]))
        objects[object_id] = words[-WORDS_MAX:]
    while len(objects) > OBJECTS_MAX:
        oldest = min(objects, key=lambda o: (objects[o][-1][0], o))
        note(own, len([*_coming(objects.pop(oldest))]))


def _coming(words: list[Word]) -> Iterator[Word]:
    """The words whose moment comes before another word takes their place."""
    for word, after in zip(words, [*words[1:], None], strict=True):
        if word[0] < word[2] and (after is None or word[2] < after[0]):
            yield word


def _arm(own: dict[str, Any]) -> None:
    due = [word[2] for words in own.get("d", {}).values() for word in _coming(words)]
    own.pop("due", None)
    if due:
        own["due"] = min(due)
    if not own.get("d"):
        clear(own)


def _moment(playbook: Playbook, object_id: str, word: Word, appended_ms: int) -> Moment:
    at_ms, event_id, due_ms, until_ms, day, zone, items = word
    evidence = {"event": playbook.trigger.event, "event_id": event_id, "at_ms": at_ms,
                "property": playbook.trigger.property, "date": day, "zone": zone,
                "object": object_id}
    return Moment(playbook, due_ms, event_id, object_id, tuple(items), appended_ms, evidence,
                  until_ms)
