"""Rows of things: one partition's, of every declared entity. Bounded.

A thing's row begins with the first event that names it. At every `BLOCK`th offset of the log, where
more than `keep` things of a tenant are kept, the coldest go (an eighth of `keep` at once): those of
which least was heard lately, by events whose weight halves each day, and of equally cold ones the
last by name. So what is kept depends on the log alone, not on how it was cut into batches, and a
flood of names that are heard of once pushes out nothing that is warm. What went begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from streams.choose.entities.loops import heats
from streams.choose.entities.spec import EntitySpec
from streams.choose.features.layout import MASK, NEWEST
from streams.choose.features.migrating import Layouts
from streams.engine.hashing import hash_of
from streams.engine.rows import Rows

ENTITY_PREFIX = b"\x02"
# In place of segments, which things are not members of: behind which offset the row began. 0: an
# earlier build made it.
BORN: Final = MASK
BLOCK_BITS: Final = 10
GOLDEN, _WORD = 0x9E3779B97F4A7C15, (1 << 64) - 1


def key_of(entity: str, tenant: str, name: str) -> bytes:
    return ENTITY_PREFIX + "\x1f".join((entity, tenant, name)).encode()


def thing_of(key: bytes) -> tuple[str, str, str]:
    """(entity, tenant, name) of a thing's key."""
    entity, tenant, name = key[len(ENTITY_PREFIX):].decode().split("\x1f", 2)
    return entity, tenant, name


def pair_of(tenant: int, name: int) -> int:
    """One number of the hashes of tenant and name; `tally` reckons it likewise."""
    return (name ^ tenant * GOLDEN) & _WORD


class EntityRows:
    """Rows of one entity."""

    def __init__(self, spec: EntitySpec, layout_prefix: bytes) -> None:
        self.spec = spec
        self.layouts = Layouts(spec.layout, layout_prefix)
        self.rows = Rows(row_bytes=spec.layout.row_bytes, layout=spec.layout.id,
                         migrate=self.layouts.migrate)
        self.slots: dict[int, int] = {}                 # pair -> slot
        self.of_tenant: dict[str, set[int]] = {}

    def add(self, pair: int, tenant: str, name: str) -> int:
        """The slot of a thing that has none; its row is empty."""
        slot = self.rows.slot(key_of(self.spec.name, tenant, name))
        self.slots[pair] = slot
        self.of_tenant.setdefault(tenant, set()).add(slot)
        return slot

    def begin(self, tenant: str, name: str) -> int:
        """`add` of a thing by its name alone."""
        return self.add(pair_of(hash_of(tenant), hash_of(name)), tenant, name)

    def thin(self) -> list[str]:
        """Let the coldest things go where there are too many; returns the tenants whose."""
        thinned = []
        for tenant, slots in self.of_tenant.items():
            if len(slots) > self.spec.keep:
                thinned.append(tenant)
                for slot in self.by_heat(tenant)[self.spec.keep - self.spec.keep // 8:]:
                    key = self.rows.key(slot)
                    slots.discard(slot)
                    del self.slots[_pair(key)]
                    self.rows.drop(key)
        return thinned

    def by_heat(self, tenant: str) -> list[int]:
        """Slots of the tenant's things, the hottest first."""
        slots = np.fromiter(self.of_tenant.get(tenant, ()), np.int64)
        if not len(slots):
            return []
        v, heat = self.rows.views, np.zeros(len(slots))
        heats(self.spec.program.reads, v.u8, v.u16, v.i64, slots,
               int(v.i64[slots, NEWEST].max()), heat)
        return [slot for _, _, slot in sorted(
            (-hot, self.rows.key(slot), slot)
            for hot, slot in zip(heat.tolist(), slots.tolist(), strict=True))]

    def settle(self, newest_ms: Mapping[int, int], start: int) -> None:
        """All rows are back; see `Layouts.settle`."""
        self.rows.forget_dirty()
        self.layouts.settle(newest_ms, start, begins=True)
        self.slots.clear()
        self.of_tenant.clear()
        for slot in self.rows.index:
            key = self.rows.key(slot)
            self.slots[_pair(key)] = slot
            self.of_tenant.setdefault(thing_of(key)[1], set()).add(slot)


def _pair(key: bytes) -> int:
    _, tenant, name = thing_of(key)
    return pair_of(hash_of(tenant), hash_of(name))


class Entities:
    """All entities of one partition, as the slab saves and recovers them."""

    def __init__(self, specs: tuple[EntitySpec, ...], layout_prefix: bytes) -> None:
        self._prefix = layout_prefix
        self.of = {spec.name: EntityRows(spec, layout_prefix + spec.name.encode() + b"\x1f")
                   for spec in specs}

    def __len__(self) -> int:
        return sum(len(each.rows) for each in self.of.values())

    def __iter__(self) -> Iterator[bytes]:
        for each in self.of.values():
            yield from each.rows

    def layouts_of(self, key: bytes) -> Layouts | None:
        """None: of an entity that is declared no more."""
        name = key[len(self._prefix):].split(b"\x1f")[0].decode()
        return self.of[name].layouts if name in self.of else None

    def encode(self, key: bytes) -> bytes | None:
        """None for things of an entity that is declared no more, too: they are cleared."""
        found = self.of.get(thing_of(key)[0])
        return None if found is None else found.rows.encode(key)

    def apply(self, key: bytes, value: bytes | None) -> None:
        found = self.of.get(thing_of(key)[0])
        if found is not None:
            found.rows.apply(key, value)

    @property
    def dirty(self) -> bool:
        return any(each.layouts.due or each.rows.dirty for each in self.of.values())

    def take_dirty(self) -> list[bytes]:
        return [key for each in self.of.values()
                for key in (*each.layouts.take_due(), *each.rows.take_dirty())]

    def settle(self, newest_ms: Mapping[int, int], start: int) -> None:
        for each in self.of.values():
            each.settle(newest_ms, start)

    def rows(self) -> list[Rows]:
        return [each.rows for each in self.of.values()]
