"""Kernel: a batch of events goes through features and segments; is any of them of interest?

Compiled. It goes on, event by event and in the order of the log, and notes the events that somebody
must look at (one enters or leaves a segment, a playbook listens to its type, it is a repeat). A
person with such an event waits: the kernel comes back before it would take their next one, so that
their row is exactly as of the event when it is looked at. So what is rare is handled in plain
Python, what is frequent never leaves this loop, and the result does not depend on how the stream
was cut into batches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.choose import absent
from streams.choose.ahead import look_ahead
from streams.choose.features import layout
from streams.choose.features.changing import next_change
from streams.choose.features.layout import EVER_MS
from streams.choose.features.rules import members_mask, rule_holds
from streams.choose.features.updating import type_of, update
from streams.choose.lapsing import next_lapse
from streams.engine.compiling import compiled
from streams.engine.hashing import hash64
from streams.engine.index import find, insert
from streams.engine.touching import AHEAD
from streams.kernel.purposes import PERSONALISE

# What the kernel says of an event.
NOTHING, DUPLICATE, EVENT = range(3)
ALL_TYPES = 1                # in place of a type's hash: every event of the tenant is of interest

_PERSONALISE = PERSONALISE
_MASK, _PURPOSES, _LOCALE = layout.MASK, layout.PURPOSES, layout.LOCALE
_TENANT, _NEWEST, _HEARD = layout.TENANT, layout.NEWEST, layout.HEARD
_PEOPLE = layout.PEOPLE
_FLAGS, _STATED, _ALERT, _MOVED = layout.FLAGS, layout.STATED, layout.ALERT, layout.MOVED
_BY_EVENT = layout.BY_EVENT
_RECENT = layout.HEADER_WORDS


class Fields(NamedTuple):
    """Which column holds what."""

    event_id: int
    tenant: int
    event_type: int
    event_ms: int
    profile_id: int
    value_micros: int
    quantity: int
    locale: int
    purposes: int
    origin_partition: int
    origin_offset: int
    origin_sequence: int


class Batch(NamedTuple):
    """One partition's records as columns. `usable`: the event could be read."""

    raw: npt.NDArray[np.uint8]
    numbers: npt.NDArray[np.int64]
    doubles: npt.NDArray[np.float64]        # the same bits
    sizes: npt.NDArray[np.int32]
    usable: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.uint64]           # hashes; event n has those from first to last
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    names: npt.NDArray[np.int64]            # of items; behind them `texts` rows per event
    texts: int                              # `Layout.text_fields`
    told: npt.NDArray[np.int64]             # what features ask of properties, see `Properties`


class Program(NamedTuple):
    """The declared features, for one kind of row. `decides[t]`: events of type t (see `type_of`)
    may change a feature that a segment asks for."""

    types: npt.NDArray[np.uint64]
    op_starts: npt.NDArray[np.int64]
    ops: npt.NDArray[np.int64]
    reads: npt.NDArray[np.int64]
    decides: npt.NDArray[np.bool_]


class Segments(NamedTuple):
    """`Rules`, for the kernel. `traits`: words of the row that rules ask for."""

    starts: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    watched: npt.NDArray[np.int64]
    crossings: npt.NDArray[np.float64]
    traits: npt.NDArray[np.int64]


class Interests(NamedTuple):
    """Who listens to what: rows (tenant, event type or ALL_TYPES, rule or -1 for always); and
    which absences begin or end with it."""

    table: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    waits: absent.Waits


class Seen(NamedTuple):
    """Newest origin per upstream partition; see `streams.engine.records.Seen`."""

    offset: npt.NDArray[np.int64]
    sequence: npt.NDArray[np.int64]


