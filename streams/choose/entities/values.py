"""Values: one feature of one thing, as it is told."""

from __future__ import annotations

from typing import Any

from streams.choose.entities.spec import EntitySpec
from streams.choose.features.migrating import lacks_since
from streams.choose.features.reading import NO_AGE, read
from streams.engine.room import Views


def value_of(spec: EntitySpec, views: Views, slot: int, feature: int, at_ms: int,
             covers_ms: int) -> dict[str, Any]:
    """{"value", "age_ms"} of a feature by its place; and `since_ms` where it may lack what was
    before that.

    covers_ms   the event time after which the feature counts everything, 0: it always did
    """
    value, has, age = read(spec.program.reads, views.u8, views.u16, views.i64, slot, feature, at_ms)
    age_ms = None if age == NO_AGE else int(age)
    told = {"value": round(float(value), 6) if has else None, "age_ms": age_ms}
    since_ms = lacks_since(spec.layout.specs[feature], covers_ms, at_ms, age_ms)
    return told if since_ms is None else {**told, "since_ms": since_ms}
