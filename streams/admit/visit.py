"""Visit: one readable event of somebody's, from its subject to its one outcome."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from streams.admit import gate, identity, records
from streams.admit.dedup import SeenIds, fingerprint
from streams.admit.limits import AdmitLimits
from streams.admit.rates import Rates
from streams.engine.hashing import partition_of
from streams.engine.records import Out, Record
from streams.engine.slab import Slab
from streams.kernel.side_inputs import SideInputs
from streams.pipeline import ADMITTED, CONSENTS, RECEIPTS
from streams.privacy.pseudonyms import Pseudonyms
from streams.privacy.vault import Deposit, VaultPort


@dataclass(frozen=True, slots=True)
class Desk:
    """What all visits share. `partitions`: the one partition count of all keyed topics."""

    side: SideInputs
    pseudonyms: Pseudonyms
    vault: VaultPort
    partitions: int
    limits: AdmitLimits


class Visit:
    """One readable event on its way through gate, rates, dedup and identity.

    `rates`: None for a tenant that lives by the clock of its events. A history is replayed as fast
    as the broker takes it, so the broker's time says nothing of how much its people did.
    """

    def __init__(self, desk: Desk, slab: Slab, seen_ids: SeenIds, rates: Rates | None,
                 record: Record, event: dict[str, Any], out: Out, deposits: list[Deposit],
                 ) -> None:
        self._desk, self._slab, self._seen_ids, self._rates = desk, slab, seen_ids, rates
        self._record, self._event, self._out = record, event, out
        self._deposits = deposits
        self._person, self._key = "", b""

    def settle(self) -> None:
        """Bring the event to its one outcome."""
        if self._event["event_type"] == gate.ERASE:
            self._erase()
            return
        subject = identity.subject(self._event, self._desk.pseudonyms, self._slab,
                                   self._record.offset)
        if subject is None:
            self._refuse_nobodys()
            return
        self._person, self._key = subject
        slot = self._slab.find(self._key)
        if slot is not None and self._slab.has_seen(slot, 0, self._record.offset):
            return                                # emitted in full before the crash
        pair = identity.pair(self._event, self._desk.pseudonyms)
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
                         **records.labels(self._event))

    def _refuse_nobodys(self) -> None:
        self._refuse("no_subject", field="user_id", detail="send user_id, anonymous_id or both")

    def _erase(self) -> None:
        """Nothing that came before of whoever is named is known from here on.

        What stays is the word that nothing is allowed, in `consents.changed` and in the row: it
        keeps a replay of older events from bringing anybody back. It counts as said when the newest
        word before it in this log was, if that is later: a clock that is behind must not make it
        void, nor may a partition that is late undo what they have agreed to since. Visitors who
        turned out to be the person go first: what is still on its way from them goes with them.
        """
        subjects = identity.subjects(self._event, self._desk.pseudonyms, self._slab,
                                     self._record.offset)
        if not subjects:
            self._refuse_nobodys()
        elif not self._is_duplicate():
            visitors = [each for person, key in subjects for each in self._visitors(person, key)]
            for subject in dict.fromkeys([*visitors, *subjects]):
                self._person, self._key = subject
                self._forget()
            self._refuse("erased", outcome="control")

    def _visitors(self, person: str, key: bytes) -> Iterable[tuple[str, bytes]]:
        """The visitors who are this person, as far as they had words: not those who have turned out
        to be another since, on a device that people share."""
        slot = self._slab.find(key)
        asked = () if slot is None else self._slab.tails[slot].get("asked", ())
        return ((visitor, identity.visitor_key(visitor)) for visitor in asked
                if identity.linked(self._slab, visitor, self._record.offset) == person)

    def _forget(self) -> None:
        words: gate.Words = dict(self._tail().get("words", {}))
        _, news = gate.hear(words, gate.denials(self._event["event_ms"], words), is_explicit=True)
        if self._slab.find(self._key) is not None or self._rates is None or (
                self._rates.take_newcomer(self._event["tenant"])):
            self._keep(words=words, traits={})
        self._publish(news)
        self._deposits[:] = [deposit for deposit in self._deposits
                             if deposit.profile_id != self._person]
        self._desk.vault.forget(self._person)
        self._out.emit(ADMITTED, self._person, {
            "tenant": self._event["tenant"], "profile_id": self._person, "stage": "admit",
            "event_ms": self._event["event_ms"], "appended_ms": self._record.appended_ms},
            schema="erasure")

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
        limits = self._desk.limits
        self._refuse("too_many_new", detail=f"more than {limits.newcomer_rate} new people a second "
                     f"and {limits.newcomer_burst} at once came to this tenant; send it again "
                     "later, or raise KAIROS_NEW_PROFILES_PER_S or KAIROS_NEW_PROFILES_BURST")

    def _has_room(self) -> bool:
        return self._rates is None or self._rates.take_event(self._person,
                                                             self._event["event_type"])

    def _refuse_one_too_many(self) -> None:
        limits = self._desk.limits
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
        return gate.standing(words, self._desk.side.consents.words(self._person),
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
        home = partition_of(self._person.encode(), self._desk.partitions)
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