class Results(NamedTuple):
    """What the kernel tells of each event that it passed: slot (-1: nothing was done with it),
    segments before (-1: it was not counted) and after, the timer to arm (0: none), and which
    windows it lies behind (see `update`). `says`: see above; `held`: the person's absences have not
    taken it, see `absent`. `lapsed`: of an event that was not taken yet, the first moment up to its
    own at which time alone has moved the person (0: none); it is taken when it is up again."""

    says: npt.NDArray[np.int64]
    slot: npt.NDArray[np.int64]
    before: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]
    armed_ms: npt.NDArray[np.int64]
    late: npt.NDArray[np.int64]
    held: npt.NDArray[np.int64]
    lapsed: npt.NDArray[np.int64]


def no_results(count: int) -> Results:
    """Room for what the kernel tells of so many events."""
    return Results(*(np.full(count, -1 if name in ("slot", "before") else 0, np.int64)
                     for name in Results._fields))


@compiled
def _is_repeat(seen_offset, seen_sequence, partition, offset, sequence):
    if offset < seen_offset[partition] or (offset == seen_offset[partition]
                                           and sequence <= seen_sequence[partition]):
        return True
    seen_offset[partition], seen_sequence[partition] = offset, sequence
    return False


@compiled
def _is_heard(i64, slot, event_id, recent):
    """Is the event's id among the row's newest?"""
    found = False
    for j in range(recent):
        found |= i64[slot, _RECENT + j] == np.int64(event_id)
    return found


@compiled
def _heard(i64, slot, event_id, recent):
    """True when the event's id is among the row's newest; else it is remembered."""
    mark = np.int64(event_id)
    if _is_heard(i64, slot, event_id, recent):
        return True
    if recent:
        i64[slot, _RECENT + i64[slot, _HEARD] % recent] = mark
        i64[slot, _HEARD] += 1
    return False


@compiled
def _listens(interests, tenant, event_type, reads, u8, u16, i64, slot, at_ms):
    table, starts = interests.table, interests.starts
    for k in range(len(table)):
        if table[k, 0] != tenant or (table[k, 1] != event_type and table[k, 1] != ALL_TYPES):
            continue
        r = table[k, 2]
        if r < 0 or rule_holds(interests.steps, interests.numbers, starts[r], starts[r + 1], reads,
                               u8, u16, i64, slot, at_ms, i64[slot, _MASK], uint64(0)):
            return True
    return False


@compiled
def _traits(i64, slot, words):
    """One number that is another when a trait is."""
    found = np.int64(0)
    for k in range(len(words)):
        found = found * np.int64(31) + i64[slot, words[k]]
    return found


@compiled
def _restate(rules, reads, u8, u16, i64, armed, slot, at_ms, who):
    """State a person's segments as of `at_ms`, their newest event; returns the timer to arm, or
    0."""
    i64[slot, _FLAGS] |= _STATED | _BY_EVENT
    i64[slot, _MASK] = members_mask(rules.starts, rules.steps, rules.numbers, reads, u8, u16, i64,
                                    slot, at_ms, who)
    moment = next_change(reads, u8, u16, i64, slot, rules.watched, rules.crossings, at_ms)
    if moment == EVER_MS or 0 < armed[slot] <= moment:
        return 0
    armed[slot] = moment
    return moment


@compiled
def _wait(n, slot, b, v, w, waits, tenant, event_type, event_ms, results):
    """Let absences take the event; True when they are to be told of it by others."""
    due_ms = absent.take(w, waits, b, n, slot, tenant, event_type, event_ms)
    if due_ms == absent.HELD:
        results.held[n] = 1
        return True
    if due_ms != absent.NOBODY and not 0 < v.armed[slot] <= due_ms:
        v.armed[slot] = results.armed_ms[n] = due_ms
    return False


