"""Watches: 'did X on this object, then not Y within T', decided by event time alone.

In       anchoring events (X) and cancelling events (Y) of one person, in any order
Out      ripe watches: the anchor, the deadline that passed, the items concerned
Keeps    per playbook and object the anchors not yet decided, and recent cancellations: a, x, c;
         r: what later events have decided before the watermark, where bounds ask for it
Refuses  nothing
Time     a watch is ripe when the watermark has passed its deadline. What happened after the
         deadline cannot cancel it, and what is late cannot wake it: the result does not depend on
         when anybody looked

An anchor that comes before the deadline of the one before re-arms the watch: both are one chain,
and only the last anchor of a chain can fire. What is kept is bounded; a bound may lose a watch, it
never lets one fire that was cancelled. `recency` is a watch on an event by itself: purchase,
then no purchase for as long as the person usually takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streams.choose.losing import note
from streams.kernel.moments import DAY_MS

ANCHORS_MAX = 24        # per object; older ones of a chain only add items
OBJECTS_MAX = 32        # per playbook and person
RIPE_MAX = 64           # decided watches that wait for the watermark
LATE_MS = DAY_MS        # how much later than a cancellation an anchor before it is still taken
ITEMS_MAX = 5

# An anchor as it is kept: [event_ms, deadline_ms, event_id, [items]].
Anchor = list[Any]


@dataclass(frozen=True, slots=True)
class Ripe:
    """One watch whose deadline has passed without a cancellation."""

    object_id: str
    anchor_ms: int
    deadline_ms: int
    event_id: str
    items: tuple[str, ...]


def anchor(kept: dict[str, Any], *, object_id: str, event_ms: int, within_ms: int, event_id: str,
           items: tuple[str, ...]) -> int:
    """Take an anchoring event into `kept`; returns the deadline that it sets."""
    deadline_ms = event_ms + within_ms
    if event_ms <= kept.get("c", -1):        # what cancels it may have been dropped
        note(kept)
        return deadline_ms
    objects: dict[str, list[Anchor]] = kept.setdefault("a", {})
    anchors = objects.setdefault(object_id, [])
    anchors.append([event_ms, deadline_ms, event_id, list(items[:ITEMS_MAX])])
    anchors.sort(key=lambda a: (a[0], a[2]))
    if len(anchors) > ANCHORS_MAX or len(objects) > OBJECTS_MAX:
        _settle(kept, event_ms)
        objects = kept["a"]
    if len(anchors := objects.get(object_id, [])) > ANCHORS_MAX:
        objects[object_id] = anchors[-ANCHORS_MAX:]
        note(kept, len(_chains(anchors)) - len(_chains(objects[object_id])))
    if len(objects) > OBJECTS_MAX:
        oldest = min(objects, key=lambda o: (objects[o][-1][0], o))
        kept["c"] = max(kept.get("c", -1), objects[oldest][-1][0])
        note(kept, len(_chains(objects.pop(oldest))))
    return deadline_ms


def cancel(kept: dict[str, Any], *, object_id: str, event_ms: int) -> None:
    """Take a cancelling event. Without an object it cancels every object of the person."""
    objects: dict[str, list[int]] = kept.setdefault("x", {})
    times = objects.setdefault(object_id, [])
    times.append(event_ms)
    times.sort()
    if len(times) > ANCHORS_MAX or len(objects) > OBJECTS_MAX:
        _settle(kept, event_ms)
        objects, times = kept["x"], kept["x"].get(object_id, [])
    if len(times) > ANCHORS_MAX:
        _drop(kept, object_id, times[-ANCHORS_MAX - 1])
    anchors: dict[str, list[Anchor]] = kept.get("a", {})
    if len(objects) > OBJECTS_MAX:
        idle = min(objects, key=lambda o: (o in anchors or not o, objects[o][-1], o))
        _drop(kept, idle, objects[idle][-1])
    old_ms = min([event_ms - LATE_MS, *(chain[0][0] for chain in anchors.values())]) - 1
    for other in [o for o, found in objects.items() if found[0] <= old_ms]:
        _drop(kept, other, old_ms)


def _settle(kept: dict[str, Any], event_ms: int) -> None:
    """Decide what nothing that is not told too late can change any more, to make room.

    A log may tell weeks of somebody before the watermark moves: a history that is read at once.
    """
    newest_ms = max([event_ms, *(found[-1][0] for found in kept.get("a", {}).values()),
                     *(found[-1] for found in kept.get("x", {}).values())])
    ripe = [[each.object_id, each.anchor_ms, each.deadline_ms, each.event_id, list(each.items)]
            for each in _decide(kept, newest_ms - LATE_MS - 1)]
    _keep_ripe(kept, ripe)
    floor = _floor(kept, newest_ms - LATE_MS)
    kept["c"] = max(kept.get("c", -1), floor - 1)
    times = {o: [ms for ms in found if ms >= floor] for o, found in kept.get("x", {}).items()}
    kept["x"] = {o: found for o, found in times.items() if found}


def _keep_ripe(kept: dict[str, Any], more: list[list[Any]]) -> None:
    found = sorted([*kept.get("r", ()), *more], key=lambda r: (r[2], r[0]))
    note(kept, len(found) - RIPE_MAX)
    if found:
        kept["r"] = found[-RIPE_MAX:]


def _drop(kept: dict[str, Any], object_id: str, upto_ms: int) -> None:
    """Forget cancellations up to `upto_ms`, and with them every watch that they may have ended,
    told already or still to be told."""
    kept["c"] = max(kept.get("c", -1), upto_ms)
    times: dict[str, list[int]] = kept["x"]
    anchors: dict[str, list[Anchor]] = kept.get("a", {})
    times[object_id] = [ms for ms in times[object_id] if ms > upto_ms]
    if not times[object_id]:
        del times[object_id]
    for each in [object_id] if object_id else list(anchors):
        before = anchors.get(each, [])
        anchors[each] = [a for a in before if a[0] > upto_ms]
        note(kept, len(_chains(before)) - len(_chains(anchors[each])))
        if not anchors[each]:
            del anchors[each]


def merge(kept: dict[str, Any], other: dict[str, Any]) -> None:
    """Take the watches of the same playbook that were kept under another id, in `kept`."""
    cut_ms = other.get("c", -1)
    if cut_ms > kept.get("c", -1):
        kept["c"] = cut_ms
        anchors = {o: [a for a in found if a[0] > cut_ms]
                   for o, found in kept.get("a", {}).items()}
        note(kept, sum(len(_chains(found)) - len(_chains(anchors[o]))
                       for o, found in kept.get("a", {}).items()))
        kept["a"] = {o: found for o, found in anchors.items() if found}
    _keep_ripe(kept, [r for r in other.pop("r", ()) if not _cancelled(kept, r[0], r[1:])])
    left = [r for r in kept.pop("r", ()) if not _cancelled(other, r[0], r[1:])]
    _keep_ripe(kept, left)
    # Anchors first: a cancellation forgets what is long before it, but for what still waits.
    for object_id, found in other.get("a", {}).items():
        for event_ms, deadline_ms, event_id, items in found:
            anchor(kept, object_id=object_id, event_ms=event_ms,
                   within_ms=deadline_ms - event_ms, event_id=event_id, items=tuple(items))
    for object_id, times in other.get("x", {}).items():
        for ms in times:
            cancel(kept, object_id=object_id, event_ms=ms)


def next_deadline_ms(kept: dict[str, Any]) -> int | None:
    """The earliest moment at which something here may be ripe."""
    return min((*(chain[-1][1] for anchors in kept.get("a", {}).values()
                  for chain in _chains(anchors)), *(r[2] for r in kept.get("r", ()))),
               default=None)


def take_ripe(kept: dict[str, Any], watermark_ms: int) -> list[Ripe]:
    """Remove and return what is decided by `watermark_ms`, in order of deadline."""
    decided: list[list[Any]] = kept.pop("r", [])
    ripe = [Ripe(object_id, at_ms, due_ms, event_id, tuple(items))
            for object_id, at_ms, due_ms, event_id, items in decided if due_ms <= watermark_ms]
    _keep_ripe(kept, [each for each in decided if each[2] > watermark_ms])
    ripe += _decide(kept, watermark_ms)
    _forget(kept, watermark_ms)
    return sorted(ripe, key=lambda r: (r.deadline_ms, r.object_id))


def _decide(kept: dict[str, Any], upto_ms: int) -> list[Ripe]:
    """Remove all chains that end by `upto_ms`; returns those that were not cancelled."""
    ripe: list[Ripe] = []
    objects: dict[str, list[Anchor]] = kept.get("a", {})
    for object_id in sorted(objects):
        left: list[Anchor] = []
        for chain in _chains(objects[object_id]):
            if chain[-1][1] > upto_ms:
                left.extend(chain)
            elif not _cancelled(kept, object_id, chain[-1]):
                ripe.append(_ripe(kept, object_id, chain))
        objects[object_id] = left
    kept["a"] = {o: anchors for o, anchors in objects.items() if anchors}
    return ripe


def _chains(anchors: list[Anchor]) -> list[list[Anchor]]:
    chains: list[list[Anchor]] = []
    for each in anchors:
        if chains and each[0] <= chains[-1][-1][1]:
            chains[-1].append(each)
        else:
            chains.append([each])
    return chains


def _cancellations(kept: dict[str, Any], object_id: str) -> list[int]:
    times = kept.get("x", {})
    own = times.get(object_id, []) if object_id else []
    return [*own, *times.get("", [])]


def _cancelled(kept: dict[str, Any], object_id: str, last: Anchor) -> bool:
    return any(last[0] <= ms <= last[1] for ms in _cancellations(kept, object_id))


def _ripe(kept: dict[str, Any], object_id: str, chain: list[Anchor]) -> Ripe:
    """What is left in the cart is what came after the last cancellation."""
    last = chain[-1]
    since = max((ms for ms in _cancellations(kept, object_id) if ms < last[0]), default=-1)
    items: dict[str, None] = {}
    for each in reversed(chain):
        if each[0] > since:
            items.update(dict.fromkeys(each[3]))
    return Ripe(object_id, last[0], last[1], last[2], tuple(items)[:ITEMS_MAX])


def _forget(kept: dict[str, Any], watermark_ms: int) -> None:
    """Drop cancellations that no undecided or future anchor can meet."""
    floor = _floor(kept, watermark_ms)
    times = {o: [ms for ms in found if ms >= floor] for o, found in kept.get("x", {}).items()}
    kept["x"] = {o: found for o, found in times.items() if found}
    if kept.get("c", -1) <= watermark_ms:
        kept.pop("c", None)
    for part in ("a", "x"):
        if not kept.get(part):
            kept.pop(part, None)


def _floor(kept: dict[str, Any], upto_ms: int) -> int:
    """Cancellations before this can meet no anchor that is undecided, or later than `upto_ms`."""
    return min([upto_ms, *(a[0] for anchors in kept.get("a", {}).values() for a in anchors)])
