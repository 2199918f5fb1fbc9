"""Deciding: from the moments of one person to a decision, and a reason for each silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from streams import pipeline
from streams.choose import awaiting, decision, handing, segments, triggers
from streams.choose.backing import Backing
from streams.choose.features.layout import MASK, PURPOSES
from streams.choose.program import Program
from streams.choose.tables import Tables
from streams.choose.triggers import Moment, Person
from streams.engine.records import Out
from streams.engine.watermarks import NEVER
from streams.kernel.moments import DAY_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Playbook


class Voice:
    """Speaks for the people in `tables` into `out`.

    backing   small segments decide nothing about what is said, and are not named: who is in one
              could be known by it. Membership itself, and rules that ask for it, stay
    """

    def __init__(self, program: Program, side: SideInputs, tables: Tables, out: Out, *,
                 backing: Backing) -> None:
        self._program, self._side, self._tables, self._out = program, side, tables, out
        self._people, self._backing = tables.people, backing

    def _members(self, slot: int) -> list[str]:
        return self._program.names(int(self._people.views.i64[slot, MASK]))

    def _usable(self, slot: int, tenant: str) -> list[str]:
        """The person's segments that are large enough over all partitions, most telling first."""
        return self._backing.usable(tenant, self._members(slot))

    def person(self, slot: int, at_ms: int, reached_ms: int = NEVER) -> Person:
        """The person as of `at_ms`; `reached_ms`: the watermark of their tenant."""
        members = self._members(slot)
        return Person(lambda name: self._program.feature(self._people, slot, name, at_ms),
                      members.__contains__, self._program.declared,
                      lambda name: self._program.texts(self._people, slot, name, at_ms),
                      reached_ms, at_ms)

    def tell_unreadable(self, playbooks: Sequence[Playbook], event: dict[str, Any]) -> None:
        """Say of which playbooks the event should carry a date, and carries something else."""
        for playbook in triggers.unreadable(playbooks, event):
            self._out.refuse("skipped", "no_date", subject=playbook.name, tenant=event["tenant"],
                             field=f"properties.{playbook.trigger.property}",
                             detail="is neither a day like 2026-03-01, in the years 1971 to "
                             "2099, nor a moment in time; what was told before stands",
                             source=event["source"], event_id=event["event_id"],
                             profile_id=event["profile_id"], playbook=playbook.name,
                             event_ms=event["event_ms"])

    def tell_lost(self, slot: int, tenant: str, at_ms: int, lost: dict[str, int]) -> None:
        """Say what the person's triggers forgot because there was too much of it: once a day."""
        for name, count in lost.items():
            if self._is_first(slot, name, at_ms):
                profile_id = self._people.key(slot).decode()
                self._out.refuse(
                    "skipped", "kept_too_much", subject=name, tenant=tenant, playbook=name,
                    profile_id=profile_id, event_ms=at_ms, detail=f"{count} at least; a narrower "
                    "`on`, a shorter `within` or another `per` leaves less to be kept")

    def tell_nameless(self, slot: int, playbooks: Sequence[Playbook], event: dict[str, Any],
                      items: tuple[str, ...]) -> None:
        """Say of which playbooks nothing begins with the event as it names no object: once a
        day of the person, so that a producer who never does makes no flood."""
        for playbook in triggers.nameless(playbooks, event, items):
            if self._is_first(slot, f"{playbook.name}:no_object", event["event_ms"]):
                self._out.refuse("skipped", "no_object", subject=playbook.name,
                                 tenant=event["tenant"], field=playbook.trigger.per,
                                 detail=f"the playbook's trigger {playbook.trigger.kind} is kept "
                                 f"per {playbook.trigger.per}, and {event['event_type']} names "
                                 "none; send the field, or leave out `per`",
                                 source=event["source"], event_id=event["event_id"],
                                 profile_id=event["profile_id"], playbook=playbook.name,
                                 event_ms=event["event_ms"])

    def _is_first(self, slot: int, what: str, at_ms: int) -> bool:
        """Is `what` not told yet of the person and the day, or a later one? Now it is."""
        told, day = self._people.tail(slot).setdefault(handing.LOSS_TOLD, {}), at_ms // DAY_MS
        is_first = bool(told.get(what, -1) < day)
        if is_first:
            told[what] = day
        return is_first

    def tell_late(self, event: dict[str, Any], bits: int) -> None:
        """Say which windows an event came too late for; whatever else is made of it has it."""
        self._out.refuse("late", "behind_window", tenant=event["tenant"], source=event["source"],
                         event_id=event["event_id"], profile_id=event["profile_id"],
                         event_ms=event["event_ms"],
                         detail=", ".join(self._program.people.late_features(bits)))

    def decide_all(self, slot: int, tenant: str, profile_id: str,
                   moments: Sequence[Moment]) -> None:
        """`decide` for moments of different times, in their order."""
        for moment_ms in sorted({m.moment_ms for m in moments}):
            self.decide(slot, tenant, profile_id,
                        [m for m in moments if m.moment_ms == moment_ms])

    def decide(self, slot: int, tenant: str, profile_id: str, moments: list[Moment]) -> None:
        """At most one decision a person and moment; each loser has its reason. Not before all that
        is known of the person is here."""
        if not moments:
            return
        tail = self._people.tail(slot)
        if awaiting.is_awaiting(tail):
            self._people.views.dirty[slot] = 1
            self._leave_out(tenant, profile_id, awaiting.hold(tail, moments))
            return
        said, spoken = tail.setdefault("d", {}), False
        for moment in decision.rank(moments):
            person = self.person(slot, moment.moment_ms)
            purposes = self._purposes(slot, profile_id)
            reason = "outranked" if spoken else decision.why_not(moment, person, said, purposes)
            if reason:
                self._out.refuse("skipped", reason, subject=decision.id_of(moment, profile_id),
                                 tenant=tenant, event_id=moment.event_id, profile_id=profile_id,
                                 playbook=moment.playbook.name, event_ms=moment.moment_ms)
                continue
            usable = self._usable(slot, tenant)
            cell = segments.cell_of(usable)
            chosen = decision.decide(moment, profile_id, cell=cell,
                                     in_cell=self._counts(moment.playbook, cell),
                                     overall=self._counts(moment.playbook, "*"),
                                     held_as=self._people.tail(slot).get(handing.HELD_AS, 1.0))
            decision.remember(said, moment)
            self._emit(slot, profile_id, chosen, usable, purposes)
            spoken = True

    def _leave_out(self, tenant: str, profile_id: str, moments: Sequence[Moment]) -> None:
        """Say of moments that there was no room for them: without what is known of the visitor,
        caps and hold-out would not hold."""
        for moment in moments:
            self._out.refuse("skipped", "kept_too_much", tenant=tenant, profile_id=profile_id,
                             subject=decision.id_of(moment, profile_id), event_id=moment.event_id,
                             playbook=moment.playbook.name, event_ms=moment.moment_ms,
                             detail=f"{awaiting.HELD_MAX} moments wait already for what is known "
                             "of another id of this person")

    def answered(self, slot: int, tenant: str, profile_id: str, visitor: str,
                 playbooks: Sequence[Playbook]) -> None:
        """What was known of `visitor`, who the person was, is here: what waited is decided."""
        tail = self._people.tail(slot)
        awaiting.count(tail, visitor, -1)
        self._people.views.dirty[slot] = 1
        if not awaiting.is_awaiting(tail):
            self.decide_all(slot, tenant, profile_id, awaiting.release(tail, playbooks))

    def _purposes(self, slot: int, profile_id: str) -> int:
        """What the newest event allowed, with what was granted or withdrawn since."""
        book = self._side.consents
        allowed = int(self._people.views.i64[slot, PURPOSES])
        return (allowed | book.mask(profile_id)) & ~book.denied(profile_id)

    def _counts(self, playbook: Playbook, cell: str) -> dict[str, tuple[int, int]]:
        """Matured trials and successes per arm: the sum over learn's partitions."""
        total: dict[str, tuple[int, int]] = {}
        shares = self._side.policies.get((playbook.tenant, playbook.name, cell), {})
        for share in shares.values():
            for arm, counts in orjson.loads(share["arms_json"]).items():
                trials, successes = total.get(arm, (0, 0))
                total[arm] = (trials + counts["trials"], successes + counts["successes"])
        return total

    def _emit(self, slot: int, profile_id: str, chosen: decision.Chosen,
              usable: list[str], purposes: int) -> None:
        moment, playbook = chosen.moment, chosen.moment.playbook
        features = self._program.snapshot(self._tables, self._people, slot, moment.moment_ms)
        self._backing.add(self._tables, slot, playbook.tenant, moment.moment_ms, usable, features)
        things = self._backing.things.of_moment(self._tables.entities, playbook.tenant,
                                                moment.items, moment.moment_ms)
        self._out.emit(pipeline.DECISIONS, profile_id, {
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
            "policy_version": f"{chosen.cell}-{chosen.evidence_count}",
            "segment": segments.cell_of(usable), "segments_json": orjson.dumps(usable).decode(),
            "features_json": orjson.dumps({**features, **things}).decode(),
            "evidence_json": orjson.dumps(moment.evidence).decode(),
            "item_ids_json": orjson.dumps(moment.items).decode(), "purposes": purposes,
            "channel": playbook.channels[0],
            "locale": self._people.tails.get(slot, {}).get("l", playbook.locale),
            "trigger_appended_ms": moment.appended_ms, "decided_ms": self._out.now_ms})