@compiled
def _share(mask, group_slots, starts, ops, u8, u16, i64, dirty, t, event_ms, offset, value,
           quantity, fields, items, first, last, names, own):
    """Count the event in the rows of groups in `mask`, which were made beforehand.

    Offsets of different partitions have no order: which of two events at one time is the first or
    last of a group is decided by their numbers.
    """
    for r in range(len(group_slots)):
        slot = group_slots[r]
        if (mask >> np.int64(r)) & np.int64(1) and offset >= i64[slot, 0]:
            update(ops, starts[t], starts[t + 1], u8, u16, i64, slot, event_ms, 0, value,
                   quantity, fields, items, first, last, names, own)
            i64[slot, _NEWEST] = max(i64[slot, _NEWEST], event_ms)
            i64[slot, 0] = offset + 1
            dirty[slot] = 1


@compiled
def _row_of(tenants, tenant):
    row = 0
    while tenants[row] != tenant:
        row += 1
    return row


@compiled
def _is_new_locale(i64, slot, raw, at, size):
    if size == 0:
        return False
    locale = np.int64(hash64(raw, at, size))
    is_new = locale != i64[slot, _LOCALE]
    i64[slot, _LOCALE] = locale
    return is_new


@compiled
def _event(n, slot, b, f, v, w, person, segments, group, gv, group_slots, tenants, interests,
           where_columns, fields, results):
    """Take one event that the row has not seen: features, segments, who listens."""
    raw, numbers, sizes, offset = b.raw, b.numbers, b.sizes, b.offsets[n]
    u8, u16, i64 = v.u8, v.u16, v.i64
    i64[slot, 0] = offset + 1
    v.dirty[slot] = 1
    if not numbers[n, f.purposes] & _PERSONALISE:
        return NOTHING
    event_type = hash64(raw, numbers[n, f.event_type], sizes[n, f.event_type])
    tenant = hash64(raw, numbers[n, f.tenant], sizes[n, f.tenant])
    for k in range(len(where_columns)):
        fields[k] = np.int64(hash64(raw, numbers[n, where_columns[k]], sizes[n, where_columns[k]]))
    for k in range(b.told.shape[1]):
        fields[len(where_columns) + k] = b.told[n, k]
    t, event_ms, value = (type_of(person.types, event_type), numbers[n, f.event_ms],
                          numbers[n, f.value_micros])
    quantity = np.int64(np.floor(b.doubles[n, f.quantity] * 1000.0 + 0.5))
    own = len(b.items) + n * b.texts
    known = _traits(i64, slot, segments.traits)
    results.late[n] = update(
        person.ops, person.op_starts[t], person.op_starts[t + 1], u8, u16, i64, slot, event_ms,
        offset, value, quantity, fields, b.items, b.first[n], b.last[n], b.names, own)
    own_groups = group_slots[_row_of(tenants, tenant)]
    if i64[slot, _TENANT] == 0 and len(own_groups):
        gv.i64[own_groups[0], _PEOPLE] += 1
    i64[slot, _TENANT], i64[slot, _PURPOSES] = np.int64(tenant), numbers[n, f.purposes]
    now_ms = max(i64[slot, _NEWEST], event_ms)
    i64[slot, _NEWEST] = now_ms
    # Neither the event nor the time that passed can have moved the person: then they stay.
    before = i64[slot, _MASK]
    if (person.decides[t] or 0 < v.armed[slot] <= now_ms or not i64[slot, _FLAGS] & _STATED
            or known != _traits(i64, slot, segments.traits)):
        who = hash64(raw, numbers[n, f.profile_id], sizes[n, f.profile_id])
        results.armed_ms[n] = _restate(segments, person.reads, u8, u16, i64, v.armed, slot, now_ms,
                                       who)
    mask = i64[slot, _MASK]
    results.before[n], results.after[n] = before, mask
    _share(mask << np.int64(1) | np.int64(1), own_groups, group.op_starts, group.ops, gv.u8,
           gv.u16, gv.i64, gv.dirty, t, event_ms, offset, value, quantity, fields, b.items,
           b.first[n], b.last[n], b.names, own)
    is_news = _is_new_locale(i64, slot, raw, numbers[n, f.locale], sizes[n, f.locale])
    is_news |= before != mask or i64[slot, _FLAGS] & _ALERT != 0
    is_news |= _wait(n, slot, b, v, w, interests.waits, np.int64(tenant), np.int64(event_type),
                     event_ms, results)
    if is_news or _listens(interests, np.int64(tenant), np.int64(event_type), person.reads, u8,
                           u16, i64, slot, event_ms):
        return EVENT
    return NOTHING


