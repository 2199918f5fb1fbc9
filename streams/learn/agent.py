"""The learn stage: outcomes find their decisions, decisions find their outcomes.

Two clocks rule a row. The watermark of events.admitted says which conversions have been heard: it
closes windows. The lower of it and the watermark of decisions.made says which decisions can still
come: it lets events go. Both are event time, so a replayed year ends as the year itself would.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from schemas import contract
from streams.engine.records import Out, Record
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState
from streams.engine.watermarks import NEVER
from streams.kernel.errors import PlaybookError
from streams.kernel.moments import DAY_MS
from streams.kernel.purposes import MEASURE
from streams.kernel.side_inputs import SideInputs
from streams.learn import conversions, flywheel, reward
from streams.learn.glances import Glances
from streams.pipeline import ADMITTED, DECISIONS, DELIVERIES, POLICIES, RECEIPTS, REWARDS
from streams.playbooks.loading import from_record

KEPT_MS_MIN: Final = 7 * DAY_MS     # events stay this long at least, for decisions that come late
_OF_CHOOSE: Final = ("handover", "item_change", "backfill", "erasure")     # for choose alone
_PRUNE: Final = "\x1fprune"         # names the timers that run on the slower of the two clocks

ConversionTypes = Callable[[SideInputs], Iterable[tuple[str, str]]]


def conversion_types(side: SideInputs) -> Iterator[tuple[str, str]]:
    """(tenant, event type) of what active playbooks call a conversion."""
    for record in side.playbooks.values():
        if record["active"]:
            # One that no longer parses was written by another version; its decisions name
            # their conversion themselves.
            with suppress(PlaybookError):
                yield record["tenant"], from_record(record).conversion


class LearnLogic:
    """One partition's batches of four topics in; rewards, and policies at each checkpoint, out.

    `named` lists the conversions besides purchase and refund; it is asked again whenever the
    playbooks change.
    """

    name = "learn"
    topics = (ADMITTED, DECISIONS, DELIVERIES, RECEIPTS)

    def __init__(self, side: SideInputs, named: ConversionTypes = conversion_types) -> None:
        self._side = side
        self._named = named
        self._types: frozenset[tuple[str, str]] = frozenset()
        self._version = -1
        self._glances = Glances()
        self._takes = {ADMITTED: self._take_event, DECISIONS: self._take_decision,
                       DELIVERIES: self._take_delivery, RECEIPTS: self._take_receipt}

    def make_slab(self) -> Slab:
        return Slab(topics=len(self.topics))

    def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        if self._version != self._side.version:
            self._version, self._types = self._side.version, frozenset(
                self._named(self._side))
        for at, glance in enumerate(self._glances.of(batch)):
            if glance is None:
                self._take(state, batch[at], out)
            elif self._is_news(state, glance):
                record = batch[at]
                out.at(record)
                self._remember(state, record, contract(ADMITTED).decode(record.value), out)

    def _take(self, state: PartitionState, record: Record, out: Out) -> None:
        """Read one record in full and take it in."""
        out.at(record)
        try:
            if contract("watermark").is_mine(record.value):
                self._take_watermark(state, record, out)
            elif not any(contract(name).is_mine(record.value) for name in _OF_CHOOSE):
                fields = contract(record.topic).decode(record.value)
                self._takes[record.topic](state, record, fields, out)
        except ValueError as fault:
            out.quarantine("bad_avro", detail=str(fault))

    def recovered(self, state: PartitionState) -> None:
        """Rows are back: add up the policies again and arm every row."""
        tails = []
        for key in state.slab:
            slot = state.slab.find(key)
            assert slot is not None
            tails.append(state.slab.tails[slot])
            self._arm(state, key, tails[-1])
        state.notes["policies"] = flywheel.total(tails, state.notes.get("policies", {}))

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None:
        """Nothing: time comes from the watermarks of the stages before."""

    def before_checkpoint(self, state: PartitionState, out: Out) -> None:
        totals = state.notes.get("policies", {})
        for key, fields in flywheel.publish(totals, partition=state.partition,
                                            now_ms=out.now_ms):
            out.emit(POLICIES, key, fields)

    def _take_event(self, state: PartitionState, record: Record, event: dict[str, Any],
                    out: Out) -> None:
        if self._is_news(state, event):
            self._remember(state, record, event, out)

    def _is_news(self, state: PartitionState, event: dict[str, Any]) -> bool:
        """Whether an event, or a glance at it, is no repeat and may convert. Notes its origin."""
        return not state.seen.is_repeat(ADMITTED, event) and self._may_convert(state, event)

    def _remember(self, state: PartitionState, record: Record, event: dict[str, Any],
                  out: Out) -> None:
        tail = self._open(state, record, event["tenant"], event["profile_id"])
        if tail is not None and conversions.remember_event(tail, event):
            self._close(state, event["profile_id"], tail, out, asked=tail.get("decisions", ()))

    def _may_convert(self, state: PartitionState, event: dict[str, Any]) -> bool:
        """Whether any decision could ask for such an event, and may: joining is measuring."""
        tenant, event_type = event["tenant"], event["event_type"]
        return bool(event["purposes"] & MEASURE) and (
            event_type in conversions.ALWAYS or (tenant, event_type) in self._types
            or event_type in state.notes.get("types", {}).get(tenant, ()))

    def _take_decision(self, state: PartitionState, record: Record, decision: dict[str, Any],
                       out: Out) -> None:
        if state.seen.is_repeat(DECISIONS, decision) or not decision["purposes"] & MEASURE:
            return
        self._note_playbook(state, decision)
        tail = self._open(state, record, decision["tenant"], decision["profile_id"])
        if tail is not None and conversions.remember_decision(tail, decision):
            self._close(state, decision["profile_id"], tail, out,
                        asked=(decision["decision_id"],))

    def _note_playbook(self, state: PartitionState, decision: dict[str, Any]) -> None:
        """Learn from the decision itself what converts and how long events must be kept."""
        tenant = decision["tenant"]
        types = state.notes.setdefault("types", {}).setdefault(tenant, [])
        if decision["conversion"] not in types:
            types.append(decision["conversion"])
        windows = state.notes.setdefault("windows_ms", {})
        windows[tenant] = max(windows.get(tenant, KEPT_MS_MIN), decision["window_ms"])

    def _take_delivery(self, state: PartitionState, record: Record, delivery: dict[str, Any],
                       out: Out) -> None:
        if state.seen.is_repeat(DELIVERIES, delivery):
            return
        tail = self._open(state, record, delivery["tenant"], delivery["profile_id"])
        if tail is not None:
            conversions.remember_delivery(tail, delivery)
            self._close(state, delivery["profile_id"], tail, out)

    def _take_receipt(self, state: PartitionState, record: Record, receipt: dict[str, Any],
                      out: Out) -> None:
        tail = self._open(state, record, receipt["tenant"], receipt["profile_id"])
        if tail is not None:
            conversions.remember_receipt(tail, receipt)
            self._close(state, receipt["profile_id"], tail, out)

    def _take_watermark(self, state: PartitionState, record: Record, out: Out) -> None:
        """Move a clock; close and forget what it has passed. Needs no stamp: it is idempotent."""
        fields = contract("watermark").decode(record.value)
        tenant = fields["tenant"]
        if record.topic == ADMITTED:
            heard_ms = state.watermarks.advance(tenant, fields["origin_partition"],
                                                fields["watermark_ms"])
            for _, key in state.timers.due(tenant, heard_ms):
                self._look(state, key, out)
        else:
            decided = state.notes.setdefault("decided_ms", {})
            decided[tenant] = max(decided.get(tenant, NEVER), fields["watermark_ms"])
        horizon_ms = self._horizon_ms(state, tenant, state.watermarks.of(tenant))
        for _, key in state.timers.due(tenant + _PRUNE, horizon_ms):
            self._look(state, key, out)

    def _look(self, state: PartitionState, key: bytes, out: Out) -> None:
        """A row's time has come."""
        slot = state.slab.find(key)
        if slot is not None:
            self._close(state, key.decode(), state.slab.tails[slot], out)

    def _open(self, state: PartitionState, record: Record, tenant: str, profile_id: str,
              ) -> dict[str, Any] | None:
        """The row's tail, stamped with `record`; None when the row includes it already."""
        topic = self.topics.index(record.topic)
        slot = state.slab.slot(profile_id.encode())
        if state.slab.has_seen(slot, topic, record.offset):
            return None
        state.slab.stamp(slot, topic, record.offset)
        tail = state.slab.tails[slot]
        tail.setdefault("tenant", tenant)
        return tail

    def _close(self, state: PartitionState, profile_id: str, tail: dict[str, Any], out: Out,
               asked: Collection[str] = ()) -> None:
        """Emit every reward that is new, close what is over, count it, drop what is past.

        `asked`: the decisions that something new may have met. All others were tried with all that
        the row holds when it came.
        """
        tenant, key = tail["tenant"], profile_id.encode()
        heard_ms = state.watermarks.of(tenant)
        denied = self._side.consents.denied(profile_id)
        horizon_ms = self._horizon_ms(state, tenant, heard_ms)
        for decision_id, decision in tail.get("decisions", {}).items():
            found = list(conversions.find(tail, decision)) if decision_id in asked else []
            if not decision["closed"] and conversions.closes_ms(decision) <= heard_ms:
                decision["closed"] = True
                found.append(reward.closing(decision))
            for one in found:
                out.emit(REWARDS, profile_id, reward.record(
                    decision_id, decision, one, tenant=tenant, profile_id=profile_id))
            flywheel.recount(tail, decision, state.notes.setdefault("policies", {}),
                             denied=denied)
        conversions.forget_decisions(tail, heard_ms)
        conversions.forget_events(tail, horizon_ms)
        if conversions.is_empty(tail):
            state.slab.drop(key)
        else:
            state.slab.dirty.add(key)
            self._arm(state, key, tail)

    def _horizon_ms(self, state: PartitionState, tenant: str, heard_ms: int) -> int:
        """Event time before which nothing can matter to a decision or event still to come."""
        clock_ms = min(heard_ms, state.notes.get("decided_ms", {}).get(tenant, NEVER))
        kept_ms = state.notes.get("windows_ms", {}).get(tenant, KEPT_MS_MIN)
        return int(clock_ms - kept_ms)

    def _arm(self, state: PartitionState, key: bytes, tail: dict[str, Any]) -> None:
        look_ms, prune_ms = conversions.next_look_ms(tail), conversions.next_prune_ms(tail)
        if look_ms is not None:
            state.timers.arm(tail["tenant"], key, look_ms)
        if prune_ms is not None:
            state.timers.arm(tail["tenant"] + _PRUNE, key, prune_ms)
