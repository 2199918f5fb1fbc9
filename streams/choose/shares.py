"""What a share says of itself, so that what it holds can be counted anew from the landed events.

Kept in the notes of a partition, which are saved as of the committed offsets:

    heard       the events before this offset were taken
    passed_on   tenants of whom a visitor's event came from, or went to, another person's row: SQL
                is not told whose it became
    let_go      entities, and the tenants of whom things went and may have begun anew
    thinned     by entity and tenant, the offset at which things went last
    moves       how many comings and goings were told, by tenant and segment. After a crash rows
                are ahead of the notes, and some were told that are not counted here
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from streams.choose.features.spec import FeatureSpec

HEARD: Final = "heard"
PASSED_ON, LET_GO, THINNED, MOVES = "passed_on", "let_go", "thinned", "moves"
Noted = dict[str, Any]


def passed_on(notes: Noted, tenant: str) -> None:
    """An event of the tenant was counted elsewhere than where it landed."""
    tenants = notes.setdefault(PASSED_ON, [])
    if tenant not in tenants:
        tenants.append(tenant)


def let_go(notes: Noted, tenant: str, entity: str) -> None:
    """Things of the tenant were dropped."""
    tenants = notes.setdefault(LET_GO, {}).setdefault(entity, [])
    if tenant not in tenants:
        tenants.append(tenant)


def thinned(notes: Noted, tenant: str, entity: str, offset: int) -> None:
    """Things of the tenant were dropped before the event at `offset` was counted."""
    let_go(notes, tenant, entity)
    notes.setdefault(THINNED, {}).setdefault(entity, {})[tenant] = offset


def thinned_at(notes: Noted, tenant: str, entity: str) -> int:
    """Where they were dropped last; -1: nowhere."""
    return int(notes.get(THINNED, {}).get(entity, {}).get(tenant, -1))


def changed(notes: Noted, tenant: str, segment: str) -> None:
    """Somebody entered or left, and it was told."""
    of_tenant = notes.setdefault(MOVES, {}).setdefault(tenant, {})
    of_tenant[segment] = of_tenant.get(segment, 0) + 1


def changes_of(notes: Noted, tenant: str, segment: str) -> int:
    """How many comings and goings were told, at least."""
    return int(notes.get(MOVES, {}).get(tenant, {}).get(segment, 0))


def of_itself(notes: Noted, tenant: str, entity: str, stamp: int,
              values: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The fields of a share that a recount asks for.

    stamp    of the row: after a crash it may be ahead of the notes
    values   {feature: {"value", "age_ms"}}, as a decision holds them
    """
    caveat = (LET_GO if tenant in notes.get(LET_GO, {}).get(entity, ()) else
              PASSED_ON if tenant in notes.get(PASSED_ON, ()) else "")
    return {"heard": max(notes.get(HEARD, 0), stamp), "caveat": caveat,
            "values_json": orjson.dumps(values).decode() if values else ""}


def numbers_of(read: dict[str, dict[str, Any]], specs: tuple[FeatureSpec, ...],
               ) -> dict[str, dict[str, Any]]:
    """Of what was read, the numbers: texts of events stay in Kafka."""
    return {spec.name: read[spec.name] for spec in specs if spec.value_is == "number"}
