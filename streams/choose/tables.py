"""Tables: what choose keeps of a partition. Rows of people, rows of segments, and their timers.

Header words of a person's row: see `features/layout.py`. What varies is in the row's tail:
    l locale · w triggers' state · a absences (`absences`) · d what was said
Segments have rows of the same features under keys of their own, with wider tiles, so that a
feature means the same for a person and for a group. Beside the rows the changelog holds the
layouts that they were ever written in (`features/migrating.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np

from streams.choose.absences import Absences
from streams.choose.entities.rows import ENTITY_PREFIX, Entities
from streams.choose.entities.spec import EntitySpec
from streams.choose.features.layout import FLAGS, MOVED, NEWEST, SINCE, STAMP, TENANT, Layout
from streams.choose.features.migrating import Layouts
from streams.engine.cold import Slots
from streams.engine.deadlines import Deadlines
from streams.engine.hashing import signed_hash
from streams.engine.room import Room
from streams.engine.rows import Rows
from streams.engine.stage import PartitionState
from streams.kernel.errors import StateError
from streams.kernel.side_inputs import SEGMENT

GROUP_PREFIX = b"\x01"
LAYOUT_PREFIX = b"\x00layout"
_NOT_PEOPLE = (GROUP_PREFIX, ENTITY_PREFIX, LAYOUT_PREFIX)
_LETTERS = b"\x03"          # what these are below


def group_key(tenant: str, segment: str) -> bytes:
    return GROUP_PREFIX + tenant.encode() + b"\x1f" + segment.encode()


def group_of(key: bytes) -> tuple[str, str]:
    """(tenant, segment) of a group's key; everybody has no name."""
    tenant, segment = key[len(GROUP_PREFIX):].decode().split("\x1f")
    return tenant, segment


def is_group(key: bytes) -> bool:
    return key[:1] == GROUP_PREFIX


