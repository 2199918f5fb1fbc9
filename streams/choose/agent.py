"""Choose: features, segments, triggers, decision. From events of people to decisions about them.

`ChooseLogic.walk` is the stage as a plain function over one partition's batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from schemas import contract
from streams import pipeline
from streams.choose import decision, segments, triggers
from streams.choose.features import Layout
from streams.choose.profile import Row, fields_of, is_segment, segment_key, was_heard
from streams.choose.segments import SegmentSpec
from streams.choose.triggers import Moment, Person
from streams.engine.records import Out, Record
from streams.engine.stage import PartitionState
from streams.engine.watermarks import NEVER
from streams.kernel import ids
from streams.kernel.purposes import PERSONALISE
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Playbook

_EVENT, _WATERMARK = contract(pipeline.ADMITTED), contract("watermark")
_TOPIC = 0


class ChooseLogic:
    """The choose stage. `playbooks_of(side, tenant)` gives the active playbooks of a tenant."""

    name = "choose"
    topics = (pipeline.ADMITTED,)

    def __init__(self, side: SideInputs, layout: Layout, specs: tuple[SegmentSpec, ...],
                 playbooks_of: Callable[[SideInputs, str], Sequence[Playbook]]) -> None:
        self._side, self._layout, self._specs = side, layout, specs
        self._playbooks_of = playbooks_of
        self._deciding = segments.features_of(specs)
        self._thresholds = segments.thresholds_of(specs)
        self._features = triggers.Features(layout.specs)
        self.fields = fields_of(layout)
        self.layout = layout.version

    def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        """Take events and watermarks in the order of the log."""
        for record in batch:
            out.at(record)
            try:
                is_event = _EVENT.is_mine(record.value)
                fields = (_EVENT if is_event else _WATERMARK).decode(record.value)
            except ValueError as fault:
                out.quarantine("bad_avro", detail=str(fault))
                continue
            if is_event:
                self._take_event(state, record, fields, out)
            else:
                self._take_watermark(state, record, fields, out)

    def recovered(self, state: PartitionState) -> None:
        """Arm a timer for every row that waits for one, and count the segments anew.

        Rows may be ahead of the notes, so what can be derived from rows is.
        """
        sizes: dict[str, dict[str, int]] = {}
        for key in state.slab:
            tail = state.slab.tails[state.slab.slot(key)]
            if not is_segment(key) and "t" in tail:
                own = sizes.setdefault(tail["t"], {})
                for segment in tail.get("s", []):
                    own[segment] = own.get(segment, 0) + 1
                self._arm(state, key, after_ms=max(state.watermarks.of(tail["t"]), 0))
        state.notes["sizes"] = sizes

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None:
        """Nothing to do: time comes as watermarks."""

    def before_checkpoint(self, state: PartitionState, out: Out) -> None:
        """Publish this partition's share of the segments that changed."""
        for tenant, name in sorted(state.notes.pop("rolled", {}).items()):
            for segment in sorted(name):
                self._roll(state, tenant, segment, out)

    def _take_event(self, state: PartitionState, record: Record, event: dict[str, Any],
                    out: Out) -> None:
        if state.seen.is_repeat(pipeline.ADMITTED, event):
            return
        key = event["profile_id"].encode()
        slot = state.slab.slot(key)
        if state.slab.has_seen(slot, _TOPIC, record.offset):
            return
        if was_heard(state.slab, slot, event["event_id"]):
            out.refuse("duplicate", "duplicate", tenant=event["tenant"], source=event["source"],
                       event_id=event["event_id"], profile_id=event["profile_id"],
                       event_ms=event["event_ms"])
        elif event["purposes"] & PERSONALISE:
            self._learn_of(state, slot, record, event, out)
        state.slab.stamp(slot, _TOPIC, record.offset)

    def _learn_of(self, state: PartitionState, slot: int, record: Record, event: dict[str, Any],
                  out: Out) -> None:
        """Features, then segments, then triggers, then a decision: the order of the road."""
        row, items = Row(state.slab, slot, self._layout), items_of(event)
        tail = row.tail
        tail["t"], tail["u"] = event["tenant"], event["purposes"]
        if event["locale"]:
            tail["l"] = event["locale"]
        row.update(event, items)
        at_ms = event["event_ms"]
        changes = self._regroup(state, row, event["profile_id"], at_ms, "event", out)
        self._share(state, record, event, items)
        playbooks = self._playbooks_of(self._side, event["tenant"])
        if playbooks:
            moments = triggers.on_event(playbooks, tail.setdefault("w", {}), event, items,
                                        self._person(row, at_ms))
            moments += triggers.on_segments(playbooks, changes, at_ms, event["appended_ms"], event,
                                            items)
            self._decide(row, event["profile_id"], moments, out)
        lapse = self._layout.lapse_of_event(event["event_type"], at_ms, self._deciding,
                                            self._thresholds)
        self._arm_at(state, record.key, tail, lapse)

    def _take_watermark(self, state: PartitionState, record: Record, mark: dict[str, Any],
                        out: Out) -> None:
        tenant = mark["tenant"]
        before = state.watermarks.of(tenant)
        now_ms = state.watermarks.advance(tenant, mark["origin_partition"], mark["watermark_ms"])
        if now_ms in (NEVER, before):
            return
        woken: set[bytes] = set()
        for due_ms, key in state.timers.due(tenant, now_ms):
            slot = state.slab.find(key)
            if slot is None:
                continue
            if key in woken or not state.slab.has_seen(slot, _TOPIC, record.offset):
                woken.add(key)
                self._wake(state, slot, key, due_ms, mark["appended_ms"], now_ms, out)
                state.slab.stamp(slot, _TOPIC, record.offset)
            self._arm(state, key, after_ms=due_ms)
        out.emit(pipeline.DECISIONS, tenant, {
            "tenant": tenant, "origin_partition": state.partition, "watermark_ms": now_ms,
            "appended_ms": mark["appended_ms"]}, partition=state.partition, schema="watermark")

    def _wake(self, state: PartitionState, slot: int, key: bytes, due_ms: int, appended_ms: int,
              reached_ms: int, out: Out) -> None:
        """A person's timer has come up: time alone may have changed their segments or moments.

        Taken step by step in event time, however far the watermark jumped.
        """
        row, tail = Row(state.slab, slot, self._layout), state.slab.tails[slot]
        profile_id = key.decode()
        changes = self._regroup(state, row, profile_id, due_ms, "lapse", out)
        playbooks = self._playbooks_of(self._side, tail["t"])
        moments = triggers.on_watermark(playbooks, tail.get("w", {}), due_ms, appended_ms,
                                        reached_ms)
        moments += triggers.on_segments(playbooks, changes, due_ms, appended_ms)
        for moment_ms in sorted({m.moment_ms for m in moments}):
            self._decide(row, profile_id, [m for m in moments if m.moment_ms == moment_ms], out)

    def _person(self, row: Row, at_ms: int) -> Person:
        members = row.tail.get("s", [])
        return Person(lambda name: row.feature(name, at_ms), members.__contains__, self._features)

    def _regroup(self, state: PartitionState, row: Row, profile_id: str, at_ms: int, cause: str,
                 out: Out) -> list[triggers.Change]:
        """Work out the segments as of `at_ms`; say who entered and left."""
        tail = row.tail
        before = tail.get("s", [])
        after = segments.members_of(self._specs, lambda name: row.feature(name, at_ms))
        tail["s"], changes = after, []
        for segment in [*(s for s in after if s not in before),
                        *(s for s in before if s not in after)]:
            entered = segment in after
            change_id = ids.derive("segment", tail["t"], profile_id, segment, at_ms, int(entered))
            changes.append(triggers.Change(segment, entered, change_id))
            out.emit(pipeline.SEGMENT_CHANGES, profile_id, {
                "change_id": change_id, "tenant": tail["t"], "profile_id": profile_id,
                "segment": segment, "entered": entered, "event_ms": at_ms, "cause": cause})
            sizes = state.notes.setdefault("sizes", {}).setdefault(tail["t"], {})
            sizes[segment] = sizes.get(segment, 0) + (1 if entered else -1)
            self._changed(state, tail["t"], segment)
        return changes

    def _share(self, state: PartitionState, record: Record, event: dict[str, Any],
               items: tuple[str, ...]) -> None:
        """Count the event for the person's segments: this partition's share of their features.

        Segment keys sort before profile ids, so a checkpoint writes them first: whoever finds the
        person's row in the changelog finds the segment's as well.
        """
        person = state.slab.slot(record.key)
        for segment in state.slab.tails[person].get("s", []):
            slot = state.slab.slot(segment_key(event["tenant"], segment))
            if not state.slab.has_seen(slot, _TOPIC, record.offset):
                Row(state.slab, slot, self._layout).update(event, items)
                state.slab.stamp(slot, _TOPIC, record.offset)
                self._changed(state, event["tenant"], segment)

    def _changed(self, state: PartitionState, tenant: str, segment: str) -> None:
        changed = state.notes.setdefault("rolled", {}).setdefault(tenant, [])
        if segment not in changed:
            changed.append(segment)

    def _roll(self, state: PartitionState, tenant: str, segment: str, out: Out) -> None:
        slot = state.slab.find(segment_key(tenant, segment))
        at_ms = max(state.watermarks.of(tenant), 0)
        read = {} if slot is None else Row(state.slab, slot, self._layout).snapshot(at_ms)
        sums = {name: each["value"] for name, each in read.items() if each["value"] is not None}
        out.emit(pipeline.SEGMENT_ROLLS, f"{tenant}|{segment}|{state.partition}", {
            "tenant": tenant, "segment": segment, "partition": state.partition,
            "members": state.notes.get("sizes", {}).get(tenant, {}).get(segment, 0),
            "sums_json": orjson.dumps(sums).decode(), "event_ms": at_ms,
            "recorded_ms": out.now_ms}, partition=state.partition)

    def _decide(self, row: Row, profile_id: str, moments: list[Moment], out: Out) -> None:
        """At most one decision a person and moment; each loser has its reason."""
        said, spoken = row.tail.setdefault("d", {}), False
        for moment in decision.rank(moments):
            person = self._person(row, moment.moment_ms)
            purposes = self._purposes(row, profile_id)
            reason = "outranked" if spoken else decision.why_not(moment, person, said, purposes)
            if reason:
                out.refuse("skipped", reason, subject=decision.id_of(moment, profile_id),
                           tenant=moment.playbook.tenant, event_id=moment.event_id,
                           profile_id=profile_id, playbook=moment.playbook.name,
                           event_ms=moment.moment_ms)
                continue
            cell = segments.cell_of(row.tail.get("s", []))
            chosen = decision.decide(moment, profile_id, cell=cell,
                                     in_cell=self._counts(moment.playbook, cell),
                                     overall=self._counts(moment.playbook, "*"))
            decision.remember(said, moment)
            self._emit(row, profile_id, chosen, cell, purposes, out)
            spoken = True

    def _purposes(self, row: Row, profile_id: str) -> int:
        """What the newest event allowed, with what was granted or withdrawn since."""
        book = self._side.consents
        return (int(row.tail.get("u", 0)) | book.mask(profile_id)) & ~book.denied(profile_id)

    def _counts(self, playbook: Playbook, cell: str) -> dict[str, tuple[int, int]]:
        """Matured trials and successes per arm: the sum over learn's partitions."""
        total: dict[str, tuple[int, int]] = {}
        shares = self._side.policies.get((playbook.tenant, playbook.name, cell), {})
        for share in shares.values():
            for arm, counts in orjson.loads(share["arms_json"]).items():
                trials, successes = total.get(arm, (0, 0))
                total[arm] = (trials + counts["trials"], successes + counts["successes"])
        return total

    def _emit(self, row: Row, profile_id: str, chosen: decision.Chosen, cell: str, purposes: int,
              out: Out) -> None:
        moment, playbook = chosen.moment, chosen.moment.playbook
        out.emit(pipeline.DECISIONS, profile_id, {
            "decision_id": chosen.decision_id, "tenant": playbook.tenant,
            "profile_id": profile_id, "playbook": playbook.name,
            "playbook_version": playbook.version, "trigger": playbook.trigger.kind,
            "trigger_event_id": moment.event_id, "object_id": moment.object_id,
            "moment_ms": moment.moment_ms,
            "useful_until_ms": moment.useful_until_ms,
            "window_ms": playbook.window_ms, "conversion": playbook.conversion,
            "value_micros": playbook.value_micros, "holdout": chosen.holdout, "arm": chosen.arm,
            "propensity": chosen.propensities[chosen.arm],
            "propensities_json": orjson.dumps(chosen.propensities).decode(),
            "holdout_probability": playbook.holdout,
            "policy_version": f"{chosen.cell}-{chosen.evidence_count}", "segment": cell,
            "segments_json": orjson.dumps(row.tail.get("s", [])).decode(),
            "features_json": orjson.dumps(row.snapshot(moment.moment_ms)).decode(),
            "evidence_json": orjson.dumps(moment.evidence).decode(),
            "item_ids_json": orjson.dumps(moment.items).decode(), "purposes": purposes,
            "channel": playbook.channels[0], "locale": row.tail.get("l", playbook.locale),
            "trigger_appended_ms": moment.appended_ms, "decided_ms": out.now_ms})

    def _arm(self, state: PartitionState, key: bytes, *, after_ms: int) -> None:
        """Wake the person at the next moment after `after_ms` that may matter."""
        slot = state.slab.find(key)
        if slot is None:
            return
        tail = state.slab.tails[slot]
        if "t" not in tail:
            return
        row = Row(state.slab, slot, self._layout)
        lapse = row.next_change_ms(self._deciding, after_ms, self._thresholds)
        self._arm_at(state, key, tail, lapse)

    def _arm_at(self, state: PartitionState, key: bytes, tail: dict[str, Any],
                lapse_ms: int | None) -> None:
        moments = [m for m in (triggers.next_deadline_ms(tail.get("w", {})), lapse_ms)
                   if m is not None]
        if moments:
            state.timers.arm(tail["t"], key, min(moments))


def items_of(event: dict[str, Any]) -> tuple[str, ...]:
    """Items of an event: those of its lines, most valuable first, or its own."""
    if event["lines_json"]:
        lines = orjson.loads(event["lines_json"])
        ranked = sorted(lines, key=lambda line: -(line[1] * line[2]))
        return tuple(dict.fromkeys(str(line[0]) for line in ranked))
    return (event["item_id"],) if event["item_id"] else ()
