"""Updating: one event goes into one row. Compiled; the plain twin is `tests/choose/twin.py`.

Every cell is commutative in the events: shuffled and late ones end in the same bytes. That is why
money is added in whole units, and why decay is too: an event at time t adds 2**((t - tile) / half
life), in fixed point, to the tile that holds t; reading weighs the tiles. (Forward decay:
Cormode, Shkapenyuk, Srivastava, Xu, ICDE 2009.)
"""

from __future__ import annotations

import math

import numpy as np
from numba import uint64

from streams.choose.features.layout import (
    BITS,
    DECAY_ONE,
    DECAY_QUANTITY,
    DECAY_VALUE,
    DISTINCT,
    FAVOURITES,
    FIRST,
    HLL_REGISTERS,
    HLL_TILES,
    ITEMS,
    LAST,
    MAX,
    MIN,
    O_ADDS,
    O_ALSO,
    O_AT,
    O_FIELD,
    O_HALF_LIFE_MS,
    O_KIND,
    O_LATE,
    O_NUMBER,
    O_TEXT,
    O_TILE_MS,
    O_TILES,
    O_UNITS,
    O_WHERE,
    QUANTITY,
    QUANTITY_SQ,
    RING,
    RING16,
    SPANS,
    TIMES,
    TRAIT,
    UNIQUE,
    VALUE,
    VALUE_SQ,
)
from streams.choose.features.sessions import with_slot, with_span
from streams.choose.features.spec import EXACT_DISTINCT_MAX
from streams.choose.features.texts import hash_of_name, open_favourites, take_favourite, take_unique
from streams.engine.compiling import compiled
from streams.engine.whole import GREATEST, divided, plus

TILE16_MAX = 65_535
ROOT = 3_037_000_499         # the greatest whole number whose square is no greater


@compiled
def type_of(types, event_type):
    """Position of an event type's hash among those that features name; 0: none of them."""
    for t in range(len(types)):
        if types[t] == event_type:
            return t + 1
    return 0


@compiled
def _whole(number):
    """A float as a number that a tile can hold: what is beyond all of them fills it."""
    if number >= GREATEST:
        return np.int64(GREATEST)
    return np.int64(max(number, -GREATEST))