class Tables:
    """The slab of choose: the engine saves and recovers it, compiled code works on it."""

    def __init__(self, people: Layout, groups: Layout, room: Room | None = None,
                 entities: tuple[EntitySpec, ...] = ()) -> None:
        self._of_people = Layouts(people, LAYOUT_PREFIX + b"P")
        self._of_groups = Layouts(groups, LAYOUT_PREFIX + b"G")
        self.people = Rows(row_bytes=people.row_bytes, layout=people.id,
                           migrate=self._of_people.migrate, room=room, owner=TENANT,
                           back=self._arm_again)
        self.groups = Rows(row_bytes=groups.row_bytes, layout=groups.id,
                           migrate=self._of_groups.migrate)
        self.layout_of_groups = groups
        self.absences = Absences(self.people)
        self.entities = Entities(entities, LAYOUT_PREFIX + b"E")
        self.layout, self.width = people.id ^ groups.id, people.row_bytes
        for spec in entities:
            self.layout ^= spec.layout.id
        self.deadlines: dict[str, Deadlines] = {}
        self._signed: dict[int, str] = {}
        # item -> people whose triggers care for it; from the tails, made anew with them.
        self.cared_for: dict[str, set[bytes]] = {}
        self._unread: dict[bytes, bytes] = {}
        self._heard_ms: dict[int, int] = {}

    def rows_of(self, key: bytes) -> Rows:
        return self.groups if is_group(key) else self.people

    def __len__(self) -> int:
        return len(self.people) + len(self.groups) + len(self.entities)

    def __iter__(self) -> Iterator[bytes]:
        yield from self.groups
        yield from self.entities
        yield from self.people

    def _layouts_of(self, key: bytes) -> Layouts | None:
        kind = key[len(LAYOUT_PREFIX):][:1]
        if kind == b"E":
            return self.entities.layouts_of(key)
        return self._of_groups if kind == b"G" else self._of_people

    def encode(self, key: bytes) -> bytes | None:
        if key.startswith(LAYOUT_PREFIX):
            layouts = self._layouts_of(key)
            return None if layouts is None else layouts.encode(key)
        return self._kept_of(key).encode(key)

    def _kept_of(self, key: bytes) -> Rows | Entities:
        return self.entities if key[:1] == ENTITY_PREFIX else self.rows_of(key)

    def encode_all(self, keys: Sequence[bytes], front: bytes = b"") -> list[bytes | None]:
        """`encode` of each key, behind `front`."""
        # Mostly all are of people, whose ids begin with letters.
        others = [n for n, key in enumerate(keys) if key < _LETTERS
                  and key.startswith(_NOT_PEOPLE)]
        if not others:
            return self.people.encode_all(keys, front)
        is_other = set(others)
        rows = iter(self.people.encode_all([key for n, key in enumerate(keys)
                                            if n not in is_other], front))
        found: list[bytes | None] = []
        for n, key in enumerate(keys):
            row = self.encode(key) if n in is_other else next(rows)
            found.append(front + row if n in is_other and row is not None else row)
        return found

    def apply(self, key: bytes, value: bytes | None) -> None:
        if key.startswith(LAYOUT_PREFIX):
            layouts = self._layouts_of(key)
            if value is not None and layouts is not None:
                layouts.learn(key, value)
            return
        self._unread.pop(key, None)
        try:
            self._kept_of(key).apply(key, value)
        except StateError:      # its layout may be told later in the log
            assert value is not None
            self._unread[key] = value

    def hear_layout(self, description: str) -> None:
        """What a person's row from another partition means; see `Layouts.hear`."""
        self._of_people.hear(description)

    def layouts_of(self, kind: str) -> Layouts | None:
        """Of people (''), of groups (`SEGMENT`), or of an entity; None: it is not declared."""
        if kind in self.entities.of:
            return self.entities.of[kind].layouts
        return {"": self._of_people, SEGMENT: self._of_groups}.get(kind)

    @property
    def groups_moved(self) -> bool:
        """Is it due for the changelog what rows of groups mean, or since when they count?"""
        return self._of_groups.due

    def expect(self, rows: int) -> None:
        """So many rows are about to be applied; most are of people."""
        self.people.expect(rows)

    def apply_all(self, rows: Mapping[bytes, bytes], behind: int = 0) -> None:
        """`apply` of each row, which stands `behind` so many bytes; those of people together."""
        people = {key: value for key, value in rows.items()
                  if key >= _LETTERS or not key.startswith(_NOT_PEOPLE)}
        others = self.people.apply_plain(people, behind)
        for key in people.keys() - others.keys() if self._unread else ():
            self._unread.pop(key, None)
        if len(people) == len(rows) and not others:
            return
        for key, value in rows.items():
            if key not in people or key in others:
                self.apply(key, value[behind:])

    def settle(self) -> None:
        """Read what could not be read before all layouts were known; cells that are new from now
        on begin to count."""
        waiting, self._unread = self._unread, {}
        for key, value in waiting.items():
            self._kept_of(key).apply(key, value)
        self.people.forget_dirty()
        self.groups.forget_dirty()
        newest_ms = self._heard_ms = self._newest_ms()
        # No event behind the last one that changed a row has been counted.
        # Rows of people may be gone whose events groups have counted.
        start = max(int(block.views.i64[block.slots, STAMP].max(initial=0))
                    for rows in (self.people, self.groups, *self.entities.rows())
                    for block in rows.blocks())
        self._of_people.settle(newest_ms, start)
        self._of_groups.settle(newest_ms, start)
        self.entities.settle(newest_ms, start)

    def _newest_ms(self) -> dict[int, int]:
        """{tenant's hash: newest event time heard of}."""
        newest: dict[int, int] = {}
        for block in self.people.blocks():
            # Column by column: to take whole rows would copy all of them.
            signs, heard = (block.views.i64[block.slots, word] for word in (TENANT, NEWEST))
            for tenant in np.unique(signs).tolist():
                if tenant:
                    own = int(heard[signs == tenant].max())
                    newest[tenant] = max(newest.get(tenant, 0), own)
        return newest

    def make_room(self) -> None:
        """Rows of people who were not heard of for long may leave memory."""
        self.people.make_room()

    def _arm_again(self, slots: Slots) -> None:
        """These rows are back in memory: their timers need entries."""
        armed, signs = self.people.views.armed[slots], self.people.views.i64[slots, TENANT]
        for signed in np.unique(signs[armed > 0]).tolist():
            own = (armed > 0) & (signs == signed)
            self.timers(self._signed[signed]).push(armed[own], slots[own])

    @property
    def dirty(self) -> bool:
        return (self._of_people.due or self._of_groups.due or self.people.dirty
                or self.groups.dirty or self.entities.dirty)

    def take_dirty(self) -> list[bytes]:
        """Groups first: whoever finds a person's row in the changelog finds the group's as well;
        and its layout's."""
        return [*self._of_groups.take_due(), *self._of_people.take_due(),
                *self.groups.take_dirty(), *self.entities.take_dirty(),
                *self.people.take_dirty()]

    def covers(self, rows: Rows, slot: int) -> Mapping[int, int]:
        """Which features of a row have not counted from the beginning; see `Layouts.covers`."""
        if rows is self.people:
            return self._of_people.covers(int(rows.views.i64[slot, TENANT]))
        return self.covers_group(*group_of(rows.key(slot)), int(rows.views.i64[slot, SINCE]))

    def covers_group(self, tenant: str, segment: str, since_ms: int) -> Mapping[int, int]:
        """`covers` of the row of a segment, or of everybody (''): only that is ever filled.
        `since_ms`: what the row itself says."""
        found = self._of_groups.covers(signed_hash(tenant), apart=bool(segment))
        if not since_ms:
            return found
        return {f: max(found.get(f, 0), since_ms)
                for f in range(len(self.layout_of_groups.specs))}

    def timers(self, tenant: str) -> Deadlines:
        found = self.deadlines.get(tenant)
        if found is None:
            found = self.deadlines[tenant] = Deadlines(self.people, signed_hash(tenant))
        return found

    def woken(self, slot: int, offset: int) -> None:
        """The person was woken by the watermark at `offset`, and may be again by the same."""
        self.people.stamp(slot, offset)
        self.absences.arrays.woken[slot] = offset + 1

    def is_news(self, slot: int, offset: int) -> bool:
        """Has the person not heard of the watermark at `offset`, or only by being woken?"""
        return (not self.people.has_seen(slot, offset)
                or int(self.absences.reserve(0, 0).woken[slot]) == offset + 1)

    def knows(self, tenant: str) -> None:
        """Remember the tenant's name by its hash, which is what rows keep."""
        self._signed.setdefault(signed_hash(tenant), tenant)

    def care(self, key: bytes, before: set[str], after: set[str]) -> None:
        """The person cared for the items `before`, and does for `after` now."""
        for item_id in after - before:
            self.cared_for.setdefault(item_id, set()).add(key)
        for item_id in before - after:
            keys = self.cared_for.get(item_id, set())
            keys.discard(key)
            if not keys:
                self.cared_for.pop(item_id, None)

    def heard_ms(self, tenant: str) -> int:
        """The tenant's newest event when the rows were recovered; 0: it was not heard of."""
        return self._heard_ms.get(signed_hash(tenant), 0)

    def tenants(self) -> list[tuple[str, int]]:
        """(name, hash as rows keep it) of every tenant heard of."""
        return [(name, signed) for signed, name in self._signed.items()]

    def people_of(self, signed: int) -> int:
        """How many people of a tenant, by its hash, are known here under their own id."""
        count = 0
        for block in self.people.blocks():
            tenants, flags = (block.views.i64[block.slots, word] for word in (TENANT, FLAGS))
            count += int(((tenants == signed) & (flags & MOVED == 0)).sum())
        return count

    def tenant_of(self, slot: int) -> str | None:
        """The tenant of a person's row; None when it has not heard anything it may use."""
        return self._signed.get(int(self.people.views.i64[slot, TENANT]))


def tables_of(state: PartitionState) -> Tables:
    """The partition's tables: what `ChooseLogic.make_slab` made."""
    return cast(Tables, state.slab)
