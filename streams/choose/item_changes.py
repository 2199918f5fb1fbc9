"""Changes of items that wait: each is looked at when the watermark has passed its moment.

Then everything that people did before it is known, in whatever order it came. They wait in the
notes of the partition, which go to the changelog with every checkpoint in one message: hence the
bounds. When a whole catalogue is on sale at once, changes of more items than WAITING_FREELY wait
only where somebody cares for the item already; of more than WAITING_MAX none does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from streams.choose.triggers import ItemChange

WAITING_FREELY: Final = 5_000           # items, per tenant and partition
WAITING_MAX: Final = 10_000
CHANGES_MAX: Final = 8                  # of one item
_FIELDS: Final = ("price_before_micros", "price_micros", "currency", "was_in_stock", "in_stock")

Waiting = dict[str, list[list[Any]]]    # item -> [[as_of_ms, *_FIELDS], ...]


def keep(notes: dict[str, Any], change: Mapping[str, Any], cared_for: Collection[str]) -> bool:
    """Let the change wait; told again it is one change. False when there is no room for it.

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
    if not (own or len(waiting) < WAITING_FREELY or item_id in cared_for):
        return False
    waiting[item_id] = [*own, told]
    return True


def take_passed(notes: dict[str, Any], tenant: str, now_ms: int) -> list[ItemChange]:
    """The changes whose moment the watermark has passed, in the order of their time; they wait
    no more."""
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
    return sorted(found, key=lambda each: (each.as_of_ms, each.item_id, each.price_before_micros,
                                           each.price_micros, each.in_stock))
