"""Admit: from what apps told us to events that may be used, whose subjects are pseudonyms.

    arrival -> subject -> gate -> rates -> dedup -> link, vault, traits -> events.admitted
    arrival -> subject: erase -> vault, words, traits: forgotten -> events.admitted
    catalogue.items -> what has changed of an item -> events.admitted

One raw record ends in exactly one of: admitted, refused, duplicate, quarantined, control. (One from
the future is told as clamped besides, and goes on as of its tenant's present.) Replay after a crash
repeats what it emitted, with the same origins; a record whose subject's row already includes it has
been emitted in full, and its decision could not be taken again from a newer row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas import contract
from schemas.events import EventDecoder, WriterSchemas
from streams.admit import arrival, item_changes, records
from streams.admit.clocks import Clocks, clocked
from streams.admit.dedup import SeenIds
from streams.admit.limits import AdmitLimits
from streams.admit.rates import Rates
from streams.admit.visit import Desk, Visit
from streams.engine.records import Out, Record
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState
from streams.kernel.outcomes import Clamped, Poisoned
from streams.kernel.side_inputs import SideInputs
from streams.pipeline import ADMITTED, CATALOGUE, RAW
from streams.privacy.pseudonyms import Pseudonyms
from streams.privacy.vault import Deposit, VaultPort


class AdmitLogic:
    """The admit stage. `partitions` is the one partition count of all keyed topics.

    Raises out of `walk` only UnreachableError (vault, registry): nothing of that batch may then be
    committed, and it is walked again.
    """

    name = "admit"
    topics: tuple[str, ...] = (RAW, CATALOGUE)

    def __init__(self, side: SideInputs, pseudonyms: Pseudonyms, vault: VaultPort, *,
                 partitions: int, limits: AdmitLimits | None = None,
                 registry: WriterSchemas | None = None) -> None:
        self._side, self._vault, self._partitions = side, vault, partitions
        self._limits = limits or AdmitLimits()
        self._desk = Desk(side, pseudonyms, vault, partitions, self._limits)
        self._decoder = EventDecoder(bytes_max=self._limits.event_bytes_max, registry=registry)
        self._ids: dict[int, SeenIds] = {}
        self._declared: tuple[int, frozenset[str], frozenset[str]] = (-1, frozenset(), frozenset())

    def make_slab(self) -> Slab:
        return Slab(topics=1)           # rows of subjects are stamped by events.raw alone

    def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        """Process one partition's records in order."""
        if not batch:
            return
        clocks, deposits = self._clocks(state), list[Deposit]()
        seen_ids = self._seen_ids(state)
        rates = Rates(state.notes, self._limits, partitions=self._partitions)
        appended_ms = 0
        for record in batch:
            out.at(record)
            if record.topic == CATALOGUE:
                self._take_item(state, record, out)
                continue
            appended_ms = record.appended_ms
            rates.at(record.appended_ms)
            event = self._arrive(state, record, clocks, out)
            if event is not None:
                limits = None if clocks.is_event(event["tenant"]) else rates
                Visit(self._desk, state.slab, seen_ids, limits, record, event, out,
                      deposits).settle()
        if deposits:
            self._vault.put_many(deposits)       # before any emission leaves: walk has not returned
        if appended_ms:
            seen_ids.expire(appended_ms=appended_ms)
        for tenant, watermark_ms in clocks.take_advances():
            self._say(out, state, tenant, watermark_ms, appended_ms=appended_ms)

    def recovered(self, state: PartitionState) -> None:
        """Rows are back: the index of ids is built again from them."""
        self._ids.pop(state.partition, None)
        self._seen_ids(state)

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None:
        """Nothing is waiting: wall clocks go on, event clocks stand."""
        clocks = self._clocks(state)
        clocks.idle([*(tenant for tenant, _ in self._side.playbooks),
                     *clocks.elsewhere(self._side.tenants, now_ms=out.now_ms,
                                       tenants_max=self._limits.tenants_max)], now_ms=out.now_ms)
        for tenant, watermark_ms in clocks.take_advances():
            self._say(out, state, tenant, watermark_ms, appended_ms=out.now_ms)

    def before_checkpoint(self, state: PartitionState, out: Out) -> None:
        """Nothing goes out per interval."""

    def _clocks(self, state: PartitionState) -> Clocks:
        if self._declared[0] != self._side.version:
            self._declared = (self._side.version, clocked(self._side.playbooks, "event"),
                              clocked(self._side.playbooks, "wall"))
        return Clocks(state.notes, self._declared[1])

    def _seen_ids(self, state: PartitionState) -> SeenIds:
        known = self._ids.get(state.partition)
        if known is None or known.slab is not state.slab:
            known = self._ids[state.partition] = SeenIds(
                state.slab, window_ms=self._limits.dedup_ms, ids_max=self._limits.ids_max)
        return known

    def _arrive(self, state: PartitionState, record: Record, clocks: Clocks, out: Out,
                ) -> dict[str, Any] | None:
        """An event to go on with; None when the walk ends at the door."""
        event = arrival.read(record, self._decoder, clocks, self._limits)
        if isinstance(event, Poisoned):
            out.quarantine(event.reason, field=event.field, detail=event.detail)
            return None
        found = arrival.judge_time(event, record, clocks, self._limits)
        if isinstance(found, Clamped):
            out.refuse("clamped", found.reason, field=found.field, detail=found.detail,
                       **records.labels(event))
            event["event_ms"] = found.value
        elif found is not None:
            out.refuse("refused", found.reason, field=found.field, detail=found.detail,
                       **records.labels(event))
            return None
        if event["event_type"] == arrival.CLOCK:
            self._tick(state, event, record, clocks, out)
            return None
        if event["event_type"] == item_changes.ITEM_CHANGED:
            self._pass_on(event, record, out)
            return None
        clocks.see(event["tenant"], event["event_ms"], appended_ms=record.appended_ms)
        return event

    def _tick(self, state: PartitionState, event: dict[str, Any], record: Record, clocks: Clocks,
              out: Out) -> None:
        """Move a tenant's own clock; a tenant whose playbooks live by the wall clock has none.

        It is said at once, not once a batch: a history comes as fast as it can be read, and what
        is useful for a day only must not be found out when a month has gone by.
        """
        if event["tenant"] in self._declared[2]:
            out.refuse("refused", "wall_clocked", field="event_type",
                       detail="a playbook of this tenant says `clock: wall`; a replay needs a "
                       "tenant of its own, an event of your own another name",
                       **records.labels(event))
            return
        clocks.tick(event["tenant"], event["event_ms"])
        watermark_ms = clocks.take_advance(event["tenant"])
        if watermark_ms is not None:
            self._say(out, state, event["tenant"], watermark_ms, appended_ms=record.appended_ms)
        out.refuse("control", "clock", **records.labels(event))

    def _take_item(self, state: PartitionState, record: Record, out: Out) -> None:
        """Tell every partition of events.admitted, each holds people who may care, what is new of
        an item. A replay tells it again, which is the same change."""
        if not record.value:
            item_changes.withdraw(state.slab, record)
            return
        try:
            item = contract(CATALOGUE).decode(record.value)
        except ValueError as fault:
            out.quarantine("bad_avro", detail=str(fault))
            return
        change = item_changes.learn(state.slab, item, record)
        if change is not None:
            for partition in range(self._partitions):
                out.emit(ADMITTED, item["tenant"], change, partition=partition,
                         schema="item_change")

    def _pass_on(self, event: dict[str, Any], record: Record, out: Out) -> None:
        """A change of an item is about nobody: it needs no consent and has no subject."""
        change = item_changes.read(event, record)
        if isinstance(change, Poisoned):
            out.quarantine(change.reason, field=change.field, detail=change.detail)
            return
        out.emit(ADMITTED, event["tenant"], change, partition=record.partition,
                 schema="item_change")
        out.refuse("control", "item_changed", **records.labels(event))

    def _say(self, out: Out, state: PartitionState, tenant: str, watermark_ms: int, *,
             appended_ms: int) -> None:
        """A watermark goes to every partition of events.admitted: each holds some of the people."""
        for partition in range(self._partitions):
            out.emit(ADMITTED, tenant, {
                "tenant": tenant, "origin_partition": state.partition,
                "watermark_ms": watermark_ms, "appended_ms": appended_ms,
            }, partition=partition, schema="watermark")
