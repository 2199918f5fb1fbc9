"""Choose: features, segments, triggers, decision. From events of people to decisions about them.

`ChooseLogic.walk` is the stage as a plain function over one partition's batch. The kernel takes
what is frequent; what it comes back with is settled here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from streams import pipeline
from streams.choose import absences, lapsing, triggers
from streams.choose.backing import Backing
from streams.choose.entities.telling import Telling
from streams.choose.features.layout import MASK, TENANT
from streams.choose.program import GroupSlots, Program
from streams.choose.shares import HEARD
from streams.choose.sharing import Shares
from streams.choose.tables import Tables, group_of, tables_of
from streams.choose.walking import Walk
from streams.engine.records import Out, Record
from streams.engine.room import Block, Room
from streams.engine.stage import PartitionState
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Playbook


class ChooseLogic:
    """The choose stage. `playbooks_of(side, tenant)` gives the active playbooks of a tenant.

    members_min   people that a segment must have before it is used, see `backing`
    room          memory for the rows of people of one partition; None: all are in memory
    """

    name = "choose"
    topics = (pipeline.ADMITTED,)

    def __init__(self, side: SideInputs, program: Program,
                 playbooks_of: Callable[[SideInputs, str], Sequence[Playbook]], *,
                 members_min: int, room: Room | None = None) -> None:
        self._room = room
        self._side, self._program, self._playbooks_of = side, program, playbooks_of
        self._backing = Backing(program, side, members_min=members_min)
        self._groups: dict[int, tuple[Tables, GroupSlots, Shares, Telling]] = {}

    def make_slab(self) -> Tables:
        return self._program.tables(self._room)

    def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        """Take events and watermarks in the order of the log."""
        groups = self.groups_of(state)
        if batch:
            state.notes[HEARD] = batch[-1].offset + 1
        Walk(self._program, self._side, self._playbooks_of, state, groups, out,
             backing=self._backing).go(batch)

    def recovered(self, state: PartitionState) -> None:
        """Count the segments anew, and arm a timer for every row that waits for one. What the
        partition says of its groups is said again: the owner before may have died over it."""
        tables = tables_of(state)
        groups = self.groups_of(state)
        for key in list(tables.groups):
            tenant, segment = group_of(key)
            groups.know(tenant)
            if segment not in self._program.group_names:
                groups.rest(tables.groups.slot(key))
        state.notes["sizes"] = self._sizes(tables)
        for tenant, signed in tables.tenants():
            groups.found_people(tenant, signed)
        self._arm_all(state, tables)

    def _sizes(self, tables: Tables) -> dict[str, dict[str, int]]:
        """Members of each tenant's segments, from the rows: these may be ahead of the notes."""
        sizes: dict[str, dict[str, int]] = {tenant: {} for tenant, _ in tables.tenants()}
        for block in tables.people.blocks():
            masks, signs = (block.views.i64[block.slots, word] for word in (MASK, TENANT))
            for tenant, signed in tables.tenants():
                own = masks[signs == signed]
                for bit, name in enumerate(self._program.segments):
                    if count := int((own >> bit & 1).sum()):
                        sizes[tenant][name] = sizes[tenant].get(name, 0) + count
        return sizes

    def _arm_all(self, state: PartitionState, tables: Tables) -> None:
        for block in tables.people.blocks():
            views, slots = block.views, block.slots
            signs = views.i64[slots, TENANT]
            for tenant, signed in tables.tenants():
                own = slots[signs == signed]
                lapsing.arm_all(self._program.person, views, own, self._program.moving,
                                max(state.watermarks.of(tenant), 0), np.zeros(len(own), np.int64))
            self._arm_waiting(tables, block)
            self._arm_absences(tables, block)
            for tenant, signed in tables.tenants() if block.in_memory else ():
                own = slots[(signs == signed) & (views.armed[slots] > 0)]
                tables.timers(tenant).push(views.armed[own], own)

    def _arm_waiting(self, tables: Tables, block: Block) -> None:
        """Arm rows whose triggers wait for a moment; note who cares for which items."""
        armed, known = block.views.armed, {signed for _, signed in tables.tenants()}
        for slot, tail in block.tails.items():
            kept = tail.get("w", {})
            if cared := set(triggers.cared_for(kept)):
                tables.care(block.key(slot), set(), cared)
            waits = triggers.next_deadline_ms(kept)
            if (waits is not None and int(block.views.i64[slot, TENANT]) in known
                    and not 0 < armed[slot] <= waits):
                armed[slot] = waits

    def _arm_absences(self, tables: Tables, block: Block) -> None:
        """The same for absences: those of rows in memory are in arrays, others in their tails."""
        armed, signs = block.views.armed, block.views.i64[block.slots, TENANT]
        known = block.slots[np.isin(signs, [signed for _, signed in tables.tenants()])]
        due_ms = (tables.absences.deadlines_of(known) if block.in_memory
                  else absences.deadlines_in(block.tails, known))
        earlier = (due_ms > 0) & ((armed[known] == 0) | (armed[known] > due_ms))
        armed[known[earlier]] = due_ms[earlier]

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None:
        """Time comes as watermarks; what is still to be said of groups is said."""
        self._tell(state, out)

    def before_checkpoint(self, state: PartitionState, out: Out) -> None:
        """Say this partition's share of the groups that changed."""
        _, _, shares, things = self._of(state)
        shares.gather(state)
        things.gather(tables_of(state).entities)
        self._tell(state, out)

    def _tell(self, state: PartitionState, out: Out) -> None:
        tables, _, shares, things = self._of(state)
        shares.tell(self._program, self._side, state, out)
        if self._program.entities:
            things.tell(tables.entities, self._side, state, out)

    def groups_of(self, state: PartitionState) -> GroupSlots:
        """Where the partition's groups lie."""
        return self._of(state)[1]

    def _of(self, state: PartitionState) -> tuple[Tables, GroupSlots, Shares, Telling]:
        """What is kept beside the partition's tables; a partition recovered anew has new ones."""
        tables = tables_of(state)
        known = self._groups.get(state.partition)
        if known is None or known[0] is not tables:
            known = self._groups[state.partition] = (
                tables, GroupSlots(self._program, tables), Shares(tables.groups), Telling())
        return known
