"""Reading what all partitions say of one thing: an item, a category, a campaign, a property."""

from __future__ import annotations

from typing import Any

import orjson

from streams import pipeline
from streams.adapters.control import read_compacted
from streams.choose.definitions import compiled
from streams.choose.entities.asking import BESTSELLER, Things
from streams.kernel.errors import KairosError
from streams.kernel.side_inputs import SideInputs
from streams.settings import Settings


class UnknownEntityError(KairosError):
    """Things of that kind are not kept."""


def read_thing(settings: Settings, tenant: str, entity: str, name: str) -> dict[str, Any] | None:
    """{"people", "features": {name: {"value", "age_ms"}}, ...} as of the newest that was said of
    the thing; None: nothing is said of it, or it is of fewer people than may be shown. A feature
    that may lack what was before an event time says so: "since_ms", the latest of any partition.

    Reads segments.rolled from end to end: for an operator's question. Raises UnknownEntityError,
    and UnreachableError when the broker does not answer.
    """
    side = SideInputs()
    things = Things(compiled(settings.definitions).entities, side,
                    people_min=settings.segment_members_min)
    if entity not in things.names:
        raise UnknownEntityError(
            f"features of '{entity}' are not declared; there are: "
            f"{', '.join(things.names) or 'none'}",
            f"write entities: {{{entity}: {{keep: 10000}}}} and features of it in features.yml")
    for record in read_compacted(settings, pipeline.SEGMENT_ROLLS).values():
        if (record["tenant"], record["entity"], record["segment"]) == (tenant, entity, name):
            side.take(pipeline.SEGMENT_ROLLS, record)
    shares = side.rolls.get((tenant, entity, name), {})
    as_of_ms = max((share["event_ms"] for share in shares.values()), default=0)
    found = things.of(tenant, entity, name, as_of_ms)
    if found is None:
        return None
    for share in shares.values():
        for feature, told in orjson.loads(share.get("values_json") or b"{}").items():
            if "since_ms" in told and feature in found:
                since_ms = max(told["since_ms"], found[feature].get("since_ms", 0))
                found[feature]["since_ms"] = since_ms
    return {"tenant": tenant, "entity": entity, "name": name, "as_of_ms": as_of_ms,
            "people": found.pop("people"), "bestseller": found.pop(BESTSELLER, False),
            "features": found}
