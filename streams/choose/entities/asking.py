"""Asking: what all partitions say of a thing, as of a moment.

A thing that fewer people were heard of with than a group must have is not spoken of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.choose.entities.rows import Entities
from streams.choose.entities.spec import CATEGORY, ITEM, EntitySpec
from streams.choose.entities.telling import PEOPLE
from streams.choose.entities.values import value_of
from streams.choose.features.layout import NEWEST
from streams.choose.features.reading import read
from streams.choose.pooling import Pools
from streams.engine.hashing import signed_hash
from streams.kernel.side_inputs import SideInputs

ITEMS_MAX: Final = 5                # of a decision
BESTSELLER: Final = "bestseller"    # what a thing's features license, see `compose.prepare`


class Things:
    """`people_min`: things of fewer people are not spoken of."""

    def __init__(self, specs: Sequence[EntitySpec], side: SideInputs, *, people_min: int) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._side, self._people_min = side, people_min
        self._pools = {spec.name: Pools(spec.layout, side) for spec in specs}

    @property
    def names(self) -> list[str]:
        """Entities that are declared."""
        return sorted(self._specs)

    def people(self, tenant: str, entity: str, name: str, at_ms: int) -> int:
        """Of how many people a thing was heard lately, all partitions together: as of `at_ms`, or
        of the newest event that names it if that is later.

        Not what partitions said themselves: that is as of when they said it, and of a thing that
        nobody names any more nothing is said anew.
        """
        slot = self._pools[entity].slot((tenant, entity, name))
        return 0 if slot is None else self._people(entity, slot, at_ms)

    def _people(self, entity: str, slot: int, at_ms: int) -> int:
        spec, v = self._specs[entity], self._pools[entity].rows.views
        as_of_ms = max(at_ms, int(v.i64[slot, NEWEST]))
        return round(float(read(spec.program.reads, v.u8, v.u16, v.i64, slot, PEOPLE, as_of_ms)[0]))

    def newest_ms(self, tenant: str, entity: str, name: str) -> int | None:
        """Event time of the newest event that names the thing; None: nobody speaks of it."""
        pools = self._pools[entity]
        slot = pools.slot((tenant, entity, name))
        return None if slot is None else int(pools.rows.views.i64[slot, NEWEST])

    def of(self, tenant: str, entity: str, name: str, at_ms: int,
           covers: Mapping[int, int] | None = None) -> dict[str, Any] | None:
        """{"people": ..., feature: {"value": ..., "age_ms": ...}}; None: nothing may be said.

        covers   features that have not counted from the beginning, see `Layouts.covers`
        """
        spec, pools = self._specs[entity], self._pools[entity]
        slot = pools.slot((tenant, entity, name))
        people = 0 if slot is None else self._people(entity, slot, at_ms)
        if slot is None or people < self._people_min:
            return None
        found: dict[str, Any] = {"people": people}
        v = pools.rows.views
        for f, each in enumerate(spec.layout.specs):
            if f <= PEOPLE:
                continue
            told = found[each.name] = value_of(spec, v, slot, f, at_ms, (covers or {}).get(f, 0))
            if (each.bestseller_from and told["value"] is not None
                    and told["value"] >= each.bestseller_from):
                found[BESTSELLER] = True
        return found

    def of_moment(self, entities: Entities, tenant: str, items: Sequence[str], at_ms: int,
                  ) -> dict[str, dict[str, Any]]:
        """{entity: {name: what `of` says}} of the items that a moment is about, and of the category
        of the first; entities of which nothing may be said are left out."""
        asked = [(ITEM, item) for item in items[:ITEMS_MAX]]
        first = self._side.catalogue.get((tenant, items[0])) if items else None
        if first is not None and first["category"]:
            asked.append((CATEGORY, first["category"]))
        found: dict[str, dict[str, Any]] = {}
        for entity, name in asked:
            if entity in self._specs:
                covers = entities.of[entity].layouts.covers(signed_hash(tenant))
                told = self.of(tenant, entity, name, at_ms, covers)
                if told is not None:
                    found.setdefault(entity, {})[name] = told
        return found
