"""Changing: when will time alone change the value of a feature?"""

from __future__ import annotations

import math

import numpy as np

from streams.choose.features.layout import (
    EVER_MS,
    R_A,
    R_B,
    R_C,
    R_CUTS,
    R_HALF_LIFE_MS,
    R_HOW,
    R_MAX_AGE_MS,
    R_TILE_MS,
    R_TILES,
    R_TIMES,
    R_WIDTH16,
    R_WINDOW_MS,
    READ_DECAY,
    READ_DISTINCT,
    READ_FAVOURITES,
    READ_LIFETIME,
    READ_MEAN,
    READ_RATIO,
    READ_RFM,
    READ_SESSIONS,
    READ_SINCE,
    READ_UNIQUE,
    READ_VARIANCE,
)
from streams.choose.features.reading import read, span, value_of
from streams.choose.features.sessions import next_of_sessions
from streams.choose.features.spec import CUTS, EXACT_DISTINCT_MAX, WINDOW_MS_MAX
from streams.choose.features.texts import next_of_favourites, next_of_uniques
from streams.engine.compiling import compiled
from streams.engine.whole import divided
from streams.kernel.moments import DAY_MS


@compiled
def _next_of_ring(rd, u8, u16, i64, slot, f, at_ms):
    """When the oldest tile that holds anything leaves the window; EVER_MS: never."""
    at, tiles, tile_ms = rd[f, R_A], rd[f, R_TILES], rd[f, R_TILE_MS]
    if rd[f, R_HOW] == READ_MEAN:           # of what adds up to nothing, the count tells
        at = rd[f, R_B]
    elif rd[f, R_HOW] == READ_VARIANCE:
        at = rd[f, R_C]
    head = i64[slot, at // 8]
    if head == 0:
        return EVER_MS
    first, _ = span(head, tiles, tile_ms, at_ms)
    j = first - divided(first, tiles) * tiles
    for tile in range(first, head + 1):
        held = (u16[slot, (at + 8) // 2 + j] != 0 if rd[f, R_WIDTH16]
                else i64[slot, at // 8 + 1 + j] != 0)
        if held and (tile + tiles) * tile_ms > at_ms:
            return (tile + tiles) * tile_ms
        j = j + 1 if j + 1 < tiles else 0
    return EVER_MS


@compiled
def _next_of_set(rd, u8, u16, i64, slot, f, at_ms):
    """When the oldest item inside the window leaves it, or a tile of the estimate does."""
    found, window_ms, inside = np.int64(EVER_MS), rd[f, R_WINDOW_MS], 0
    for j in range(EXACT_DISTINCT_MAX):
        seen_ms = i64[slot, rd[f, R_A] // 8 + 2 * j]
        if seen_ms != 0 and seen_ms + window_ms > at_ms:
            found = min(found, seen_ms + window_ms)
            inside += 1
    if inside < EXACT_DISTINCT_MAX:
        return found
    return min(found, (divided(at_ms, rd[f, R_TILE_MS]) + 1) * rd[f, R_TILE_MS])


@compiled
def _next_crossing(rd, u8, u16, i64, slot, f, number, at_ms):
    """When feature `f`, left alone, reaches `number`: times since go up, decayed sums go down."""
    if rd[f, R_HOW] == READ_SINCE:
        last = i64[slot, rd[f, R_TIMES] // 8 + 1]
        if last == 0 or not number * DAY_MS < EVER_MS:
            return np.int64(EVER_MS)
        apart = np.int64(max(number, 0.0) * DAY_MS) - 1     # then on to how it will be read
        while apart / DAY_MS < number:
            apart += 1
        return last + max(apart, 0)
    if rd[f, R_HOW] == READ_DECAY and number > 0.0:
        value, has = value_of(rd, u8, u16, i64, slot, f, at_ms)
        if has and value >= number:
            # One millisecond on: where the value is `number` to the bit, rounding decides.
            return at_ms + np.int64(math.ceil(
                rd[f, R_HALF_LIFE_MS] * math.log2(value / number))) + 1
    return np.int64(EVER_MS)


@compiled
def _place_of(rd, u8, u16, i64, slot, f, number, at_ms):
    """On which side of `number` feature `f` is, or that it has no value."""
    value, has, _ = read(rd, u8, u16, i64, slot, f, at_ms)
    return 0 if not has else 1 if value < number else 2


@compiled
def _next_of_ratio(rd, u8, u16, i64, slot, f, number, at_ms, until_ms):
    """When ratio `f` gets to the other side of `number`, or has a value no more; at the latest
    `until_ms`, up to which nothing but time changes its parts.

    Times since and decays are the parts that move then. Any ratio of one that stands, rises in a
    line or halves with time by another moves one way only: the moment is found by halving.
    """
    a, b = rd[f, R_A], rd[f, R_B]
    a_ms, b_ms = i64[slot, rd[a, R_TIMES] // 8 + 1], i64[slot, rd[b, R_TIMES] // 8 + 1]
    if rd[f, R_MAX_AGE_MS] and (a_ms or b_ms):
        older = b_ms if a_ms == 0 else a_ms if b_ms == 0 else min(a_ms, b_ms)
        if older + rd[f, R_MAX_AGE_MS] + 1 > at_ms:
            until_ms = min(until_ms, older + rd[f, R_MAX_AGE_MS] + 1)
    moves = (rd[a, R_HOW] == READ_SINCE or rd[a, R_HOW] == READ_DECAY
             or rd[b, R_HOW] == READ_SINCE or rd[b, R_HOW] == READ_DECAY)
    if not moves:
        return until_ms
    until_ms = min(until_ms, at_ms + WINDOW_MS_MAX)       # then it is looked at anew
    now = _place_of(rd, u8, u16, i64, slot, f, number, at_ms)
    before, after = at_ms, until_ms - 1
    if before >= after or _place_of(rd, u8, u16, i64, slot, f, number, after) == now:
        return until_ms
    while after - before > 1:
        middle = (before + after) // 2
        if _place_of(rd, u8, u16, i64, slot, f, number, middle) == now:
            before = middle
        else:
            after = middle
    return after


@compiled
def next_change(rd, u8, u16, i64, slot, watched, crossings, at_ms):
    """The next moment after `at_ms` at which time alone may change a watched feature; EVER_MS.

    watched     indices of features (of a ratio: of its parts)
    crossings   rows (feature, number): what a feature is compared with
    """
    found = np.int64(EVER_MS)
    for k in range(len(watched)):
        f = watched[k]
        how = rd[f, R_HOW]
        if how == READ_DISTINCT:
            found = min(found, _next_of_set(rd, u8, u16, i64, slot, f, at_ms))
        elif how < READ_LIFETIME or how == READ_RFM:
            found = min(found, _next_of_ring(rd, u8, u16, i64, slot, f, at_ms))
        elif how == READ_SESSIONS:
            found = min(found, next_of_sessions(i64, slot, rd[f, R_A], rd[f, R_TILES],
                                                rd[f, R_TILE_MS], rd[f, R_WINDOW_MS], at_ms))
        elif how == READ_FAVOURITES:
            found = min(found, next_of_favourites(i64, slot, rd[f, R_A] // 8, rd[f, R_TILES],
                                                  rd[f, R_TILE_MS], at_ms))
        elif how == READ_UNIQUE:
            found = min(found, next_of_uniques(i64, slot, rd[f, R_A] // 8, rd[f, R_TILES],
                                               rd[f, R_WINDOW_MS], at_ms))
        last = i64[slot, rd[f, R_TIMES] // 8 + 1]
        if last and rd[f, R_MAX_AGE_MS] and last + rd[f, R_MAX_AGE_MS] + 1 > at_ms:
            found = min(found, last + rd[f, R_MAX_AGE_MS] + 1)
        if how == READ_RFM and last:
            for k in range(CUTS):
                if last + rd[f, R_CUTS + k] + 1 > at_ms:
                    found = min(found, last + rd[f, R_CUTS + k] + 1)
    for k in range(len(crossings)):
        f, number = int(crossings[k, 0]), crossings[k, 1]
        turn = (_next_of_ratio(rd, u8, u16, i64, slot, f, number, at_ms, found)
                if rd[f, R_HOW] == READ_RATIO
                else _next_crossing(rd, u8, u16, i64, slot, f, number, at_ms))
        if turn > at_ms:
            found = min(found, turn)
    return found
