"""Admit: from what apps told us to events that may be used, whose subjects are pseudonyms.

    arrival -> subject -> gate -> rates -> dedup -> link, vault, traits -> events.admitted
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
from streams.admit import arrival, gate, identity, item_changes, records
from streams.admit.clocks import Clocks, clocked
from streams.admit.dedup import SeenIds, fingerprint
from streams.admit.limits import AdmitLimits
from streams.admit.rates import Rates
from streams.engine.hashing import partition_of
from streams.engine.records import Out, Record
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState
from streams.kernel.outcomes import Clamped, Poisoned
from streams.kernel.side_inputs import SideInputs
from streams.pipeline import ADMITTED, CATALOGUE, CONSENTS, RAW, RECEIPTS
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
        self._side, self._pseudonyms, self._vault = side, pseudonyms, vault
        self._partitions = partitions
        self._limits = limits or AdmitLimits()
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
                _Visit(self, state, seen_ids, limits, record, event, out, deposits).settle()
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
                       **labels(event))
            event["event_ms"] = found.value
        elif found is not None:
            out.refuse("refused", found.reason, field=found.field, detail=found.detail,
                       **labels(event))
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
                       "tenant of its own, an event of your own another name", **labels(event))
            return
        clocks.tick(event["tenant"], event["event_ms"])
        watermark_ms = clocks.take_advance(event["tenant"])
        if watermark_ms is not None:
            self._say(out, state, event["tenant"], watermark_ms, appended_ms=record.appended_ms)
        out.refuse("control", "clock", **labels(event))

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
        out.refuse("control", "item_changed", **labels(event))

    def _say(self, out: Out, state: PartitionState, tenant: str, watermark_ms: int, *,
             appended_ms: int) -> None:
        """A watermark goes to every partition of events.admitted: each holds some of the people."""
        for partition in range(self._partitions):
            out.emit(ADMITTED, tenant, {
                "tenant": tenant, "origin_partition": state.partition,
                "watermark_ms": watermark_ms, "appended_ms": appended_ms,
            }, partition=partition, schema="watermark")


def labels(event: dict[str, Any]) -> dict[str, Any]:
    """What a refusal says of an event: whose, from where, which, when. Nothing personal."""
    return {name: event[name] for name in ("tenant", "source", "event_id", "event_ms")}


class _Visit:
    """One readable event on its way through gate, rates, dedup and identity.

    `rates`: None for a tenant that lives by the clock of its events. A history is replayed as fast
    as the broker takes it, so the broker's time says nothing of how much its people did.
    """

    def __init__(self, logic: AdmitLogic, state: PartitionState, seen_ids: SeenIds,
                 rates: Rates | None, record: Record, event: dict[str, Any], out: Out,
                 deposits: list[Deposit]) -> None:
        self._logic, self._slab, self._seen_ids = logic, state.slab, seen_ids
        self._rates = rates
        self._record, self._event, self._out = record, event, out
        self._deposits = deposits
        self._person, self._key = "", b""

    def settle(self) -> None:
        """Bring the event to its one outcome."""
        subject = identity.subject(self._event, self._logic._pseudonyms, self._slab,
                                   self._record.offset)
        if subject is None:
            self._refuse("no_subject", field="user_id",
                         detail="send user_id, anonymous_id or both")
            return
        self._person, self._key = subject
        slot = self._slab.find(self._key)
        if slot is not None and self._slab.has_seen(slot, 0, self._record.offset):
            return                                # emitted in full before the crash
        pair = identity.pair(self._event, self._logic._pseudonyms)
        if slot is None and not self._may_come(pair):
            self._turn_away()
            return
        allowed = self._pass_gate(pair)
        if not self._has_room():
            self._refuse_one_too_many()
            return
        self._receive(allowed)
        if allowed == 0:
            self._refuse("no_consent", field="consent", detail="no purpose is allowed for this "
                         "person; send a consent claim once they have agreed")
        elif not self._is_duplicate():
            self._admit(allowed, pair)

    def _refuse(self, reason: str, *, outcome: str = "refused", field: str = "",
                detail: str = "") -> None:
        self._out.refuse(outcome, reason, field=field, detail=detail, profile_id=self._person,
                         **labels(self._event))

    def _tail(self) -> dict[str, Any]:
        """The person's row, {} when there is none; strangers without a word get no row."""
        slot = self._slab.find(self._key)
        return {} if slot is None else self._slab.tails[slot]

    def _keep(self, **changes: dict[str, Any]) -> None:
        slot = self._slab.slot(self._key)
        self._slab.tails[slot].update(changes)
        self._slab.stamp(slot, 0, self._record.offset)

    def _may_come(self, pair: identity.Pair | None) -> bool:
        """For somebody without a row: False when the event would make one and there are too many.

        Known elsewhere is new here: a book of everyone's words that runs ahead of a replay must not
        decide who is new.
        """
        if self._rates is None or not (pair is not None or self._event["consent"]):
            return True
        return self._rates.take_newcomer(self._event["tenant"])

    def _turn_away(self) -> None:
        """One new person too many: nothing is kept of them, but a no that is said goes out."""
        if self._event["event_type"] == "consent" or gate.origin(self._event) != "event":
            self._publish([claim for claim in gate.claims(self._event) if not claim[1]])
        limits = self._logic._limits
        self._refuse("too_many_new", detail=f"more than {limits.newcomer_rate} new people a second "
                     f"and {limits.newcomer_burst} at once came to this tenant; send it again "
                     "later, or raise KAIROS_NEW_PROFILES_PER_S or KAIROS_NEW_PROFILES_BURST")

    def _has_room(self) -> bool:
        return self._rates is None or self._rates.take_event(self._person,
                                                             self._event["event_type"])

    def _refuse_one_too_many(self) -> None:
        limits = self._logic._limits
        self._refuse("too_many", detail=f"more than {limits.profile_rate} events a second and "
                     f"{limits.profile_burst} at once came of this person; is it a bot? Else send "
                     "it again later, or raise KAIROS_PROFILE_EVENTS_PER_S or "
                     "KAIROS_PROFILE_EVENTS_BURST")

    def _pass_gate(self, pair: identity.Pair | None) -> int:
        """Hear what is said, publish what is news; returns the purposes allowed."""
        event = self._event
        words: gate.Words = dict(self._tail().get("words", {}))
        said = [*self._inherited(pair, words), *gate.claims(event)]
        changed, news = gate.hear(words, said, is_explicit=event["event_type"] == "consent")
        if changed:
            self._keep(words=words)
        self._publish(news)
        return gate.mask(self._standing(words))

    def _standing(self, words: gate.Words) -> dict[int, tuple[int, bool]]:
        return gate.standing(words, self._logic._side.consents.words(self._person),
                             partition=self._record.partition, offset=self._record.offset)

    def _inherited(self, pair: identity.Pair | None, words: gate.Words) -> list[gate.Claim]:
        """A visitor's words, when this event is the first that says who the visitor is. `words`:
        the person's own."""
        if pair is None:
            return []
        self._keep()          # the visitor's row may get ahead; this one must say that it was asked
        visitor, _ = pair
        if identity.linked(self._slab, visitor, self._record.offset - 1) is not None:
            return []
        slot = self._slab.find(identity.visitor_key(visitor))
        asked = dict(self._tail().get("asked", {}))
        theirs = {} if slot is None else gate.after(self._slab.tails[slot].get("words", {}),
                                                    asked.pop(visitor, None))
        if theirs:          # an event that nobody may keep makes no link, and is soon said again
            asked[visitor] = max(word[0] for word in theirs.values())
            self._keep(asked=dict([*asked.items()][-identity.LINKS_MAX:]))
        return gate.inherited(theirs, self._standing(words))

    def _publish(self, news: list[gate.Claim]) -> None:
        if not news:
            return
        record, event = self._record, self._event
        proof = gate.evidence(partition=record.partition, offset=record.offset,
                              event_id=event["event_id"])
        home = partition_of(self._person.encode(), self._logic._partitions)
        for claim in news:
            change = records.consent_change(event, claim, profile_id=self._person, proof=proof,
                                            origin=gate.origin(event), now_ms=self._out.now_ms)
            self._out.emit(CONSENTS, f"{self._person}|{change['purpose']}", change,
                           partition=home)

    def _receive(self, allowed: int) -> None:
        """A receipt. That somebody has had enough of us is heard even without consent."""
        if records.is_receipt(self._event) and (
                allowed or self._event["event_type"] in gate.WITHDRAWALS):
            self._out.emit(RECEIPTS, self._person, records.receipt(
                self._event, profile_id=self._person, now_ms=self._out.now_ms))

    def _is_duplicate(self) -> bool:
        record, event = self._record, self._event
        mark = fingerprint(event["tenant"], event["event_id"])
        first = self._seen_ids.first_offset(mark, offset=record.offset,
                                            appended_ms=record.appended_ms)
        if first is not None:
            self._refuse("duplicate", outcome="duplicate", field="event_id",
                         detail=f"first seen at offset {first} of partition {record.partition}")
            return True
        self._seen_ids.remember(mark, offset=record.offset, appended_ms=record.appended_ms)
        return False

    def _hand_over(self, visitor: str, person: str) -> None:
        """Tell the visitor's partition whom what it knows belongs to from now on, and the person's
        that it is about to come."""
        for whose in (person, visitor):
            self._out.emit(ADMITTED, whose, {
                "tenant": self._event["tenant"], "visitor_id": visitor, "profile_id": person,
                "row": b"", "layout": "", "event": b"", "event_ms": self._event["event_ms"],
                "appended_ms": self._record.appended_ms, "stage": "admit"}, schema="handover")

    def _admit(self, allowed: int, pair: identity.Pair | None) -> None:
        event, offset = self._event, self._record.offset
        if pair is not None:
            if identity.linked(self._slab, pair[0], offset - 1) != pair[1]:
                self._hand_over(*pair)
            identity.link(self._slab, *pair, offset)
        deposit = identity.deposit(event, self._person, allowed)
        if deposit is not None:
            self._deposits.append(deposit)
        traits = self._tail().get("traits", {})
        if event["event_type"] == identity.IDENTIFY:
            traits = dict(traits)
            if identity.learn_traits(traits, event, allowed):
                self._keep(traits=traits)
        self._out.emit(ADMITTED, self._person, records.admitted(
            event, self._record, profile_id=self._person, allowed=allowed, traits=traits))
