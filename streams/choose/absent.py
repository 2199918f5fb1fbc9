"""Absent: the watches of very many people in arrays, for compiled code.

What `watches` says of one person's dict, said again for a list of nodes per row: an anchor, a
cancellation, or the time up to which anchors are no longer taken. The nodes of a row are linked in
one order that depends on nothing but what they say, so that however a row came about, what is
written of it is the same:

    heads[slot] -> node -> node ...       by playbook, what, object, time, event id

A row has at most NODES_MAX nodes here; that is less than any bound in `watches`, so that bounds
need no code here. Who has more, or carts of several items, is left to `watches` itself, and so is
every event that names several items: `HELD`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.choose.watches import ANCHORS_MAX, LATE_MS
from streams.engine.compiling import compiled
from streams.engine.hashing import hash64, mix
from streams.kernel.moments import DAY_MS

NODES_MAX = ANCHORS_MAX
TEXT_MAX = 0xFFFF           # bytes of an id
NOBODY, HELD = 0, -1

# Words of a node. SIZES: of the event's id, the object and the item, 16 bits each; their texts lie
# one after the other at TEXT. An anchor has a DEADLINE.
NEXT, PLAYBOOK, WHAT, OBJECT, MS, DEADLINE, TEXT, SIZES = range(8)
ANCHOR, CANCEL, CUT = range(3)
# Bits of `aside`: the row's absences, or what other triggers keep of it, are in its tail.
ABSENCES, OTHERS = 1, 2
FREE, LEFT, USED = range(3)             # first free node, free nodes, bytes of texts

# What is ripe: when, whose, by which playbook; of the chain the first node, the last cancellation
# before its last anchor, whether items are named; of the last anchor what its node has.
(R_MOMENT, R_SLOT, R_PLAYBOOK, R_CHAIN, R_SINCE, R_ITEMS, R_MS, R_DEADLINE, R_TEXT,
 R_SIZES) = range(10)
RIPE_WORDS = 10

# Columns of `Waits.table`.
W_TENANT, W_TYPE, W_PLAYBOOK, W_ANCHORS, W_PER, W_WITHIN = range(6)
E_ID, E_ITEM, E_LINES = range(3)        # of `Waits.columns`

Numbers = npt.NDArray[np.int64]


class Nodes(NamedTuple):
    """`aside`: see above; `woken`: as of which input offset a row was last woken, plus one;
    `noted`: what was lost last, and on which day: a flood of the like is not told again."""

    heads: npt.NDArray[np.int32]
    aside: npt.NDArray[np.uint8]
    woken: Numbers
    noted: Numbers
    nodes: Numbers
    texts: npt.NDArray[np.uint8]
    meta: Numbers


class Waits(NamedTuple):
    """Which absences begin or end with which events, and the columns that they read."""

    table: Numbers
    columns: Numbers


@compiled
def _is_less(w, a, b):
    """The order of nodes."""
    nodes = w.nodes
    for word in (PLAYBOOK, WHAT, OBJECT, MS):
        if nodes[a, word] != nodes[b, word]:
            return nodes[a, word] < nodes[b, word]
    size_a, size_b = nodes[a, SIZES] & TEXT_MAX, nodes[b, SIZES] & TEXT_MAX
    at_a, at_b = nodes[a, TEXT], nodes[b, TEXT]
    for i in range(min(size_a, size_b)):
        if w.texts[at_a + i] != w.texts[at_b + i]:
            return w.texts[at_a + i] < w.texts[at_b + i]
    return size_a < size_b


@compiled
def _link(w, slot, node):
    """Put a node where it belongs; behind those that are its like."""
    before, after = -1, w.heads[slot]
    while after >= 0 and not _is_less(w, node, after):
        before, after = after, w.nodes[after, NEXT]
    w.nodes[node, NEXT] = after
    if before < 0:
        w.heads[slot] = node
    else:
        w.nodes[before, NEXT] = node


@compiled
def new(w, playbook, what, at_ms):
    """A node of no object. The caller has made room."""
    node = w.meta[FREE]
    w.meta[FREE] = w.nodes[node, NEXT]
    w.meta[LEFT] -= 1
    w.nodes[node, PLAYBOOK], w.nodes[node, WHAT], w.nodes[node, MS] = playbook, what, at_ms
    w.nodes[node, OBJECT] = w.nodes[node, DEADLINE] = w.nodes[node, SIZES] = 0
    w.nodes[node, TEXT] = w.meta[USED]
    return node


@compiled
def say(w, raw, at, size):
    """Append a text; it belongs to the node made last."""
    end = w.meta[USED]
    for i in range(size):
        w.texts[end + i] = raw[at + i]
    w.meta[USED] = end + size


@compiled
def _free(w, slot, before, node):
    """Take `node` out of the row's list, where it stands behind `before`; returns what follows."""
    after = w.nodes[node, NEXT]
    if before < 0:
        w.heads[slot] = after
    else:
        w.nodes[before, NEXT] = after
    w.nodes[node, NEXT] = w.meta[FREE]
    w.meta[FREE] = node
    w.meta[LEFT] += 1
    return after


