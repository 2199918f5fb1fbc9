"""Choose: features, segments, triggers, decision. From events of people to decisions about them.

`ChooseLogic.walk` is the stage as a plain function over one partition's batch. The kernel takes
what is frequent; what it comes back with is settled here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import orjson

from streams import pipeline
from streams.choose import kernel, triggers
from streams.choose.features.layout import MASK, TENANT
from streams.choose.program import GroupSlots, Program
from streams.choose.tables import Tables, group_key, tables_of
from streams.choose.walking import Walk
from streams.engine.records import Out, Record
from streams.engine.stage import PartitionState
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Playbook


class ChooseLogic:
    """The choose stage. `playbooks_of(side, tenant)` gives the active playbooks of a tenant.

    members_min   people that a segment must have before it is used, see `deciding.Voice`
    """

    name = "choose"
    topics = (pipeline.ADMITTED,)

    def __init__(self, side: SideInputs, program: Program,
                 playbooks_of: Callable[[SideInputs, str], Sequence[Playbook]], *,
                 members_min: int) -> None:
        self._side, self._program, self._playbooks_of = side, program, playbooks_of
        self._members_min = members_min
        self._groups: dict[int, tuple[Tables, GroupSlots]] = {}

    def make_slab(self) -> Tables:
        return self._program.tables()

    def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        """Take events and watermarks in the order of the log."""
        groups = self.groups_of(state)
        Walk(self._program, self._side, self._playbooks_of, state, groups, out,
             members_min=self._members_min).go(batch)

    def recovered(self, state: PartitionState) -> None:
        """Count the segments anew, and arm a timer for every row that waits for one."""
        tables = tables_of(state)
        groups = self.groups_of(state)
        for key in list(tables.groups):
            groups.know(key[1:].split(b"\x1f")[0].decode())
        state.notes["sizes"] = self._sizes(tables)
        self._arm_all(state, tables)

    def _sizes(self, tables: Tables) -> dict[str, dict[str, int]]:
        """Members of each tenant's segments, from the rows: these may be ahead of the notes."""
        slots = np.fromiter(tables.people.index, np.int64)
        masks, tenants = (tables.people.views.i64[slots, word] for word in (MASK, TENANT))
        sizes: dict[str, dict[str, int]] = {}
        for tenant, signed in tables.tenants():
            own = masks[tenants == signed]
            counts = {name: int((own >> bit & 1).sum())
                      for bit, name in enumerate(self._program.segments)}
            sizes[tenant] = {name: count for name, count in counts.items() if count}
        return sizes

    def _arm_all(self, state: PartitionState, tables: Tables) -> None:
        slots = np.fromiter(tables.people.index, np.int64)
        signs = tables.people.views.i64[slots, TENANT]
        for tenant, signed in tables.tenants():
            own = slots[signs == signed]
            due_ms = np.zeros(len(own), np.int64)
            after_ms = max(state.watermarks.of(tenant), 0)
            kernel.arm_all(self._program.person, tables.people.views, own, self._program.moving,
                           after_ms, due_ms)
            waiting = due_ms > 0
            tables.timers(tenant).push(due_ms[waiting], own[waiting])
        for slot, tail in tables.people.tails.items():
            tables.care(slot, set(), set(triggers.cared_for(tail.get("w", {}))))
            tenant_name, waits = tables.tenant_of(slot), triggers.next_deadline_ms(
                tail.get("w", {}))
            if tenant_name is not None and waits is not None:
                tables.timers(tenant_name).arm(slot, waits)

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None:
        """Nothing to do: time comes as watermarks."""

    def before_checkpoint(self, state: PartitionState, out: Out) -> None:
        """Publish this partition's share of the segments that changed."""
        groups = tables_of(state).groups
        changed = {(tenant, segment) for tenant, names in state.notes.pop("resized", {}).items()
                   for segment in names}
        for slot in np.nonzero(groups.views.dirty)[0].tolist():
            tenant, segment = groups.key(slot)[1:].decode().split("\x1f")
            changed.add((tenant, segment))
        for tenant, segment in sorted(changed):
            if segment:
                self._roll(state, tenant, segment, out)

    def _roll(self, state: PartitionState, tenant: str, segment: str, out: Out) -> None:
        groups = tables_of(state).groups
        slot = groups.find(group_key(tenant, segment))
        at_ms = max(state.watermarks.of(tenant), 0)
        read = {} if slot is None else self._program.snapshot(
            tables_of(state), groups, slot, at_ms)
        sums = {name: each["value"] for name, each in read.items() if each["value"] is not None}
        out.emit(pipeline.SEGMENT_ROLLS, f"{tenant}|{segment}|{state.partition}", {
            "tenant": tenant, "segment": segment, "partition": state.partition,
            "members": state.notes.get("sizes", {}).get(tenant, {}).get(segment, 0),
            "sums_json": orjson.dumps(sums).decode(), "event_ms": at_ms,
            "recorded_ms": out.now_ms}, partition=state.partition)

    def groups_of(self, state: PartitionState) -> GroupSlots:
        """The slots of the partition's segments; a partition recovered anew has new ones."""
        tables = tables_of(state)
        known = self._groups.get(state.partition)
        if known is None or known[0] is not tables:
            known = self._groups[state.partition] = (tables, GroupSlots(self._program, tables))
        return known[1]