@compiled
def _lapse(n, slot, who, b, f, v, person, segments, recent):
    """The first moment up to event n's at which time alone has moved the person; 0: none, or the
    event will not be counted."""
    moment = next_lapse(person, v, slot, segments, np.int64(0), b.numbers[n, f.event_ms], who)
    if moment == EVER_MS or not b.numbers[n, f.purposes] & _PERSONALISE:
        return np.int64(0)
    event_id = hash64(b.raw, b.numbers[n, f.event_id], b.sizes[n, f.event_id])
    return np.int64(0) if _is_heard(v.i64, slot, event_id, recent) else moment


@compiled
def run(start, b, f, ix, v, w, person, segments, group, gv, group_slots, tenants, interests,
        where_columns, fields, recent, seen, hashes, results):
    """Take events from `start` on; returns the number of the first that was not taken: one of a
    person who waits or whom time has moved before it (`Results.lapsed`), or one that is no event
    (`usable` is False). Who waits is in `v.waits`.

    where_columns, fields   columns that features filter by, and room for their hashes
    recent                  event ids that a row remembers
    hashes                  room for `look_ahead`
    """
    raw, numbers, sizes, offsets = b.raw, b.numbers, b.sizes, b.offsets
    look_ahead(start, b, f, ix, v, hashes)
    for n in range(start, len(offsets)):
        if (n - start) % AHEAD == 0:
            look_ahead(n + AHEAD, b, f, ix, v, hashes)
        if not b.usable[n]:
            return n
        at, size, h = numbers[n, f.profile_id], sizes[n, f.profile_id], hashes[n % (2 * AHEAD)]
        slot = find(ix, raw, at, size, h)
        if slot >= 0 and v.waits[slot]:
            return n
        is_again = results.lapsed[n] != 0
        if not is_again and _is_repeat(
                seen.offset, seen.sequence, numbers[n, f.origin_partition],
                numbers[n, f.origin_offset], numbers[n, f.origin_sequence]):
            continue
        if slot < 0:
            slot = insert(ix, raw, at, size, h)
        if offsets[n] < v.i64[slot, 0]:
            continue
        results.slot[n] = slot
        if 0 < v.armed[slot] <= numbers[n, f.event_ms] and not is_again:
            results.lapsed[n] = _lapse(n, slot, h, b, f, v, person, segments, recent)
            if results.lapsed[n]:
                return n
        if v.i64[slot, _FLAGS] & _MOVED:
            says = EVENT
        elif _heard(v.i64, slot, hash64(raw, numbers[n, f.event_id], sizes[n, f.event_id]), recent):
            says = DUPLICATE
        else:
            says = _event(n, slot, b, f, v, w, person, segments, group, gv, group_slots, tenants,
                          interests, where_columns, fields, results)
        if says != NOTHING:
            results.says[n] = says
            v.waits[slot] = 1
    return len(offsets)


@compiled
def single_items(raw, numbers, sizes, item_field, items, first, last):
    """Hash the one item of each event; events without one have an empty range."""
    for n in range(len(first)):
        first[n] = last[n] = n
        if sizes[n, item_field]:
            items[n] = hash64(raw, numbers[n, item_field], sizes[n, item_field])
            last[n] = n + 1


@compiled
def hash_column(raw, numbers, sizes, rows, field, hashes):
    """Hash the texts of one column in the records `rows`."""
    for n in range(len(rows)):
        hashes[n] = hash64(raw, numbers[rows[n], field], sizes[rows[n], field])