@compiled
def count_of(w, slot):
    """Nodes of a row."""
    count, node = 0, w.heads[slot]
    while node >= 0:
        count, node = count + 1, w.nodes[node, NEXT]
    return count


@compiled
def forget(w, slot):
    """Drop all nodes of a row."""
    while w.heads[slot] >= 0:
        _free(w, slot, -1, w.heads[slot])


@compiled
def _cut_of(w, slot, playbook):
    node = w.heads[slot]
    while node >= 0:
        if w.nodes[node, PLAYBOOK] == playbook and w.nodes[node, WHAT] == CUT:
            return w.nodes[node, MS]
        node = w.nodes[node, NEXT]
    return np.int64(-1)


@compiled
def _anchor(w, slot, wait, b, n, columns, at_ms):
    """See `watches.anchor`."""
    if at_ms <= _cut_of(w, slot, wait[W_PLAYBOOK]):
        return
    raw, numbers, sizes, per = b.raw, b.numbers, b.sizes, wait[W_PER]
    id_size, item_size = sizes[n, columns[E_ID]], sizes[n, columns[E_ITEM]]
    node = new(w, wait[W_PLAYBOOK], ANCHOR, at_ms)
    w.nodes[node, DEADLINE] = at_ms + wait[W_WITHIN]
    say(w, raw, numbers[n, columns[E_ID]], id_size)
    size = 0
    if per >= 0:
        size = sizes[n, per]
        w.nodes[node, OBJECT] = np.int64(hash64(raw, numbers[n, per], size))
        say(w, raw, numbers[n, per], size)
    say(w, raw, numbers[n, columns[E_ITEM]], item_size)
    w.nodes[node, SIZES] = id_size | np.int64(size) << 16 | np.int64(item_size) << 32
    _link(w, slot, node)


@compiled
def _cancel(w, slot, wait, b, n, at_ms):
    """See `watches.cancel`."""
    per, size = wait[W_PER], 0
    node = new(w, wait[W_PLAYBOOK], CANCEL, at_ms)
    if per >= 0 and b.sizes[n, per]:
        size = b.sizes[n, per]
        w.nodes[node, OBJECT] = np.int64(hash64(b.raw, b.numbers[n, per], size))
        say(w, b.raw, b.numbers[n, per], size)
    w.nodes[node, SIZES] = np.int64(size) << 16
    _link(w, slot, node)
    _drop_old(w, slot, wait[W_PLAYBOOK], at_ms - LATE_MS)


@compiled
def _drop_old(w, slot, playbook, old_ms):
    """Forget cancellations that are older than `old_ms` and than every anchor; and with them,
    whatever anchor may still come from before them."""
    node = w.heads[slot]
    while node >= 0:
        if w.nodes[node, PLAYBOOK] == playbook and w.nodes[node, WHAT] == ANCHOR:
            old_ms = min(old_ms, w.nodes[node, MS])
        node = w.nodes[node, NEXT]
    cut_ms, found, before, node = np.int64(-1), False, -1, w.heads[slot]
    while node >= 0:
        is_old = w.nodes[node, WHAT] == CANCEL and w.nodes[node, MS] < old_ms
        if w.nodes[node, PLAYBOOK] == playbook and (is_old or w.nodes[node, WHAT] == CUT):
            if w.nodes[node, WHAT] == CUT:
                cut_ms = w.nodes[node, MS]
            found |= is_old
            node = _free(w, slot, before, node)
        else:
            before, node = node, w.nodes[node, NEXT]
    if found:
        cut_ms = max(cut_ms, old_ms - 1)
    if cut_ms >= 0:
        _link(w, slot, new(w, playbook, CUT, cut_ms))


