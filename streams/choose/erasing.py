"""Erasing: whoever asked to be forgotten was never heard of, from that place in the log on.

    admit: erase ──▶ their partition: row, tail, timers, memberships, interests: gone
                     a visitor who turned out to be a person ──▶ the person's partition: the same

What groups and things have counted stays, as sums over many. Nothing else does, but for how many
answers about their other ids are still to come (`awaiting`).
"""

from __future__ import annotations

from typing import Any

from streams import pipeline
from streams.choose import awaiting, changes, triggers
from streams.choose.features.layout import FLAGS, MASK, MOVED, NEWEST
from streams.choose.handing import MOVED_TO
from streams.choose.program import GroupSlots, Program
from streams.choose.tables import Tables
from streams.engine.records import Out


def erase(program: Program, tables: Tables, groups: GroupSlots, notes: dict[str, Any], out: Out,
          told: dict[str, Any], offset: int) -> None:
    """Forget whom an erasure is about. The segments that they were in are told that they left."""
    people, key = tables.people, told["profile_id"].encode()
    slot = people.find(key)
    if slot is None:
        return
    words, tail, tenant = people.views.i64[slot], people.tails.get(slot, {}), tables.tenant_of(slot)
    if words[FLAGS] & MOVED:
        out.emit(pipeline.ADMITTED, tail[MOVED_TO], {
            **{name: told[name] for name in ("tenant", "event_ms", "appended_ms")},
            "profile_id": tail[MOVED_TO], "stage": "choose", **out.alone()}, schema="erasure")
    elif tenant is not None:
        changes.tell(program, out, notes, tenant, told["profile_id"], cause="erasure",
                     at_ms=max(told["event_ms"], int(words[NEWEST])), before=int(words[MASK]),
                     after=0)
        groups.count_people(tenant, -1)
    tables.care(key, set(triggers.cared_for(tail.get("w", {}))), set())
    to_come = awaiting.kept_of_erased(tail)
    people.drop(key)
    if to_come:
        people.tail(people.slot(key)).update(to_come)
        people.stamp(people.slot(key), offset)


def let_go(tables: Tables, person: bytes) -> None:
    """Drop the row of whoever was erased when nothing is to come any more, and nothing came."""
    slot = tables.people.find(person)
    if slot is not None and tables.tenant_of(slot) is None and not tables.people.tails.get(slot):
        tables.people.drop(person)
