"""Items: one that the person cares about is back in stock, or costs less.

In       events about items: looked at (`events`) or bought (`without`); then changes of items
Keeps    i: {item: [[ms, cares, event_id, event_type], ...]}: what happened since the watermark less
         a day, and the last before it; f: {item: as_of_ms} of the last change that made a moment
Time     as of the change's own: what the person did with the item last before it decides, and which
         items were their ITEMS_MAX newest. A change is looked at when the watermark has passed it;
         then all that happened before is known, however far ahead the log was read
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from streams.choose.losing import note
from streams.choose.triggers.moment import Moment, Person
from streams.kernel import ids
from streams.kernel.moments import DAY_MS
from streams.playbooks.model import Playbook, Trigger

Mark = list[Any]         # [ms, cares, event_id, event_type]

KINDS: Final = ("back_in_stock", "price_drop")
ITEMS_MAX = 32           # per playbook and person: of older ones nobody is told
MARKS_MAX = 512          # per playbook and person
LATE_MS = DAY_MS         # how much later than the watermark a change is still looked at


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What a shop changed of an item. Prices in micro-units, 0: not known, or another currency."""

    item_id: str
    as_of_ms: int
    price_before_micros: int
    price_micros: int
    currency: str
    was_in_stock: bool
    in_stock: bool


def on_event(playbook: Playbook, own: dict[str, Any], event: dict[str, Any],
             items: tuple[str, ...], person: Person) -> list[Moment]:
    trigger, kind = playbook.trigger, event["event_type"]
    cares = kind in trigger.events
    if cares or kind == trigger.without:
        about = dict.fromkeys([event["item_id"], *items])
        about.pop("", None)
        for item_id in [*about][:ITEMS_MAX]:
            marks = own.setdefault("i", {}).setdefault(item_id, [])
            marks.append([event["event_ms"], int(cares), event["event_id"], kind])
            marks.sort(key=_place)
        if about:
            _forget(own, trigger, person.reached_ms)
            _keep_bounds(own)
    return []


def on_item(playbooks: Iterable[Playbook], kept: dict[str, Any], change: ItemChange,
            appended_ms: int) -> list[Moment]:
    """The moments that `change` makes for the person. Call it once the watermark has passed
    `change.as_of_ms`; a change that was looked at before makes none."""
    found = []
    for playbook in playbooks:
        own = kept.get(playbook.name, {})
        if own.get("k") == playbook.trigger.kind and _matters(playbook.trigger, change):
            mark = _last_before(own, change)
            if (mark is not None and mark[1]
                    and change.as_of_ms - mark[0] <= playbook.trigger.within_ms
                    and own.get("f", {}).get(change.item_id, -1) < change.as_of_ms):
                own.setdefault("f", {})[change.item_id] = change.as_of_ms
                found.append(_moment(playbook, change, mark, appended_ms))
    return found


def who_missed(kept: dict[str, Any]) -> dict[str, int]:
    """What to tell as lost, by playbook, where changes passed that the person could not look at."""
    return {name: 1 for name, own in kept.items() if own.get("i")}


def cared_for(kept: dict[str, Any]) -> Iterator[str]:
    """Ids of the items whose changes may matter to the person; some more than once."""
    for own in kept.values():
        yield from own.get("i", ())


def merge(own: dict[str, Any], other: dict[str, Any]) -> None:
    """Take in what the same person did with items under another id, and what they were told."""
    items: dict[str, list[Mark]] = own.setdefault("i", {})
    for item_id, theirs in other.get("i", {}).items():
        marks = {_place(mark): mark for mark in [*items.get(item_id, ()), *theirs]}
        items[item_id] = [marks[place] for place in sorted(marks)]
    fired = own.setdefault("f", {})
    for item_id, as_of_ms in other.get("f", {}).items():
        fired[item_id] = max(as_of_ms, fired.get(item_id, as_of_ms))
    _keep_bounds(own)


def _matters(trigger: Trigger, change: ItemChange) -> bool:
    if trigger.kind == "back_in_stock":
        return change.in_stock and not change.was_in_stock
    before, after = change.price_before_micros, change.price_micros
    return (trigger.kind == "price_drop" and change.in_stock and 0 < after < before
            and before - after >= trigger.at_least * before)


def _last_before(own: dict[str, Any], change: ItemChange) -> Mark | None:
    """What was done with the item last before the change; None: nothing, or with ITEMS_MAX other
    items since."""
    last = _last_of(own, change.as_of_ms)
    found = last.get(change.item_id)
    if found is None:
        return None
    place = (found[0], change.item_id)
    newer = sum((mark[0], item) > place for item, mark in last.items())
    return found if newer < ITEMS_MAX else None


def _last_of(own: dict[str, Any], at_ms: int) -> dict[str, Mark]:
    """Of each item the last mark by then."""
    found = {}
    for item, marks in own.get("i", {}).items():
        by_then = [mark for mark in marks if mark[0] <= at_ms]
        if by_then:
            found[item] = by_then[-1]
    return found


def _place(mark: Mark) -> tuple[int, str]:
    return mark[0], mark[2]


def _forget(own: dict[str, Any], trigger: Trigger, reached_ms: int) -> None:
    """Forget what no change can ask for any more: they come after the watermark less a day."""
    items: dict[str, list[Mark]] = own["i"]
    floor_ms = min(reached_ms, max(marks[-1][0] for marks in items.values())) - LATE_MS
    last = _last_of(own, floor_ms)
    newest = {item for _, item in sorted((mark[0], item) for item, mark in last.items()
                                         if mark[0] >= floor_ms - trigger.within_ms)[-ITEMS_MAX:]}
    for item, mark in last.items():
        left = [mark] if item in newest else []
        left += [each for each in items[item] if each[0] > floor_ms]
        if left:
            items[item] = left
        else:
            del items[item]


def _keep_bounds(own: dict[str, Any]) -> None:
    """Forget the oldest of too much, and when changes of items that are gone were told."""
    items: dict[str, list[Mark]] = own["i"]
    spare = sum(map(len, items.values())) - MARKS_MAX
    if spare > 0:
        note(own, spare)
        oldest = sorted((*_place(mark), item) for item, marks in items.items() for mark in marks)
        for _, _, item in oldest[:spare]:
            del items[item][0]
            if not items[item]:
                del items[item]
    fired = {item: as_of_ms for item, as_of_ms in own.pop("f", {}).items() if item in items}
    if fired:
        own["f"] = fired


def _moment(playbook: Playbook, change: ItemChange, mark: Mark, appended_ms: int) -> Moment:
    at_ms, _, event_id, kind = mark
    evidence = {"item": change.item_id, "as_of_ms": change.as_of_ms,
                "price_before_micros": change.price_before_micros,
                "price_micros": change.price_micros, "currency": change.currency,
                "was_in_stock": change.was_in_stock, "in_stock": change.in_stock,
                "event": kind, "event_id": event_id, "at_ms": at_ms}
    change_id = ids.derive("item", playbook.tenant, change.item_id, change.as_of_ms)
    return Moment(playbook, change.as_of_ms, change_id, change.item_id, (change.item_id,),
                  appended_ms, evidence)
