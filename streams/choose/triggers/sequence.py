"""Sequence: A, then B, then no C before D, all within a window, for one object.

In       events of the types that the steps name
Keeps    e: {object: [[ms, id, type, items]]}, these events until they are used up or too old;
         r: [[due_ms, object, events]], matches that newer events have made certain before the
         watermark said so; c: up to when events were cut off because there were too many
Time     decided by the watermark, on events in the order in which they happened: how they arrived
         cannot matter. A step that closes with `not` is decided when the window is over

A match uses up its events: the next one begins after its last. Of several possible beginnings the
latest counts, which leaves the most time. A new match of all steps before a closing `not` takes the
place of the one that waits. Bounds may lose a match of somebody who does a great deal, they never
invent one: whatever is cut off is cut off from the beginning, and what is told late of the time
before can only forbid.

Source of the idea: SQL:2016 MATCH_RECOGNIZE, AFTER MATCH SKIP PAST LAST ROW.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from streams.choose.losing import clear, note
from streams.choose.triggers.moment import ITEMS_MAX, OBJECTS_MAX, Moment, Person, objects_of
from streams.kernel.moments import DAY_MS
from streams.playbooks.model import Playbook, Trigger

EVENTS_MAX = 32          # per object
LATE_MS = DAY_MS         # how much later than the newest event an older one is still waited for
RIPE_MAX = 64            # certain matches that wait for the watermark

# An event as it is kept: [event_ms, event_id, event_type, [items]].
Heard = list[Any]
Runs = list[tuple[Heard, ...] | None]       # by steps done: the one that began last


@dataclass(frozen=True, slots=True)
class Match:
    """`due_ms`: when it is certain. `events`: one for each step that is not a `not`."""

    due_ms: int
    events: tuple[Heard, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps, for matching: `forbidden[n]` must not happen when n wanted steps are done."""

    wanted: tuple[str, ...]
    forbidden: tuple[frozenset[str], ...]
    absent: frozenset[str]


@lru_cache(maxsize=4096)
def plan_of(trigger: Trigger) -> Plan:
    forbidden: list[set[str]] = [set()]
    for step in trigger.steps:
        if step.absent:
            forbidden[-1].add(step.event)
        else:
            forbidden.append(set())
    return Plan(tuple(step.event for step in trigger.steps if not step.absent),
                tuple(map(frozenset, forbidden)), frozenset().union(*forbidden))


def on_event(playbook: Playbook, own: dict[str, Any], event: dict[str, Any],
             items: tuple[str, ...], person: Person) -> list[Moment]:
    trigger, kind, plan = playbook.trigger, event["event_type"], plan_of(playbook.trigger)
    forbids = kind in plan.absent
    if not forbids and kind not in plan.wanted:
        return []
    if not forbids and event["event_ms"] <= own.get("c", 0):
        note(own)
        return []
    heard = [event["event_ms"], event["event_id"], kind, list(items[:ITEMS_MAX])]
    objects = objects_of(event, trigger.per, items)
    for object_id in objects:
        if object_id or not trigger.per or forbids:
            _remember(own, trigger, object_id, heard)
    if trigger.per == "item_id" and not forbids and objects == ("",) and items:
        note(own)           # it names more of them than are looked at
    _arm(own, trigger)
    return []


def on_watermark(playbook: Playbook, own: dict[str, Any], watermark_ms: int, appended_ms: int,
                 reached_ms: int) -> list[Moment]:
    trigger = playbook.trigger
    _settle(own, trigger, watermark_ms)
    ripe = own.pop("r", [])
    if later := [each for each in ripe if each[0] > watermark_ms]:
        own["r"] = later
    _forget(own, watermark_ms - trigger.within_ms)
    _arm(own, trigger)
    found = [_moment(playbook, object_id, Match(due_ms, tuple(events)), appended_ms)
             for due_ms, object_id, events in ripe if due_ms <= watermark_ms]
    return sorted(found, key=lambda m: (m.moment_ms, m.object_id))