@compiled
def _amount(adds, value_micros, quantity, event_ms, tile_ms, half_life_ms, units):
    if adds == VALUE:
        return value_micros
    if adds == QUANTITY:
        return quantity
    if adds == VALUE_SQ:
        hundredths = min(max(value_micros // 10_000, -ROOT), ROOT)
        return hundredths * hundredths
    if adds == QUANTITY_SQ:
        thousandths = min(max(quantity, -ROOT), ROOT)
        return thousandths * thousandths
    if adds in (DECAY_ONE, DECAY_VALUE, DECAY_QUANTITY):
        weight = np.exp2((event_ms - divided(event_ms, tile_ms) * tile_ms) / half_life_ms)
        if adds == DECAY_ONE:
            return np.int64(math.floor(weight * units + 0.5))
        return _whole(np.floor(
            weight * (value_micros if adds == DECAY_VALUE else quantity) + 0.5))
    return np.int64(1)


@compiled
def _open(i64, slot, head_at, tile, tiles):
    """Move a ring of 64-bit tiles on so that it holds `tile`; False when it lies behind it."""
    head = i64[slot, head_at]
    if tile > head:
        for t in range(max(head + 1, tile - tiles + 1), tile + 1):
            i64[slot, head_at + 1 + t % tiles] = 0
        i64[slot, head_at] = tile
        return True
    return tile > head - tiles


@compiled
def _add16(u16, i64, slot, at, tile, tiles):
    head_at, first = at // 8, (at + 8) // 2
    head = i64[slot, head_at]
    if tile > head:
        for t in range(max(head + 1, tile - tiles + 1), tile + 1):
            u16[slot, first + t % tiles] = 0
        i64[slot, head_at] = tile
    elif tile <= head - tiles:
        return False
    where = first + tile - divided(tile, tiles) * tiles
    if u16[slot, where] < TILE16_MAX:
        u16[slot, where] += 1
    return True


@compiled
def _times(i64, slot, w, event_ms):
    if i64[slot, w] == 0 or event_ms < i64[slot, w]:
        i64[slot, w] = event_ms
    i64[slot, w + 1] = max(i64[slot, w + 1], event_ms)
    i64[slot, w + 2] += 1


@compiled
def _keep_number(i64, slot, w, event_ms, offset, number, last):
    """The number of the first or last event; of two at one time the offset decides, then the
    number: rows of groups have no offsets."""
    kept_ms, kept_offset = i64[slot, w], i64[slot, w + 1] - 1
    later = event_ms > kept_ms or (event_ms == kept_ms and (
        offset > kept_offset or (offset == kept_offset and number > i64[slot, w + 2])))
    if kept_ms == 0 or later == last:
        i64[slot, w], i64[slot, w + 1], i64[slot, w + 2] = event_ms, offset + 1, number


@compiled
def _remember_item(i64, slot, w, item, event_ms):
    """Keep the newest time of each item, of the newest EXACT_DISTINCT_MAX items, newest first.

    Pairs (time, hash). Whatever the order of arrival, what is kept is the top of all items by
    newest time.
    """
    k = EXACT_DISTINCT_MAX
    found = k - 1
    for j in range(k):
        if i64[slot, w + 2 * j] != 0 and uint64(i64[slot, w + 2 * j + 1]) == item:
            if i64[slot, w + 2 * j] >= event_ms:
                return
            found = j
            break
    # `found` is the item's own place, or the last, whose item makes room if it is older.
    last_ms, last = i64[slot, w + 2 * found], uint64(i64[slot, w + 2 * found + 1])
    if last != item and last_ms != 0 and (event_ms < last_ms
                                          or (event_ms == last_ms and item > last)):
        return
    j = found
    while j > 0:
        before_ms, before = i64[slot, w + 2 * j - 2], uint64(i64[slot, w + 2 * j - 1])
        if before_ms != 0 and (before_ms > event_ms or (before_ms == event_ms and before < item)):
            break
        i64[slot, w + 2 * j], i64[slot, w + 2 * j + 1] = before_ms, np.int64(before)
        j -= 1
    i64[slot, w + 2 * j], i64[slot, w + 2 * j + 1] = event_ms, np.int64(item)


@compiled
def _estimate_item(u8, i64, slot, at, tile, item):
    """HyperLogLog registers a tile. Source: Flajolet, Fusy, Gandouet, Meunier, AofA 2007."""
    head_at, first = at // 8, at + 8
    head = i64[slot, head_at]
    if tile > head:
        for t in range(max(head + 1, tile - HLL_TILES + 1), tile + 1):
            base = first + (t % HLL_TILES) * HLL_REGISTERS
            for r in range(HLL_REGISTERS):
                u8[slot, base + r] = 0
        i64[slot, head_at] = tile
    elif tile <= head - HLL_TILES:
        return False
    register = (first + (tile % HLL_TILES) * HLL_REGISTERS
                + np.int64(item & uint64(HLL_REGISTERS - 1)))
    rest, rank = item >> uint64(6), 1
    while rank < 58 and rest & uint64(1) == uint64(0):
        rest >>= uint64(1)
        rank += 1
    if rank > u8[slot, register]:
        u8[slot, register] = rank
    return True


@compiled
def _tell_apart(u8, i64, slot, at, tile_ms, event_ms, item):
    """Take one item, or text by its hash, into the DISTINCT at byte `at`."""
    _remember_item(i64, slot, at // 8, item, event_ms)
    return _estimate_item(u8, i64, slot, at + 16 * EXACT_DISTINCT_MAX, divided(event_ms, tile_ms),
                          item)


@compiled
def _extreme(i64, slot, at, tile, tiles, number, kind):
    """Least or greatest number a tile, kept plus one above its sign so that 0 means none."""
    if not _open(i64, slot, at // 8, tile, tiles):
        return False
    where = at // 8 + 1 + tile % tiles
    kept = i64[slot, where]
    shifted = number + 1 if number >= 0 else number
    if kept == 0 or (shifted < kept if kind == MIN else shifted > kept):
        i64[slot, where] = shifted
    return True


@compiled
def _texts(i64, slot, kind, w, room, tile_ms, event_ms, names, first, last):
    """Take the texts `names[first:last]` of one event."""
    is_held = True
    if kind == FAVOURITES:
        is_held = open_favourites(i64, slot, w, room, divided(event_ms, tile_ms))
    for row in range(first, last):
        if kind == UNIQUE:
            take_unique(i64, slot, w, room, event_ms, names, row)
        else:
            take_favourite(i64, slot, w, room, event_ms, tile_ms, names, row)
    return is_held


@compiled
def _when(i64, slot, kind, w, tiles, tile_ms, event_ms):
    """Note when an event was, for sessions."""
    tile = divided(event_ms, tile_ms)
    if not _open(i64, slot, w, tile, tiles):
        return False
    where, within = w + 1 + tile % tiles, event_ms - tile * tile_ms
    i64[slot, where] = (with_slot(i64[slot, where], within, tile_ms) if kind == BITS
                        else with_span(i64[slot, where], within))
    return True


@compiled
def update(ops, first_op, last_op, u8, u16, i64, slot, event_ms, offset, value_micros, quantity,
           fields, items, first_item, last_item, names, own):
    """Take one event into row `slot`; returns the bits (`Layout.late_features`) of the cells whose
    tiles it lies behind: these are as they were.

    ops       `Layout.ops`; those of the event's type are first_op to last_op
    quantity  in thousandths; `fields`: hashes of the event's `Layout.where_fields`, and behind
              them of each of `Layout.numbers` whether it is told (1) and its millionths
    items     hashes; the event's own are items[first_item:last_item]
    names     of texts: rows as `items`, and from row `own` on the event's `Layout.text_fields`;
              no rows where no feature takes texts
    """
    late = np.int64(0)
    for op in range(first_op, last_op):
        field = ops[op, O_FIELD]
        if field >= 0 and (fields[field] != ops[op, O_WHERE]
                           or (ops[op, O_ALSO] >= 0 and fields[ops[op, O_ALSO]] != 1)):
            continue
        text = ops[op, O_TEXT]
        if (first_item == last_item) if text == ITEMS else (
                text >= 0 and names[own + text, 0] == 0):
            continue
        kind, at, tile_ms, tiles = (ops[op, O_KIND], ops[op, O_AT], ops[op, O_TILE_MS],
                                    ops[op, O_TILES])
        if kind == RING16:
            if not _add16(u16, i64, slot, at, divided(event_ms, tile_ms), tiles):
                late |= ops[op, O_LATE]
        elif kind == TIMES:
            _times(i64, slot, at // 8, event_ms)
        elif kind == DISTINCT:
            if text < 0:
                for k in range(first_item, last_item):
                    if not _tell_apart(u8, i64, slot, at, tile_ms, event_ms, items[k]):
                        late |= ops[op, O_LATE]
            elif not _tell_apart(u8, i64, slot, at, tile_ms, event_ms,
                                 hash_of_name(names, own + text)):
                late |= ops[op, O_LATE]
        elif kind in (UNIQUE, FAVOURITES):
            if not _texts(i64, slot, kind, at // 8, tiles, tile_ms, event_ms, names,
                          first_item if text < 0 else own + text,
                          last_item if text < 0 else own + text + 1):
                late |= ops[op, O_LATE]
        elif kind in (BITS, SPANS):
            if not _when(i64, slot, kind, at // 8, tiles, tile_ms, event_ms):
                late |= ops[op, O_LATE]
        else:
            number = ops[op, O_NUMBER]
            amount = _amount(ops[op, O_ADDS], fields[number] if number >= 0 else value_micros,
                             quantity, event_ms, tile_ms, ops[op, O_HALF_LIFE_MS],
                             ops[op, O_UNITS])
            if kind == RING:
                tile = divided(event_ms, tile_ms)
                if _open(i64, slot, at // 8, tile, tiles):
                    where = at // 8 + 1 + tile - divided(tile, tiles) * tiles
                    i64[slot, where] = plus(i64[slot, where], amount)
                else:
                    late |= ops[op, O_LATE]
            elif kind in (MIN, MAX):
                if not _extreme(i64, slot, at, divided(event_ms, tile_ms), tiles, amount, kind):
                    late |= ops[op, O_LATE]
            elif kind in (FIRST, LAST):
                _keep_number(i64, slot, at // 8, event_ms, offset, amount, kind == LAST)
            elif kind == TRAIT and fields[tiles] != ops[op, O_WHERE]:
                # Events carry what was known when they were admitted: the last in the log knows
                # most, whatever its own time.
                i64[slot, at // 8] = fields[tiles]
    return late
