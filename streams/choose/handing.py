"""Handing over: a visitor turned out to be a person, and all that is known of them follows.

    admit: link ──▶ visitor's partition: its row ──▶ person's partition: merged
                    and every later event of the visitor ──▶ counted as the person's
            and ──▶ person's partition: decides nothing about them until then (`awaiting`)

It travels on events.admitted itself: what is known of a person, caps and hold-outs included,
decides what they are told, and only one log gives one order to events and handovers.

Merging is an algebra (`features/merging.py`). Of what is not numbers: caps count the messages of
both, cool-downs run from the later one, triggers go on from what was done under either id
(`triggers.merge`), whoever was held out under either id stays held out, and who was in a segment
under either stays in it for as long as its rule lets those stay who are in.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from streams.choose import awaiting, decision, triggers
from streams.choose.absences import Absences
from streams.choose.features.layout import (
    FLAGS,
    MASK,
    MOVED,
    NEWEST,
    PURPOSES,
    STAMP,
    TENANT,
    Layout,
)
from streams.choose.features.merging import merge
from streams.choose.losing import take_lost
from streams.engine.rows import Rows

MOVED_TO = "to"          # tail: the person that this visitor is
LOOKED_AT = "s"          # tail of a row on its way: the watermark where it came from
LOSS_TOLD = "lt"         # tail: playbook -> the last day on which a loss was told of
HELD_AS = "u"            # tail: the least hold-out number among the ids of this person


def expect(people: Rows, person: bytes, visitor: str, offset: int) -> None:
    """What is known of the visitor is about to come to the person's row."""
    slot = people.slot(person)
    awaiting.count(people.tail(slot), visitor, 1)
    people.stamp(slot, offset)


def take_away(people: Rows, slot: int, person: str, tenant: str, reached_ms: int) -> bytes:
    """The visitor's row for its person; it stays behind empty, to pass on what still comes.

    The caller has told that the visitor left their segments. `reached_ms`: the watermark here.
    """
    key = people.key(slot)
    tail = people.tail(slot)
    if tail.get("d"):
        tail[HELD_AS] = min(tail.get(HELD_AS, 1.0), decision.holdout_number(tenant, key.decode()))
    tail[LOOKED_AT] = reached_ms
    row = people.encode(key)
    assert row is not None
    i64 = people.views.i64
    stamp, signed = int(i64[slot, STAMP]), int(i64[slot, TENANT])
    people.views.u8[slot] = 0
    people.views.armed[slot] = 0
    if people.beside is not None:
        people.beside.forget(np.array([slot]))
    i64[slot, STAMP], i64[slot, TENANT], i64[slot, FLAGS] = stamp, signed, MOVED
    people.tails[slot] = {MOVED_TO: person}
    people.views.dirty[slot] = 1
    return row


def looked_at_ms(people: Rows, encoded: bytes) -> int | None:
    """Up to when changes of items were looked at for whom an encoded row is of; None: not said."""
    found: int | None = people.read(encoded)[1].get(LOOKED_AT)
    return found


def newest_ms(people: Rows, encoded: bytes) -> int:
    """Time of the newest event in a visitor's encoded row."""
    row, _ = people.read(encoded)
    return int(np.frombuffer(row, np.int64, 1, 8 * NEWEST)[0])


def take_in(layout: Layout, people: Rows, slot: int, encoded: bytes, absences: Absences,
            in_force: Collection[str]) -> tuple[int, dict[str, int]]:
    """Merge a visitor's encoded row into the person's; returns (segments that the person was in,
    what was too much for the triggers to keep, by playbook).

    in_force   playbooks of absences
    The row says that they were in the segments of both: the caller states them anew.
    """
    row, theirs = people.read(encoded)
    other = np.frombuffer(row, np.uint8).copy()      # aligned, whatever the record was
    header = other.view(np.int64)
    merge(layout, people.views.u8[slot], other)
    i64 = people.views.i64
    before = int(i64[slot, MASK])
    i64[slot, MASK] |= header[MASK]
    if i64[slot, TENANT] == 0:
        i64[slot, TENANT], i64[slot, PURPOSES] = header[TENANT], header[PURPOSES]
    mine = people.tail(slot)
    absences.thaw(slot, mine.setdefault("w", {}), in_force)
    absences.thaw_tail(theirs, in_force)
    merge_tails(mine, theirs)
    lost = take_lost(mine["w"])
    absences.freeze(slot, mine["w"])
    people.views.dirty[slot] = 1
    return before, lost


def merge_tails(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """What varies, into `mine`."""
    if "l" in theirs:
        mine.setdefault("l", theirs["l"])
    if HELD_AS in theirs:
        mine[HELD_AS] = min(mine.get(HELD_AS, 1.0), theirs[HELD_AS])
    if said := theirs.get("d"):
        decision.join(mine.setdefault("d", {}), said)
    for name, day in theirs.get(LOSS_TOLD, {}).items():
        told = mine.setdefault(LOSS_TOLD, {})
        told[name] = max(day, told.get(name, day))
    if kept := theirs.get("w"):
        triggers.merge(mine.setdefault("w", {}), kept)
