"""Waking: whose time has come up? Compiled, up to those for whom there is something to say.

A timer that comes up says only that something may have changed. Mostly nothing did: who bought is
armed for nothing more, who came back is armed again. That is settled here, in the order of event
time, without leaving compiled code; what is ripe, and whoever needs more than arrays can tell, is
given to the caller by moment and then by key.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.choose import absent
from streams.choose.absent import RIPE_WORDS
from streams.choose.features import layout
from streams.choose.features.changing import next_change
from streams.choose.features.layout import EVER_MS
from streams.choose.features.rules import members_mask
from streams.choose.program import Program
from streams.choose.tables import Tables
from streams.choose.watches import Ripe
from streams.engine.compiling import compiled
from streams.engine.deadlines import pop, push

_MASK, _NEWEST, _FLAGS, _STATED = layout.MASK, layout.NEWEST, layout.FLAGS, layout.STATED
_TENANT, _BY_EVENT = layout.TENANT, layout.BY_EVENT
_BATCH = 2048


class Woken(NamedTuple):
    """A person whose time has come up at `moment_ms`.

    ripe   watches that are, by playbook; all else about the row is settled
    asks   the row is as it was: segments, triggers and timer are the caller's to settle
    """

    moment_ms: int
    slot: int
    ripe: list[tuple[str, Ripe]]
    asks: bool


@compiled
def _moved(person, v, slot, segments, at_ms, who):
    """Has time alone moved the person between segments?"""
    now_ms = max(at_ms, v.i64[slot, _NEWEST])
    return v.i64[slot, _MASK] != members_mask(segments.starts, segments.steps, segments.numbers,
                                              person.reads, v.u8, v.u16, v.i64, slot, now_ms, who)


@compiled
def _wake(heap, count, owner, limit_ms, w, v, hashes, person, segments, in_force, unseen_below,
          stamp, asking, ripe):
    """Go on to the end of a moment of which the caller must hear, or to `limit_ms`; returns
    (entries left, rows in `asking`, rows in `ripe`).

    Stops in the middle of a moment when there is no more room; the caller goes on with it then.
    """
    asked, found, last = 0, 0, np.int64(-1)
    while count > 0 and heap[0, 0] <= limit_ms:
        due_ms, slot = heap[0, 0], heap[0, 1]
        if due_ms != last and (asked or 2 * found > len(ripe)):
            break
        if asked == len(asking) or found + absent.NODES_MAX > len(ripe):
            break
        last = due_ms
        pop(heap, count)
        count -= 1
        if v.armed[slot] != due_ms or v.i64[slot, _TENANT] != owner:
            continue
        v.armed[slot] = 0
        is_fresh = v.i64[slot, 0] < unseen_below or w.woken[slot] == stamp
        if w.aside[slot] or (is_fresh and _moved(person, v, slot, segments, due_ms, hashes[slot])):
            asking[asked, 0], asking[asked, 1] = due_ms, slot
            asked += 1
            continue
        if is_fresh:
            v.i64[slot, _FLAGS] = v.i64[slot, _FLAGS] & ~_BY_EVENT | _STATED
            v.i64[slot, 0] = max(v.i64[slot, 0], stamp)
            v.dirty[slot], w.woken[slot] = 1, stamp
            found = absent.settle(w, slot, due_ms, in_force, ripe, found)
        moment = next_change(person.reads, v.u8, v.u16, v.i64, slot, segments.watched,
                             segments.crossings, max(due_ms, v.i64[slot, _NEWEST]))
        deadline = absent.next_deadline(w, slot)
        if 0 < deadline <= due_ms:      # only of a row that was passed over
            deadline = limit_ms + 1
        if 0 < deadline < moment:
            moment = deadline
        if moment < EVER_MS:
            v.armed[slot] = moment
            push(heap, count, moment, slot)
            count += 1
    return count, asked, found


@compiled
def give_back(w, ripe, count):
    """Free the nodes of chains that were ripe."""
    for k in range(count):
        node = ripe[k, absent.R_CHAIN]
        while node >= 0:
            after = w.nodes[node, absent.NEXT]
            w.nodes[node, absent.NEXT] = w.meta[absent.FREE]
            w.meta[absent.FREE] = node
            w.meta[absent.LEFT] += 1
            node = after


def woken(program: Program, tables: Tables, tenant: str, in_force: npt.NDArray[np.int64], *,
          limit_ms: int, unseen_below: int, stamp: int) -> Iterator[Woken]:
    """Everybody of the tenant for whom there is something to do by `limit_ms`, one at a time, by
    moment and then by key, with what asks for nothing settled on the way.

    The caller settles whoever asks and arms them again, later than the moment, before it takes the
    next: so effects come in the order of event time whatever was armed too early, and a replay on
    rows that lie in other slots numbers its emissions alike.

    in_force       hashes of the absences in force
    unseen_below   rows that have seen this input are passed over: they are only armed again
    stamp          what others are stamped with; who was woken under this stamp is woken again
    """
    timers, people = tables.timers(tenant), tables.people
    timers.bring(limit_ms)
    asking, ripe = np.zeros((_BATCH, 2), np.int64), np.zeros((2 * _BATCH, RIPE_WORDS), np.int64)
    while timers.count and timers.heap[0, 0] <= limit_ms:
        everybody: list[Woken] = []
        upto_ms = limit_ms
        while timers.count and timers.heap[0, 0] <= upto_ms:
            timers.count, asked, found = _wake(
                timers.heap, timers.count, timers.owner, upto_ms, tables.absences.reserve(0, 0),
                people.views, people.index.arrays.hashes, program.person, program.moving, in_force,
                unseen_below, stamp, asking, ripe)
            everybody += [Woken(moment, slot, [], True)
                          for moment, slot in asking[:asked].tolist()]
            everybody += _ripe_of(tables, ripe[:found].tolist())
            give_back(tables.absences.arrays, ripe, found)
            if everybody:       # and whoever else is up at the last of these moments
                upto_ms = max(each.moment_ms for each in everybody)
        for _, same in groupby(sorted(everybody, key=lambda each: each.moment_ms),
                               key=lambda each: each.moment_ms):
            at_once = list(same)
            yield from (sorted(at_once, key=lambda each: people.key(each.slot))
                        if len(at_once) > 1 else at_once)


def _ripe_of(tables: Tables, rows: list[list[int]]) -> Iterator[Woken]:
    for (moment, slot), own in groupby(rows, key=lambda row: (row[0], row[1])):
        yield Woken(moment, slot, [tables.absences.ripe(row) for row in own], False)