def merge(own: dict[str, Any], other: dict[str, Any]) -> None:
    """Take in what the same person did under another id. What was cut off of one history may
    forbid what is left of the other, so both begin after it. What is certain by now is found at the
    next watermark."""
    cut_ms = max(own.get("c", 0), other.get("c", 0))
    heard: dict[str, dict[tuple[int, str], Heard]] = {}
    for kept in (own, other):
        for object_id, events in kept.get("e", {}).items():
            heard.setdefault(object_id, {}).update((_key(e), e) for e in events if e[0] > cut_ms)
            note(own, sum(e[0] <= cut_ms for e in events))
    ripe = []
    for kept, beside in ((own, other), (other, own)):
        for match in kept.get("r", ()):
            due_ms, object_id, events = match
            first_ms = events[0][0]
            # What the other history did amid it may forbid it: then it is looked for once more.
            if first_ms > cut_ms and any(first_ms <= ms <= due_ms for ms in _times(beside)):
                heard.setdefault(object_id, {}).update((_key(e), e) for e in events)
            else:
                ripe.append(match)
    own["e"] = {object_id: [events[key] for key in sorted(events)]
                for object_id, events in heard.items() if events}
    own.pop("r", None)
    if ripe:
        own["r"] = sorted(ripe, key=lambda each: each[:2])
        _keep_ripe(own)
    if cut_ms:
        own["c"] = cut_ms
    for object_id in list(own["e"]):
        _keep_bounds(own, None, object_id)
    due = [events[0][0] for events in own["e"].values()] + [each[0] for each in ripe]
    own.pop("due", None)
    if due:
        own["due"] = min(due)
    else:
        clear(own)


def lacks_object(trigger: Trigger, event: dict[str, Any], items: tuple[str, ...]) -> bool:
    """Whether nothing comes of the event, whose field `per` is empty, as it has no lines either."""
    plan, kind = plan_of(trigger), event["event_type"]
    is_named = trigger.per == "item_id" and items
    return kind in plan.wanted and kind not in plan.absent and not is_named


def _times(own: dict[str, Any]) -> list[int]:
    """When the events happened that are kept."""
    kept = [*own.get("e", {}).values(), *(each[2] for each in own.get("r", ()))]
    return [heard[0] for events in kept for heard in events]


def first_match(trigger: Trigger, events: list[tuple[Heard, bool]]) -> Match | None:
    """The match that is certain first. `events` in order; True: about no object in particular, so
    that it can only forbid."""
    return _run(trigger, events)[0]


def _run(trigger: Trigger, events: list[tuple[Heard, bool]]) -> tuple[Match | None, Runs]:
    """The match that is certain first, and the runs that could still become one.

    One run per number of steps done is enough, the one that began last: whatever completes or
    forbids an earlier one does so to it, too.
    """
    plan, within_ms = plan_of(trigger), trigger.within_ms
    last = len(plan.wanted)
    runs: Runs = [None] * (last + 1)
    for heard, only_forbids in events:
        waiting = runs[last]
        if waiting is not None and waiting[0][0] + within_ms < heard[0]:
            return Match(waiting[0][0] + within_ms, waiting), runs
        for done in range(1, last + 1):
            if heard[2] in plan.forbidden[done]:
                runs[done] = None
        if only_forbids:
            continue
        for done in range(last, 0, -1):
            if heard[2] == plan.wanted[done - 1]:
                _extend(runs, done, heard, within_ms)
        done_now = runs[last]
        if done_now is not None and not plan.forbidden[last]:
            return Match(heard[0], done_now), runs
    waiting = runs[last]
    return None if waiting is None else Match(waiting[0][0] + within_ms, waiting), runs


def _extend(runs: Runs, done: int, heard: Heard, within_ms: int) -> None:
    before: tuple[Heard, ...] | None = () if done == 1 else runs[done - 1]
    if before is None or (before and before[0][0] + within_ms < heard[0]):
        return
    grown, standing = (*before, heard), runs[done]
    if standing is None or _key(grown[0]) >= _key(standing[0]):
        runs[done] = grown


def _key(heard: Heard) -> tuple[int, str]:
    return heard[0], heard[1]


def _of_object(own: dict[str, Any], trigger: Trigger, object_id: str) -> Match | None:
    return _state_of(own, trigger, object_id)[0]


def _state_of(own: dict[str, Any], trigger: Trigger,
              object_id: str) -> tuple[Match | None, Runs]:
    if trigger.per and not object_id:
        return None, []
    objects = own.get("e", {})
    events = [(heard, False) for heard in objects.get(object_id, ())]
    if trigger.per:
        events += [(heard, True) for heard in objects.get("", ())]
        events.sort(key=lambda pair: _key(pair[0]))
    return _run(trigger, events)


