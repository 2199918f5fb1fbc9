"""Walking: one partition's batch, from the kernel's findings to changes of segment and moments.

What the kernel comes back with is settled in the order of the road: segments, triggers, decision
(`deciding`). Between events stand watermarks, handovers and changes of items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from schemas import contract
from streams import pipeline
from streams.choose import (
    absences,
    awaiting,
    changes,
    erasing,
    filling,
    handing,
    item_changes,
    kernel,
    triggers,
)
from streams.choose.backing import Backing
from streams.choose.deciding import Voice
from streams.choose.features.layout import ALERT, FLAGS, MASK, MOVED, NEWEST
from streams.choose.looking import Looking
from streams.choose.losing import take_lost
from streams.choose.moving import Moving
from streams.choose.program import GroupSlots, Program, Told, different, items_of, lines_items
from streams.choose.shares import passed_on
from streams.choose.tables import tables_of
from streams.choose.waking import Woken, woken
from streams.engine.records import Out, Record
from streams.engine.stage import PartitionState
from streams.engine.watermarks import NEVER
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Playbook

_EVENT, _WATERMARK = contract(pipeline.ADMITTED), contract("watermark")
_HANDOVER, _ITEM, _BACKFILL, _ERASURE = (contract(name) for name in (
    "handover", "item_change", "backfill", "erasure"))
PlaybooksOf = Callable[[SideInputs, str], Sequence[Playbook]]


class Walk:
    """One walk over a batch. Holds nothing that outlives it."""

    def __init__(self, program: Program, side: SideInputs, playbooks_of: PlaybooksOf,
                 state: PartitionState, groups: GroupSlots, out: Out, *,
                 backing: Backing) -> None:
        self._program, self._side, self._playbooks_of = program, side, playbooks_of
        self._state, self._groups, self._out = state, groups, out
        self._tables = tables_of(state)
        self._people = self._tables.people
        self._upstream = state.watermarks.upstream
        self._moving = Moving(program, self._tables)
        self._voice = Voice(program, side, self._tables, out, backing=backing)
        self._playbooks: dict[str, Sequence[Playbook]] = {}

    def go(self, records: Sequence[Record]) -> None:
        """Take events and watermarks in the order of the log."""
        self._seen = kernel.Seen(*self._state.seen.arrays(pipeline.ADMITTED, self._upstream))
        self._take(records, self._seen)
        self._state.seen.take_arrays(pipeline.ADMITTED, *self._seen)

    def _take(self, records: Sequence[Record], seen: kernel.Seen) -> None:
        batch = self._program.batch(records, lines_items)
        interests = self._prepare(batch)
        count, at, results = len(records), 0, kernel.no_results(len(records))
        things = self._program.tally(self._tables, batch, results, self._state.notes)
        while at < count:
            stopped = self._program.run(at, batch, self._tables, seen, interests,
                                        self._groups, results)
            self._moving.arm_found(results, at, stopped)
            told = results.says[at:stopped] | results.late[at:stopped]
            for n in (np.nonzero(told)[0] + at).tolist():
                if not results.lapsed[n]:       # what lapsed before it was told under its address
                    self._out.at(records[n])
                if results.late[n]:
                    self._voice.tell_late(_EVENT.decode(records[n].value), int(results.late[n]))
                if results.says[n]:
                    self._settle(records[n], results, n)
            at = stopped
            if at < count and results.lapsed[at]:
                self._out.at(records[at])
                event = _EVENT.decode(records[at].value)
                self._lapse(int(results.slot[at]), event["tenant"], event["event_ms"],
                            event["appended_ms"])
            elif at < count and not batch.usable[at]:
                things.up_to(at)
                self._out.at(records[at])
                self._other(records[at])
                at += 1
                self._make_room(batch, at)      # a handover may have taken of it, or a timer
        things.up_to(count)

    def _prepare(self, batch: kernel.Batch) -> kernel.Interests:
        """Room for what may be new, and which event types somebody listens to, per tenant."""
        f = self._program.fields
        # A stranger's number would lie outside of what is kept per upstream partition.
        origins = batch.numbers[:, f.origin_partition]
        batch.usable[(origins < 0) | (origins >= self._upstream)] = False
        usable = np.nonzero(batch.usable)[0]
        self._people.bring(batch.raw, batch.numbers[usable, f.profile_id],
                           batch.sizes[usable, f.profile_id].astype(np.int64))
        self._make_room(batch, 0)
        told, waits = list[Told](), list[absences.Wait]()
        for tenant in different(batch, usable, f.tenant):
            self._groups.know(tenant)
            own = self._playbooks[tenant] = self._playbooks_of(self._side, tenant)
            told += [(tenant, *each) for each in triggers.listeners(
                absences.without(own), self._program.declared)]
            waits += absences.waits_of(tenant, own)
        interests = self._program.interests(told, waits)
        self._tables.absences.reserve_for(interests.waits, batch)
        return interests

    def _make_room(self, batch: kernel.Batch, start: int) -> None:
        """Room for everybody who may be new from event `start` on: compiled code makes none."""
        sizes = batch.sizes[start:, self._program.fields.profile_id][batch.usable[start:]]
        self._people.reserve(len(sizes), int(sizes.sum()))

    def _other(self, record: Record) -> None:
        """A watermark, a handover, a change of an item, an erasure, or what nobody can read."""
        takes = ((_WATERMARK, self._take_watermark), (_HANDOVER, self._hand_over),
                 (_ITEM, self._take_item), (_BACKFILL, self._take_backfill),
                 (_ERASURE, self._erase))
        kind, take = next((each for each in takes if each[0].is_mine(record.value)),
                          (_EVENT, None))
        try:
            told = kind.decode(record.value)
            if take is None:
                raise ValueError("an event that the column decoder refused")
        except ValueError as fault:
            self._out.quarantine("bad_avro", detail=str(fault))
            return
        take(record, told)

    def _take_item(self, record: Record, told: dict[str, Any]) -> None:
        item_changes.take(self._state.notes, told, self._tables.cared_for, self._out)

    def _erase(self, record: Record, told: dict[str, Any]) -> None:
        if self._is_news("erasure", told):
            self._groups.know(told["tenant"])
            erasing.erase(self._program, self._tables, self._groups, self._state.notes, self._out,
                          told, record.offset)

    def _is_news(self, kind: str, told: dict[str, Any]) -> bool:
        """Was it not taken before? What admit says is in one order with its events."""
        if told["stage"] != "admit":
            return not self._state.seen.is_repeat(kind, told)
        offset, sequence = self._seen
        part, origin = told["origin_partition"], (told["origin_offset"], told["origin_sequence"])
        if not 0 <= part < self._upstream or origin <= (offset[part], sequence[part]):
            return False
        offset[part], sequence[part] = origin
        return True

    def _settle(self, record: Record, results: kernel.Results, n: int) -> None:
        event, slot = _EVENT.decode(record.value), int(results.slot[n])
        self._people.views.waits[slot] = 0
        if results.says[n] == kernel.DUPLICATE:
            self._people.stamp(slot, record.offset)
            self._out.refuse("duplicate", "duplicate", tenant=event["tenant"],
                             source=event["source"], event_id=event["event_id"],
                             profile_id=event["profile_id"], event_ms=event["event_ms"])
            return
        if self._people.views.i64[slot, FLAGS] & MOVED:
            self._people.stamp(slot, record.offset)
            self._pass_on(slot, event["tenant"], event["event_ms"], event["appended_ms"],
                          event=record.value)
            return
        if event["locale"]:
            self._people.tail(slot)["l"] = event["locale"]
        at_ms = int(self._people.views.i64[slot, NEWEST])
        moved = self._tell_changes(slot, event["profile_id"], at_ms, "event",
                                   int(results.before[n]), int(results.after[n]))
        playbooks, items = self._playbooks[event["tenant"]], items_of(event)
        if playbooks:
            kept = self._people.tail(slot).setdefault("w", {})
            cared, held = set(triggers.cared_for(kept)), bool(results.held[n])
            self._voice.tell_unreadable(playbooks, event)
            if held:
                self._tables.absences.thaw(slot, kept, self._waiting(event["tenant"]))
            asked = playbooks if held else absences.without(playbooks)
            self._voice.tell_nameless(slot, asked, event, items)
            person = self._voice.person(slot, at_ms, self._state.watermarks.of(event["tenant"]))
            then = self._voice.person(slot, event["event_ms"])
            moments = triggers.on_event(asked, kept, event, items, person, then)
            moments += triggers.on_segments(playbooks, moved, at_ms, event["appended_ms"], event,
                                            items)
            self._voice.tell_lost(slot, event["tenant"], event["event_ms"], take_lost(kept))
            if held:
                self._tables.absences.freeze(slot, kept)
            self._tables.care(self._people.key(slot), cared, set(triggers.cared_for(kept)))
            self._keep(slot, kept)
            self._voice.decide(slot, event["tenant"], event["profile_id"], moments)
            if (waits := self._moving.waits_until_ms(slot)) is not None:
                self._tables.timers(event["tenant"]).arm(slot, waits)

    def _keep(self, slot: int, kept: dict[str, Any]) -> None:
        """Leave no empty trigger state behind; tell the kernel whether every event matters now."""
        if kept:
            self._people.tail(slot)["w"] = kept
        else:
            self._people.tail(slot).pop("w", None)
        self._tables.absences.mark(slot, kept)
        flags = int(self._people.views.i64[slot, FLAGS]) & ~ALERT
        self._people.views.i64[slot, FLAGS] = flags | (ALERT if triggers.is_alert(kept) else 0)

    def _hand_over(self, record: Record, told: dict[str, Any]) -> None:
        """A link, a visitor's row or a visitor's event: see `handing`."""
        tenant, person, visitor = told["tenant"], told["profile_id"], told["visitor_id"]
        if not self._is_news("handover", told):
            return
        self._groups.know(tenant)
        if told["event"]:
            # Not seen before under this id: the origin it carries was the visitor's.
            event = {**_EVENT.decode(told["event"]), "profile_id": person, "origin_partition": 0}
            passed_on(self._state.notes, tenant)
            fresh = kernel.Seen(*(np.full(self._upstream, -1, np.int64) for _ in range(2)))
            self._take([Record(record.topic, record.partition, record.offset, person.encode(),
                               _EVENT.encode(event), record.appended_ms)], fresh)
            self._looking(tenant).at_missed(person, event["event_ms"] - 1, told["appended_ms"])
        elif told["stage"] == "choose":
            slot = self._people.slot(person.encode())
            self._people.stamp(slot, record.offset)
            is_outdated = awaiting.take_outdated(self._people.tail(slot), visitor)
            if told["row"] and not is_outdated:
                self._tables.hear_layout(told["layout"])
                self._lapse(slot, tenant, handing.newest_ms(self._people, told["row"]),
                            told["appended_ms"])
                self._receive(person, tenant, told["row"])
                self._looking(tenant).at_missed(person, handing.looked_at_ms(
                    self._people, told["row"]), told["appended_ms"])
            self._voice.answered(slot, tenant, person, visitor, self._playbooks_in(tenant))
            if is_outdated:
                erasing.let_go(self._tables, record.key)
        elif record.key == person.encode():
            handing.expect(self._people, record.key, visitor, record.offset)
        else:
            self._give_away(record, told)

    def _give_away(self, record: Record, told: dict[str, Any]) -> None:
        """Send what is known of the visitor after the person; pass on what comes from now on."""
        visitor, person, tenant = told["visitor_id"], told["profile_id"], told["tenant"]
        slot, i64 = self._people.slot(visitor.encode()), self._people.views.i64
        self._people.stamp(slot, record.offset)
        if i64[slot, FLAGS] & MOVED:
            self._people.tail(slot)[handing.MOVED_TO] = person
            self._pass_on(slot, tenant, told["event_ms"], told["appended_ms"])
            return
        is_known, at_ms = self._tables.tenant_of(slot) is not None, told["event_ms"]
        self._tables.care(visitor.encode(), self._cared(slot), set())
        self._lapse(slot, tenant, at_ms, told["appended_ms"])
        left_ms = max(at_ms, int(i64[slot, NEWEST]))
        self._tell_changes(slot, visitor, left_ms, "merge", int(i64[slot, MASK]), 0)
        mark_ms = self._state.watermarks.of(tenant)
        row = handing.take_away(self._people, slot, person, tenant, mark_ms)
        if is_known:
            self._groups.count_people(tenant, -1)
        self._pass_on(slot, tenant, at_ms, told["appended_ms"], row=row if is_known else b"")

    def _cared(self, slot: int) -> set[str]:
        """Items whose changes matter to the person."""
        return set(triggers.cared_for(self._people.tails.get(slot, {}).get("w", {})))

    def _pass_on(self, slot: int, tenant: str, event_ms: int, appended_ms: int, *,
                 row: bytes = b"", event: bytes = b"") -> None:
        person = self._people.tail(slot)[handing.MOVED_TO]
        if event:
            passed_on(self._state.notes, tenant)
        self._out.emit(pipeline.ADMITTED, person, {
            "tenant": tenant, "visitor_id": self._people.key(slot).decode(),
            "profile_id": person, "row": row, "event": event, "event_ms": event_ms,
            "layout": self._program.people.description if row else "", "appended_ms": appended_ms,
            "stage": "choose", **self._out.alone()}, schema="handover")

    def _take_backfill(self, record: Record, told: dict[str, Any]) -> None:
        """What new features lack of the past: see `filling`; a person's is handed on with them."""
        if self._state.seen.is_repeat("backfill", told):
            return
        if told["kind"] or not told["row"]:
            filling.take(self._tables, self._state.notes, told)
            return
        if (slot := self._people.find(told["profile_id"].encode())) is None:    # forgotten since
            return
        if self._people.views.i64[slot, FLAGS] & MOVED:
            person = self._people.tail(slot)[handing.MOVED_TO]
            self._out.emit(pipeline.ADMITTED, person, {
                **{name: told[name] for name in ("tenant", "layout", "row", "since_ms", "kind",
                                                 "name", "begins")}, "profile_id": person},
                schema="backfill")
            return
        self._tables.hear_layout(told["layout"])
        self._groups.know(told["tenant"])
        self._receive(told["profile_id"], told["tenant"], told["row"], cause="backfill")

    def _receive(self, person: str, tenant: str, row: bytes, *, cause: str = "merge") -> None:
        """A row becomes part of the person's; segments and timers are stated anew."""
        slot = self._people.slot(person.encode())
        cared, is_known = self._cared(slot), self._tables.tenant_of(slot) is not None
        before, lost = handing.take_in(self._program.people, self._people, slot, row,
                                       self._tables.absences, self._waiting(tenant))
        if not is_known and self._tables.tenant_of(slot) is not None:
            self._groups.count_people(tenant, 1)
        self._tables.care(person.encode(), cared, self._cared(slot))
        # As of the watermark: what had lapsed before it lapsed for good, and wakes nobody again.
        now_ms = max(self._state.watermarks.of(tenant), 0)
        _, after = self._moving.regroup(slot, now_ms)
        at_ms = max(now_ms, int(self._people.views.i64[slot, NEWEST]))
        self._tell_changes(slot, person, at_ms, cause, before, after)
        self._voice.tell_lost(slot, tenant, at_ms, lost)
        self._keep(slot, self._people.tail(slot).get("w", {}))
        self._moving.arm(slot, tenant, after_ms=now_ms)

    def _take_watermark(self, record: Record, mark: dict[str, Any]) -> None:
        tenant, watermarks = mark["tenant"], self._state.watermarks
        before = watermarks.of(tenant)
        now_ms = watermarks.advance(tenant, mark["origin_partition"], mark["watermark_ms"])
        if now_ms in (NEVER, before):
            return
        self._groups.know(tenant)
        in_force, stamp = self._tables.absences.in_force(self._waiting(tenant)), record.offset + 1
        for who in woken(self._program, self._tables, tenant, in_force, limit_ms=now_ms,
                         unseen_below=stamp, stamp=stamp):
            if not who.asks:
                self._say_ripe(who, tenant, mark["appended_ms"])
                continue
            if self._tables.is_news(who.slot, record.offset):
                self._wake(who.slot, tenant, who.moment_ms, mark["appended_ms"], now_ms)
                self._tables.woken(who.slot, record.offset)
            self._moving.arm(who.slot, tenant, after_ms=who.moment_ms)
        self._looking(tenant).at_passed(now_ms, record.offset, mark["appended_ms"])
        self._out.emit(pipeline.DECISIONS, tenant, {
            "tenant": tenant, "origin_partition": self._state.partition, "watermark_ms": now_ms,
            "appended_ms": mark["appended_ms"]}, partition=self._state.partition,
            schema="watermark")

    def _playbooks_in(self, tenant: str) -> Sequence[Playbook]:
        if tenant not in self._playbooks:
            self._playbooks[tenant] = self._playbooks_of(self._side, tenant)
        return self._playbooks[tenant]

    def _looking(self, tenant: str) -> Looking:
        return Looking(self._tables, self._voice, self._state.notes, tenant,
                       self._playbooks_in(tenant))

    def _waiting(self, tenant: str) -> list[str]:
        """Names of the absences in force."""
        return [wait.playbook for wait in absences.waits_of(tenant, self._playbooks_in(tenant))]

    def _wake(self, slot: int, tenant: str, due_ms: int, appended_ms: int,
              reached_ms: int) -> None:
        """A person's timer has come up: time alone may have changed their segments or moments.

        Taken step by step in event time, however far the watermark jumped.
        """
        profile_id = self._people.key(slot).decode()
        before, after = self._moving.regroup(slot, due_ms)
        at_ms = max(due_ms, int(self._people.views.i64[slot, NEWEST]))
        moved = self._tell_changes(slot, profile_id, at_ms, "lapse", before, after)
        kept = self._people.tails.get(slot, {}).get("w", {})
        self._tables.absences.thaw(slot, kept, self._waiting(tenant))
        if not kept and not moved:
            return
        playbooks = self._playbooks_in(tenant)
        moments = triggers.on_watermark(playbooks, kept, due_ms, appended_ms, reached_ms)
        moments += triggers.on_segments(playbooks, moved, at_ms, appended_ms)
        self._voice.tell_lost(slot, tenant, due_ms, take_lost(kept))
        self._tables.absences.freeze(slot, kept)
        self._keep(slot, kept)
        self._voice.decide_all(slot, tenant, profile_id, moments)

    def _lapse(self, slot: int, tenant: str, until_ms: int, appended_ms: int) -> None:
        """The log is ahead of the watermark: what time alone has changed by `until_ms` is told as
        of when it did, before what happens then."""
        who = self._people.key(slot).decode()
        for at_ms in self._moving.lapses(slot, until_ms):
            told = self._tell_changes(slot, who, at_ms, "lapse", *self._moving.regroup(slot, at_ms))
            self._voice.decide(slot, tenant, who, triggers.on_segments(
                self._playbooks_in(tenant), told, at_ms, appended_ms))

    def _say_ripe(self, who: Woken, tenant: str, appended_ms: int) -> None:
        """What a person has left undone, in the order of the playbooks."""
        moments = triggers.moments_of(self._playbooks_in(tenant), who.ripe, appended_ms)
        self._voice.decide_all(who.slot, tenant, self._people.key(who.slot).decode(), moments)

    def _tell_changes(self, slot: int, profile_id: str, at_ms: int, cause: str, before: int,
                      after: int) -> list[triggers.Change]:
        """Say which segments the person entered, then which they left."""
        tenant = self._tables.tenant_of(slot)
        assert tenant is not None or before == after
        return changes.tell(self._program, self._out, self._state.notes, tenant or "", profile_id,
                            at_ms=at_ms, cause=cause, before=before, after=after)