@compiled
def next_deadline(w, slot):
    """The earliest moment at which something of the row may be ripe; 0: never."""
    nodes, node, earliest = w.nodes, w.heads[slot], np.int64(0)
    while node >= 0:
        after = nodes[node, NEXT]
        if nodes[node, WHAT] == ANCHOR and not _goes_on(nodes, node, after) and (
                earliest == 0 or nodes[node, DEADLINE] < earliest):
            earliest = nodes[node, DEADLINE]
        node = after
    return earliest


@compiled
def _goes_on(nodes, node, after):
    """Does the chain of the anchor `node` go on with the node behind it?"""
    return (after >= 0 and nodes[after, WHAT] == ANCHOR
            and nodes[after, PLAYBOOK] == nodes[node, PLAYBOOK]
            and nodes[after, OBJECT] == nodes[node, OBJECT]
            and nodes[after, MS] <= nodes[node, DEADLINE])


@compiled
def take(w, waits, b, n, slot, tenant, event_type, event_ms):
    """Take an event into the absences of its person; returns their next deadline, NOBODY when none
    is waited for, or HELD, with nothing done: `watches` must take it, or tell its loss."""
    table, columns, matches, text = waits.table, waits.columns, 0, 0
    lost = np.int64(0)
    id_size, item_size = b.sizes[n, columns[E_ID]], b.sizes[n, columns[E_ITEM]]
    for k in range(len(table)):
        if table[k, W_TENANT] == tenant and table[k, W_TYPE] == event_type:
            per = table[k, W_PER]
            if b.sizes[n, columns[E_LINES]] and (table[k, W_ANCHORS]
                                                 or per == columns[E_ITEM]):
                return np.int64(HELD)
            per_size = b.sizes[n, per] if per >= 0 else 0
            if max(id_size, item_size, per_size) > TEXT_MAX:
                return np.int64(HELD)
            matches, text = matches + 1, text + id_size + item_size + per_size
            if table[k, W_ANCHORS] and ((per >= 0 and per_size == 0) or event_ms <= _cut_of(
                    w, slot, table[k, W_PLAYBOOK])):
                # Mixed: of two sums of a hash and a day, what differs could cancel out.
                lost = np.int64(mix(uint64(lost) + uint64(table[k, W_PLAYBOOK])
                                    + uint64(event_ms // DAY_MS)))
    if matches == 0:
        return np.int64(NOBODY)
    if lost and w.noted[slot] != lost:
        w.noted[slot] = lost
        return np.int64(HELD)
    if (w.aside[slot] & ABSENCES or count_of(w, slot) + matches > NODES_MAX
            or w.meta[LEFT] < 2 * matches or w.meta[USED] + text > len(w.texts)):
        return np.int64(HELD)
    for k in range(len(table)):
        if table[k, W_TENANT] == tenant and table[k, W_TYPE] == event_type:
            if not table[k, W_ANCHORS]:
                _cancel(w, slot, table[k], b, n, event_ms)
            elif table[k, W_PER] < 0 or b.sizes[n, table[k, W_PER]]:
                _anchor(w, slot, table[k], b, n, columns, event_ms)
    return next_deadline(w, slot)


@compiled
def _is_cancelled(w, slot, last):
    """(whether the chain that ends with `last` was cancelled, the last cancellation before it)."""
    nodes, node, since, cancelled = w.nodes, w.heads[slot], np.int64(-1), False
    while node >= 0:
        if (nodes[node, WHAT] == CANCEL and nodes[node, PLAYBOOK] == nodes[last, PLAYBOOK]
                and (nodes[node, OBJECT] == 0 or nodes[node, OBJECT] == nodes[last, OBJECT])):
            at_ms = nodes[node, MS]
            if at_ms < nodes[last, MS]:
                since = max(since, at_ms)
            elif at_ms <= nodes[last, DEADLINE]:
                cancelled = True
        node = nodes[node, NEXT]
    return cancelled, since


@compiled
def _forget_old(w, slot, playbook, now_ms):
    """See `watches._forget`."""
    floor, node = now_ms, w.heads[slot]
    while node >= 0:
        if w.nodes[node, PLAYBOOK] == playbook and w.nodes[node, WHAT] == ANCHOR:
            floor = min(floor, w.nodes[node, MS])
        node = w.nodes[node, NEXT]
    before, node = -1, w.heads[slot]
    while node >= 0:
        what, at_ms = w.nodes[node, WHAT], w.nodes[node, MS]
        if w.nodes[node, PLAYBOOK] == playbook and (
                (what == CANCEL and at_ms < floor) or (what == CUT and at_ms <= now_ms)):
            node = _free(w, slot, before, node)
        else:
            before, node = node, w.nodes[node, NEXT]


@compiled
def _drop_retired(w, slot, playbook, now_ms):
    """Of a playbook that nobody asks any more all goes when something of it comes up."""
    nodes, node, is_due = w.nodes, w.heads[slot], False
    while node >= 0:
        is_due |= (nodes[node, PLAYBOOK] == playbook and nodes[node, WHAT] == ANCHOR
                   and not _goes_on(nodes, node, nodes[node, NEXT])
                   and nodes[node, DEADLINE] <= now_ms)
        node = nodes[node, NEXT]
    before, node = -1, w.heads[slot]
    while node >= 0 and is_due:
        if nodes[node, PLAYBOOK] == playbook:
            node = _free(w, slot, before, node)
        else:
            before, node = node, nodes[node, NEXT]


@compiled
def _note(nodes, first, last, since, row):
    """What is ripe of a chain that has left its list."""
    row[R_CHAIN], row[R_SINCE], row[R_ITEMS] = first, since, 0
    row[R_MS], row[R_DEADLINE] = nodes[last, MS], nodes[last, DEADLINE]
    row[R_TEXT], row[R_SIZES] = nodes[last, TEXT], nodes[last, SIZES]
    node = first
    while node >= 0:
        row[R_ITEMS] |= nodes[node, SIZES] >> 32
        node = nodes[node, NEXT]


@compiled
def _decide(w, slot, playbook, now_ms, ripe, count):
    """See `watches.take_ripe`: one playbook's chains that end by `now_ms`."""
    nodes, before, node = w.nodes, -1, w.heads[slot]
    while node >= 0:
        if nodes[node, PLAYBOOK] != playbook or nodes[node, WHAT] != ANCHOR:
            before, node = node, nodes[node, NEXT]
            continue
        last = node
        while _goes_on(nodes, last, nodes[last, NEXT]):
            last = nodes[last, NEXT]
        if nodes[last, DEADLINE] > now_ms:
            before, node = last, nodes[last, NEXT]
            continue
        cancelled, since = _is_cancelled(w, slot, last)
        after = nodes[last, NEXT]
        if cancelled:
            while node != after:
                node = _free(w, slot, before, node)
            continue
        # The chain leaves the list as it is; who reads it gives its nodes back.
        nodes[last, NEXT] = -1
        if before < 0:
            w.heads[slot] = after
        else:
            nodes[before, NEXT] = after
        ripe[count, R_MOMENT], ripe[count, R_SLOT], ripe[count, R_PLAYBOOK] = now_ms, slot, playbook
        _note(nodes, node, last, since, ripe[count])
        count += 1
        node = after
    return count


@compiled
def settle(w, slot, now_ms, in_force, ripe, count):
    """Decide what is decided of a row by `now_ms`; what is ripe is added to `ripe`, which has room
    for NODES_MAX more; returns how many these are. `in_force`: playbooks that wait."""
    done = np.int64(0)
    while True:
        # The next playbook: nodes are in the order of their playbooks, but for what is freed.
        node, playbook, found = w.heads[slot], np.int64(0), False
        while node >= 0 and not found:
            playbook = w.nodes[node, PLAYBOOK]
            found = done == 0 or playbook > done
            node = w.nodes[node, NEXT]
        if not found:
            return count
        done = playbook
        is_asked = False
        for k in range(len(in_force)):
            is_asked |= in_force[k] == playbook
        if is_asked:
            count = _decide(w, slot, playbook, now_ms, ripe, count)
            _forget_old(w, slot, playbook, now_ms)
        else:
            _drop_retired(w, slot, playbook, now_ms)