def _remember(own: dict[str, Any], trigger: Trigger, object_id: str, heard: Heard) -> None:
    objects: dict[str, list[Heard]] = own.setdefault("e", {})
    events = objects.setdefault(object_id, [])
    events.append(heard)
    events.sort(key=_key)
    newest_ms = max(each[-1][0] for each in objects.values())
    # A log may tell weeks of somebody before the watermark moves: what is decided stays known.
    if min(own.get("due", newest_ms), heard[0]) < newest_ms - LATE_MS:
        _settle(own, trigger, newest_ms - LATE_MS - 1)
        _keep_ripe(own)
    objects = own["e"]
    _forget(own, newest_ms - trigger.within_ms - LATE_MS)
    _keep_bounds(own, trigger, object_id)


def _keep_ripe(own: dict[str, Any]) -> None:
    if "r" in own:
        note(own, len(own["r"]) - RIPE_MAX)
        own["r"] = own["r"][-RIPE_MAX:]


def _keep_bounds(own: dict[str, Any], trigger: Trigger | None, object_id: str) -> None:
    """Cut off what is too much of `object_id`, and objects that are too many. Told is only what
    leaves another state behind: of a step done again the newest counts, as if it had been kept."""
    objects: dict[str, list[Heard]] = own["e"]
    events = objects.get(object_id, [])
    if len(events) > EVENTS_MAX:
        cut = _key(events[-EVENTS_MAX - 1])
        own["c"] = max(own.get("c", 0), cut[0])
        for each in ([object_id] if object_id else list(objects)):
            before = trigger and _state_of(own, trigger, each)
            _cut(own, each, cut)
            note(own, int(trigger is None or _state_of(own, trigger, each) != before))
    while len(objects) > OBJECTS_MAX + 1:       # one more for what is about no object
        oldest = min(filter(None, objects), key=lambda o: (_key(objects[o][-1]), o))
        own["c"] = max(own.get("c", 0), objects[oldest][-1][0])
        note(own, len(objects.pop(oldest)))


def _settle(own: dict[str, Any], trigger: Trigger, upto_ms: int) -> None:
    """Use up the events of all matches that are certain by `upto_ms`."""
    for object_id in sorted(own.get("e", {})):
        while (match := _of_object(own, trigger, object_id)) and match.due_ms <= upto_ms:
            own.setdefault("r", []).append([match.due_ms, object_id, list(match.events)])
            _cut(own, object_id, _key(match.events[-1]))
    if "r" in own:
        own["r"].sort(key=lambda each: each[:2])


def _cut(own: dict[str, Any], object_id: str, upto: tuple[int, str]) -> None:
    """Drop the object's events up to and including `upto`."""
    objects: dict[str, list[Heard]] = own["e"]
    left = [heard for heard in objects[object_id] if _key(heard) > upto]
    if left:
        objects[object_id] = left
    else:
        del objects[object_id]


def _forget(own: dict[str, Any], before_ms: int) -> None:
    """Drop what happened before `before_ms`."""
    objects: dict[str, list[Heard]] = own.get("e", {})
    for object_id in list(objects):
        if objects[object_id][0][0] < before_ms:
            _cut(own, object_id, (before_ms - 1, "\U0010ffff"))


def _arm(own: dict[str, Any], trigger: Trigger) -> None:
    """Note when the first match, as far as it is known, will be certain."""
    matches = [match for object_id in own.get("e", {})
               if (match := _of_object(own, trigger, object_id))]
    due = [match.due_ms for match in matches] + [each[0] for each in own.get("r", ())]
    own.pop("due", None)
    if due:
        own["due"] = min(due)
    if not own.get("e") and "r" not in own:
        clear(own)


def _moment(playbook: Playbook, object_id: str, match: Match, appended_ms: int) -> Moment:
    last = match.events[-1]
    items = dict.fromkeys(item for heard in reversed(match.events) for item in heard[3])
    evidence = {"steps": [{"event": kind, "event_id": event_id, "at_ms": at_ms}
                          for at_ms, event_id, kind, _ in match.events],
                "without": sorted(plan_of(playbook.trigger).absent), "object": object_id,
                "until_ms": match.events[0][0] + playbook.trigger.within_ms}
    return Moment(playbook, match.due_ms, last[1], object_id, tuple(items)[:ITEMS_MAX],
                  appended_ms, evidence)
