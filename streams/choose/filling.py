"""Filling: an owner takes what rows of everybody and of things lack of the past (`backfill`).

In       `backfill` records of the partition, in the order of the log
Out      rows that count from the log's beginning on; coverage that says so
Keeps    nothing beside the rows
Refuses  nothing: what cannot be made whole goes on saying since when it counts
Time     none

Rows of things are bounded: some that were there when the new cells began have gone since, and may
have begun anew. So the past goes into rows that were there then. Where an entity is new, or hears
of more than before, things of the past may have no row, and one is made; that is right only while
nothing of the tenant has gone since then, nor would have with them, and else it is left out.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from streams.choose import shares
from streams.choose.entities.rows import BORN, EntityRows, key_of
from streams.choose.features.layout import STAMP, Layout
from streams.choose.features.merging import merge
from streams.choose.features.migrating import Described, Layouts
from streams.choose.tables import Tables, group_key
from streams.engine.hashing import signed_hash
from streams.engine.rows import Rows
from streams.kernel.side_inputs import SEGMENT


def take(tables: Tables, notes: dict[str, Any], told: dict[str, Any]) -> None:
    """Take one record: a row of everybody or of a thing, or a word on them or on people.

    notes   of the partition, see `shares`
    """
    kind, tenant = told["kind"], told["tenant"]
    layouts = tables.layouts_of(kind)
    if layouts is None:         # of an entity that is declared no more
        return
    cells, things = Described.read(told["layout"]).cells, tables.entities.of.get(kind)
    if not told["row"]:
        if tenant:
            shares.let_go(notes, tenant, kind)
        else:
            layouts.filled(cells, told["since_ms"], _left_out(things, notes, layouts, cells)
                           if things is not None and told["begins"] else ())
        return
    layouts.hear(told["layout"])
    if things is not None:
        _thing(things, notes, told, layouts.start_of(cells))
    elif kind == SEGMENT:
        slot = tables.groups.find(group_key(tenant, ""))
        if slot is not None:
            _merge(tables.layout_of_groups, tables.groups, slot, told["row"])


def _left_out(things: EntityRows, notes: dict[str, Any], layouts: Layouts,
              cells: Collection[str]) -> set[int]:
    """Tenants (by their hashes) of whom things went, or go now, since the cells began."""
    start, entity = layouts.start_of(cells), things.spec.name
    return {signed_hash(tenant) for tenant, slots in things.of_tenant.items()
            if shares.thinned_at(notes, tenant, entity) >= start or len(slots) > things.spec.keep}


def _thing(things: EntityRows, notes: dict[str, Any], told: dict[str, Any], start: int) -> None:
    tenant, name, rows = told["tenant"], told["name"], things.rows
    slot = rows.find(key_of(things.spec.name, tenant, name))
    may_begin = told["begins"] and shares.thinned_at(notes, tenant, things.spec.name) < start
    if slot is None and may_begin:
        slot = things.begin(tenant, name)
    if slot is None or not (may_begin or int(rows.views.i64[slot, BORN]) <= start):
        return
    header = _merge(things.spec.layout, rows, slot, told["row"]).view(np.int64)
    words = rows.views.i64[slot]
    words[STAMP] = max(words[STAMP], header[STAMP])
    born = [int(each[BORN]) for each in (words, header) if each[BORN]]
    words[BORN] = min(born, default=0)


def _merge(layout: Layout, rows: Rows, slot: int, encoded: bytes) -> np.ndarray[Any, Any]:
    """Add an encoded row; returns it."""
    other = np.frombuffer(rows.read(encoded)[0], np.uint8).copy()
    merge(layout, rows.views.u8[slot], other)
    rows.views.dirty[slot] = 1
    return other
