"""Lapsing: what time alone does to people: windows run empty, times since reach their bounds.

Compiled. A moment at which that moves somebody is told as of itself, whoever comes upon it first:
the watermark, or the person's next event where the log is ahead of the watermark. `armed` of a row
says before which moment nothing is left to be told.
"""

from __future__ import annotations

import numpy as np

from streams.choose.features.changing import next_change
from streams.choose.features.layout import (
    BY_EVENT,
    EVER_MS,
    FLAGS,
    MASK,
    MOVED,
    NEWEST,
    STATED,
)
from streams.choose.features.rules import members_mask
from streams.engine.compiling import compiled


@compiled
def _members(person, v, slot, segments, at_ms, who):
    return members_mask(segments.starts, segments.steps, segments.numbers, person.reads, v.u8,
                        v.u16, v.i64, slot, at_ms, who)


@compiled
def next_lapse(person, v, slot, segments, after_ms, until_ms, who):
    """The first moment after `after_ms` and up to `until_ms` as of which the person is in other
    segments than the row says; EVER_MS: none.

    after_ms   not before the row's newest event; 0: what was told of the person so far
    who        hash of the person's id
    """
    moment = after_ms
    if after_ms == 0:
        armed_ms, newest_ms = v.armed[slot], v.i64[slot, NEWEST]
        if not 0 < armed_ms <= until_ms or newest_ms > until_ms:
            return np.int64(EVER_MS)
        moment = max(newest_ms, armed_ms - 1)
        if not v.i64[slot, FLAGS] & STATED:
            # The rules have changed: that moves people as of when `arm_all` armed them.
            moment = max(newest_ms, armed_ms)
            if _members(person, v, slot, segments, moment, who) != v.i64[slot, MASK]:
                return moment
    while True:
        moment = next_change(person.reads, v.u8, v.u16, v.i64, slot, segments.watched,
                             segments.crossings, moment)
        if moment > until_ms:
            return np.int64(EVER_MS)
        if _members(person, v, slot, segments, moment, who) != v.i64[slot, MASK]:
            return moment


@compiled
def regroup(person, v, slot, segments, at_ms, who):
    """(segments before, after) of one person whom time alone may have moved; the row is changed.

    who   hash of the person's id
    """
    i64 = v.i64
    i64[slot, FLAGS] = i64[slot, FLAGS] & ~BY_EVENT | STATED
    before = i64[slot, MASK]
    i64[slot, MASK] = _members(person, v, slot, segments, max(at_ms, i64[slot, NEWEST]), who)
    return before, i64[slot, MASK]


@compiled
def lapse_after(person, v, slot, segments, at_ms):
    """The next moment after `at_ms` at which time alone may move the person; EVER_MS: none."""
    return next_change(person.reads, v.u8, v.u16, v.i64, slot, segments.watched,
                       segments.crossings, max(at_ms, v.i64[slot, NEWEST]))


@compiled
def arm_all(person, v, slots, segments, at_ms, due_ms):
    """Mark rows as armed for their next lapse after `at_ms`, up to which time has been told of;
    `due_ms` says when (0: never).

    An event behind `at_ms` may have stated a row: then all since that is still to be told. Whose
    segments were not stated since their rules changed is up at once: time alone might never ask for
    them.
    """
    for n in range(len(slots)):
        told_ms = 0 if v.i64[slots[n], FLAGS] & BY_EVENT else at_ms
        moment = lapse_after(person, v, slots[n], segments, told_ms)
        if not v.i64[slots[n], FLAGS] & (STATED | MOVED):
            moment = max(at_ms, v.i64[slots[n], NEWEST])
        if moment != EVER_MS:
            v.armed[slots[n]] = due_ms[n] = moment
