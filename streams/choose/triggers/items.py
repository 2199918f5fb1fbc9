"""Items: one that the person cares about is back in stock, or costs less.

In       events about items: looked at (`events`) or bought (`without`); then changes of items
Keeps    i: {item: [[ms, cares, event_id, event_type], ...]}, the newest few; f: {item: as_of_ms} of
         the last change that made a moment
Time     as of the change's own: what the person did with the item last before it decides. A change
         is looked at when the watermark has passed it; then all that happened before is known
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from streams.choose.triggers.moment import Moment, Person
from streams.kernel import ids
from streams.kernel.moments import DAY_MS
from streams.playbooks.model import Playbook, Trigger

KINDS: Final = ("back_in_stock", "price_drop")
ITEMS_MAX = 32           # per playbook and person
MARKS_MAX = 6            # per item
LATE_MS = DAY_MS         # how much later than the newest event a change is still looked at


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
        for item_id in [item for item in about if item][:ITEMS_MAX]:
            _mark(own, trigger, item_id, [event["event_ms"], int(cares), event["event_id"], kind])
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


def cared_for(kept: dict[str, Any]) -> Iterator[str]:
    """Ids of the items whose changes may matter to the person; some more than once."""
    for own in kept.values():
        yield from own.get("i", ())


def merge(own: dict[str, Any], other: dict[str, Any]) -> None:
    """Take in what the same person did with items under another id, and what they were told."""
    items: dict[str, list[list[Any]]] = own.setdefault("i", {})
    for item_id, theirs in other.get("i", {}).items():
        marks = {(mark[0], mark[2]): mark for mark in [*items.get(item_id, ()), *theirs]}
        items[item_id] = [marks[key] for key in sorted(marks)][-MARKS_MAX:]
    while len(items) > ITEMS_MAX:
        _forget_oldest(items)
    fired = own.pop("f", {})
    for item_id, as_of_ms in other.get("f", {}).items():
        fired[item_id] = max(as_of_ms, fired.get(item_id, as_of_ms))
    _keep_fired(own, fired)


def _matters(trigger: Trigger, change: ItemChange) -> bool:
    if trigger.kind == "back_in_stock":
        return change.in_stock and not change.was_in_stock
    before, after = change.price_before_micros, change.price_micros
    return (trigger.kind == "price_drop" and change.in_stock and 0 < after < before
            and before - after >= trigger.at_least * before)


def _last_before(own: dict[str, Any], change: ItemChange) -> list[Any] | None:
    marks = [mark for mark in own.get("i", {}).get(change.item_id, ())
             if mark[0] <= change.as_of_ms]
    return marks[-1] if marks else None


def _mark(own: dict[str, Any], trigger: Trigger, item_id: str, mark: list[Any]) -> None:
    """Remember what was done with the item; forget what is too long ago, or too much."""
    items: dict[str, list[list[Any]]] = own.setdefault("i", {})
    marks = items.setdefault(item_id, [])
    marks.append(mark)
    marks.sort(key=lambda m: (m[0], m[2]))
    del marks[:-MARKS_MAX]
    newest_ms = max(each[-1][0] for each in items.values())
    oldest_ms = newest_ms - trigger.within_ms - LATE_MS
    for each in [each for each, found in items.items() if found[-1][0] < oldest_ms]:
        del items[each]
    if len(items) > ITEMS_MAX:
        _forget_oldest(items)
    _keep_fired(own, own.pop("f", {}))


def _forget_oldest(items: dict[str, list[list[Any]]]) -> None:
    del items[min(items, key=lambda i: (items[i][-1][0], i))]


def _keep_fired(own: dict[str, Any], fired: dict[str, int]) -> None:
    """Of items that are still kept; nothing when there is none."""
    left = {each: as_of_ms for each, as_of_ms in fired.items() if each in own["i"]}
    if left:
        own["f"] = left


def _moment(playbook: Playbook, change: ItemChange, mark: list[Any], appended_ms: int) -> Moment:
    at_ms, _, event_id, kind = mark
    evidence = {"item": change.item_id, "as_of_ms": change.as_of_ms,
                "price_before_micros": change.price_before_micros,
                "price_micros": change.price_micros, "currency": change.currency,
                "was_in_stock": change.was_in_stock, "in_stock": change.in_stock,
                "event": kind, "event_id": event_id, "at_ms": at_ms}
    change_id = ids.derive("item", playbook.tenant, change.item_id, change.as_of_ms)
    return Moment(playbook, change.as_of_ms, change_id, change.item_id, (change.item_id,),
                  appended_ms, evidence)
