"""Telling: the hottest things of a partition are said on segments.rolled, as groups are.

Every `TELL_EVERY_MS`, and when a tenant's time has moved by `TELL_EVENT_MS` (a replay, a backlog),
the `tell` hottest things of each tenant: those that changed or were not said yet; what fell out is
said to be empty. People are spread over partitions by a hash of their ids, so
what is hot is hot in every partition, and complete when it is put together; of what is on the edge
some partitions may say nothing, and what is put together is too little, never too much.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson

from streams import pipeline
from streams.choose.entities.rows import Entities, EntityRows, key_of, thing_of
from streams.choose.entities.values import value_of
from streams.choose.features.layout import NEWEST, STAMP
from streams.choose.features.reading import read
from streams.choose.features.spec import PER_HEAD
from streams.choose.shares import of_itself
from streams.engine.hashing import signed_hash
from streams.engine.records import Out
from streams.engine.stage import PartitionState
from streams.kernel.moments import HOUR_MS
from streams.kernel.side_inputs import SEGMENT, SideInputs

TELL_EVERY_MS: Final = 30_000
TELL_SOONEST_MS: Final = 5_000              # however fast a tenant's time moves
TELL_EVENT_MS: Final = 6 * HOUR_MS
PEOPLE: Final = 1                           # place of the feature in an entity's layout


class Telling:
    """What one partition has to say of its things."""

    def __init__(self) -> None:
        self._due: set[bytes] = set()
        self._told: set[bytes] | None = None
        self._told_ms = 0
        self._marks: dict[str, int] = {}    # tenants' watermarks when it was told

    def gather(self, entities: Entities) -> None:
        """Things whose rows changed since the last checkpoint are due."""
        for each in entities.of.values():
            if each.layouts.due:        # since when they count is another
                self._due.update(each.rows)
            self._due.update(each.rows.key(slot)
                             for slot in np.nonzero(each.rows.views.dirty)[0].tolist())

    def tell(self, entities: Entities, side: SideInputs, state: PartitionState, out: Out) -> None:
        """Emit what is due, when it is time."""
        marks = {tenant: state.watermarks.of(tenant)
                 for each in entities.of.values() for tenant in each.of_tenant}
        moved = any(mark - self._marks.get(tenant, 0) >= TELL_EVENT_MS
                    for tenant, mark in marks.items())
        if 0 < out.now_ms - self._told_ms < (TELL_SOONEST_MS if moved else TELL_EVERY_MS):
            return
        self._told_ms, self._marks = out.now_ms, marks
        told = self._standing(side, state.partition)
        hot: dict[bytes, tuple[EntityRows, int]] = {}
        for each in entities.of.values():
            for tenant in each.of_tenant:
                hot.update((each.rows.key(slot), (each, slot))
                           for slot in each.by_heat(tenant)[:each.spec.tell])
        for key in sorted(told - hot.keys()):
            _emit(state, out, key)
        for key in sorted(key for key in hot if key in self._due or key not in told):
            _emit(state, out, key, *hot[key])
        self._told = set(hot)
        self._due.clear()

    def _standing(self, side: SideInputs, partition: int) -> set[bytes]:
        """What this partition has said, in the words of an owner before it too. What such a one
        said is said over: all of it to begin with, and what it says late."""
        found = {key_of(entity, tenant, name)
                 for (tenant, entity, name), shares in tuple(side.rolls.items())
                 if entity != SEGMENT and partition in shares}
        if self._told is None:
            self._due |= found
        for group, where in tuple(side.overtaken):
            tenant, entity, name = group
            if where == partition and entity != SEGMENT:
                side.overtaken.discard((group, where))
                self._due.add(key_of(entity, tenant, name))
        return found | (self._told or set())


def _read(rows: EntityRows, slot: int, at_ms: int) -> tuple[int, dict[str, dict[str, Any]]]:
    """(people, {feature: {"value", "age_ms"}}) of a row, as a decision tells them; `since_ms` where
    a feature may lack what was before."""
    v, spec = rows.rows.views, rows.spec
    people = read(spec.program.reads, v.u8, v.u16, v.i64, slot, PEOPLE, at_ms)[0]
    covers = rows.layouts.covers(signed_hash(thing_of(rows.rows.key(slot))[1]))
    return round(float(people)), {
        each.name: value_of(spec, v, slot, f, at_ms, covers.get(f, 0))
        for f, each in enumerate(spec.layout.specs) if f > PEOPLE}


def _emit(state: PartitionState, out: Out, key: bytes, rows: EntityRows | None = None,
          slot: int = 0) -> None:
    """Say the thing's row; without `rows` that nothing is said of it any more."""
    entity, tenant, name = thing_of(key)
    at_ms, people, row, stamp, values = 0, 0, b"", 0, dict[str, dict[str, Any]]()
    sums: dict[str, float] = {}
    if rows is not None:
        i64 = rows.rows.views.i64
        at_ms = max(state.watermarks.of(tenant), int(i64[slot, NEWEST]))
        people, values = _read(rows, slot, at_ms)
        row, stamp = rows.rows.encode(key) or b"", int(i64[slot, STAMP])
        sums = {spec.name: values[spec.name]["value"] for spec in rows.spec.features
                if spec.kind in PER_HEAD and values[spec.name]["value"] is not None}
    out.emit(pipeline.SEGMENT_ROLLS, "\x1f".join((tenant, entity, name, str(state.partition))), {
        "tenant": tenant, "segment": name, "partition": state.partition, "members": people,
        "sums_json": orjson.dumps(sums).decode(), "event_ms": at_ms, "recorded_ms": out.now_ms,
        "entity": entity, "epoch": state.epoch, "row": row, "changes": 0,
        **of_itself(state.notes, tenant, entity, stamp, values)}, partition=state.partition)
