"""Tables: what choose keeps of a partition. Rows of people, rows of segments, and their timers.

Header words of a person's row: see `features/layout.py`. What varies is in the row's tail:
    l locale · w triggers' state · d what was said
Segments have rows of the same features under keys of their own, with wider tiles, so that a
feature means the same for a person and for a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from streams.choose.features.layout import TENANT, Layout
from streams.engine.deadlines import Deadlines
from streams.engine.hashing import signed_hash
from streams.engine.rows import Migrate, Rows
from streams.engine.stage import PartitionState

GROUP_PREFIX = b"\x01"


def group_key(tenant: str, segment: str) -> bytes:
    return GROUP_PREFIX + tenant.encode() + b"\x1f" + segment.encode()


def is_group(key: bytes) -> bool:
    return key[:1] == GROUP_PREFIX


class Tables:
    """The slab of choose: the engine saves and recovers it, compiled code works on it."""

    def __init__(self, people: Layout, groups: Layout, migrate: Migrate | None = None) -> None:
        self.people = Rows(row_bytes=people.row_bytes, layout=people.id, migrate=migrate)
        self.groups = Rows(row_bytes=groups.row_bytes, layout=groups.id, migrate=migrate)
        self.layout, self.width = people.id ^ groups.id, people.row_bytes
        self.deadlines: dict[str, Deadlines] = {}
        self._signed: dict[int, str] = {}
        # item -> slots of people whose triggers care for it; from the tails, made anew with them.
        self.cared_for: dict[str, set[int]] = {}

    def rows_of(self, key: bytes) -> Rows:
        return self.groups if is_group(key) else self.people

    def __len__(self) -> int:
        return len(self.people) + len(self.groups)

    def __iter__(self) -> Iterator[bytes]:
        yield from self.groups
        yield from self.people

    def encode(self, key: bytes) -> bytes | None:
        return self.rows_of(key).encode(key)

    def apply(self, key: bytes, value: bytes | None) -> None:
        self.rows_of(key).apply(key, value)

    @property
    def dirty(self) -> bool:
        return self.people.dirty or self.groups.dirty

    def forget_dirty(self) -> None:
        self.people.forget_dirty()
        self.groups.forget_dirty()

    def take_dirty(self) -> list[bytes]:
        """Groups first: whoever finds a person's row in the changelog finds the group's as well."""
        return [*self.groups.take_dirty(), *self.people.take_dirty()]

    def timers(self, tenant: str) -> Deadlines:
        found = self.deadlines.get(tenant)
        if found is None:
            found = self.deadlines[tenant] = Deadlines(self.people)
        return found

    def knows(self, tenant: str) -> None:
        """Remember the tenant's name by its hash, which is what rows keep."""
        self._signed.setdefault(signed_hash(tenant), tenant)

    def care(self, slot: int, before: set[str], after: set[str]) -> None:
        """The person in `slot` cared for the items `before`, and does for `after` now."""
        for item_id in after - before:
            self.cared_for.setdefault(item_id, set()).add(slot)
        for item_id in before - after:
            slots = self.cared_for.get(item_id, set())
            slots.discard(slot)
            if not slots:
                self.cared_for.pop(item_id, None)

    def tenants(self) -> list[tuple[str, int]]:
        """(name, hash as rows keep it) of every tenant heard of."""
        return [(name, signed) for signed, name in self._signed.items()]

    def tenant_of(self, slot: int) -> str | None:
        """The tenant of a person's row; None when it has not heard anything it may use."""
        return self._signed.get(int(self.people.views.i64[slot, TENANT]))


def tables_of(state: PartitionState) -> Tables:
    """The partition's tables: what `ChooseLogic.make_slab` made."""
    return cast(Tables, state.slab)
