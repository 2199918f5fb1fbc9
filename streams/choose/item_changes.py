"""Changes of items that wait: each is looked at when the watermark has passed its moment.

Then everything that people did before it is known, in whatever order it came. They wait in the
notes of the partition, which go to the changelog with every checkpoint in one message: hence the
bounds. When a whole catalogue is on sale at once, changes of more items than WAITING_FREELY wait
only where somebody cares for the item already; of more than WAITING_MAX none does. What does not
wait is told: once a day what nobody had cared for, every other change by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import astuple
from typing import Any, Final

from streams.choose.triggers import ItemChange
from streams.engine.records import Out
from streams.kernel.moments import DAY_MS

WAITING_FREELY: Final = 5_000           # items, per tenant and partition
WAITING_MAX: Final = 10_000
CHANGES_MAX: Final = 8                  # of one item
PASSED_MAX: Final = 1_000               # remembered for people whose rows were on their way
DAYS_MAX: Final = 32                    # of which it is known that they were told
_FIELDS: Final = ("price_before_micros", "price_micros", "currency", "was_in_stock", "in_stock")

_AS_OF: Final = 1                       # place of a change's time in it

Waiting = dict[str, list[list[Any]]]    # item -> [[as_of_ms, *_FIELDS], ...]


def take(notes: dict[str, Any], change: Mapping[str, Any], cared_for: Collection[str],
         out: Out) -> None:
    """Let the change wait, or say that it does not."""
    if keep(notes, change, cared_for):
        return
    tenant, item_id, as_of_ms = change["tenant"], change["item_id"], change["as_of_ms"]
    detail = f"item {item_id}"
    if item_id in notes["changes"][tenant]:
        detail += f": {CHANGES_MAX} changes of it wait already"
    elif item_id not in cared_for:
        if not _is_news(notes, tenant, as_of_ms // DAY_MS):
            return
        detail += (f" and perhaps others of that day, which nobody had looked at: there is room "
                   f"for changes of {WAITING_FREELY} such items at once; change prices and stock "
                   f"in smaller parts, or let the watermark follow more closely")
    out.refuse("refused", "too_many_changes", subject=item_id, detail=detail, tenant=tenant,
               event_ms=as_of_ms)


def _is_news(notes: dict[str, Any], tenant: str, day: int) -> bool:
    """Was it not told yet that there is no room for changes of that day? From now on it was."""
    tenants: dict[str, list[int]] = notes.setdefault("changes_lost", {})
    told = tenants.get(tenant, [])
    if day in told or (len(told) == DAYS_MAX and day < told[0]):
        return False
    tenants[tenant] = sorted([*told, day])[-DAYS_MAX:]
    return True


def keep(notes: dict[str, Any], change: Mapping[str, Any], cared_for: Collection[str]) -> bool:
    """Let the change wait; told again it is one change. False when there is no room for it. Without
    `take` nobody hears of that.

    cared_for   items that people of the partition care for now
    """
    tenants: dict[str, Waiting] = notes.setdefault("changes", {})
    waiting, item_id = tenants.setdefault(change["tenant"], {}), change["item_id"]
    told = [change["as_of_ms"], *(change[name] for name in _FIELDS)]
    own = waiting.get(item_id, [])
    if told in own:
        return True
    if len(own) >= CHANGES_MAX or (not own and len(waiting) >= WAITING_MAX):
        return False
    if own or len(waiting) < WAITING_FREELY or item_id in cared_for:
        waiting[item_id] = [*own, told]
        return True
    return False


def take_passed(notes: dict[str, Any], tenant: str, now_ms: int) -> list[ItemChange]:
    """The changes whose moment the watermark has passed, in the order of their time; they wait
    no more, and are remembered for `since`."""
    tenants: dict[str, Waiting] = notes.get("changes", {})
    waiting = tenants.get(tenant)
    if waiting is None:
        return []
    found = [ItemChange(item_id, *told) for item_id, own in waiting.items() for told in own
             if told[0] <= now_ms]
    for item_id in {each.item_id for each in found}:
        left = [told for told in waiting[item_id] if told[0] > now_ms]
        if left:
            waiting[item_id] = left
        else:
            del waiting[item_id]
    if not waiting:
        del tenants[tenant]
    found.sort(key=_place)
    if found:
        passed = notes.setdefault("changes_passed", {})
        recent = sorted((told for told in [*passed.get(tenant, ()), *map(astuple, found)]
                         if told[_AS_OF] > now_ms - DAY_MS), key=lambda told: told[_AS_OF])
        passed[tenant] = recent[-PASSED_MAX:]
        if forgotten := recent[:-PASSED_MAX]:
            notes.setdefault("changes_forgotten", {})[tenant] = forgotten[-1][_AS_OF]
    return found


def since(notes: Mapping[str, Any], tenant: str,
          looked_at_ms: int | None) -> tuple[list[ItemChange], int | None]:
    """The changes that have passed while something was on its way: of the last PASSED_MAX of a day
    those after `looked_at_ms`, up to which they were looked at where it came from; None: nothing
    was said. Beside them: when the last of those was that are not remembered, if there were any."""
    if looked_at_ms is None:
        return [], None
    found = [ItemChange(*told) for told in notes.get("changes_passed", {}).get(tenant, ())]
    missed_ms = notes.get("changes_forgotten", {}).get(tenant, looked_at_ms)
    return (sorted((each for each in found if each.as_of_ms > looked_at_ms), key=_place),
            missed_ms if missed_ms > looked_at_ms else None)


def _place(change: ItemChange) -> tuple[Any, ...]:
    return (change.as_of_ms, change.item_id, change.price_before_micros, change.price_micros,
            change.in_stock)
