"""Reading: the value of a feature as of a moment, with its age; and when time alone changes it."""

from __future__ import annotations

import math

import numpy as np

from streams.choose.features.layout import (
    HLL_REGISTERS,
    HLL_TILES,
    R_A,
    R_B,
    R_C,
    R_CUTS,
    R_HALF_LIFE_MS,
    R_HOW,
    R_MAX_AGE_MS,
    R_MOST,
    R_SCALE,
    R_TILE_MS,
    R_TILES,
    R_TIMES,
    R_WIDTH16,
    R_WINDOW_MS,
    READ_COUNT,
    READ_DECAY,
    READ_DISTINCT,
    READ_FAVOURITES,
    READ_GAP,
    READ_LIFETIME,
    READ_MAX,
    READ_MEAN,
    READ_MIN,
    READ_RATE,
    READ_RATIO,
    READ_RFM,
    READ_SESSION,
    READ_SESSIONS,
    READ_SINCE,
    READ_SUM,
    READ_UNIQUE,
    READ_VARIANCE,
)
from streams.choose.features.sessions import last_session, sessions
from streams.choose.features.spec import CUTS, EXACT_DISTINCT_MAX
from streams.choose.features.texts import (
    favourites,
    has_favourite,
    has_unique,
    uniques,
)
from streams.engine.compiling import compiled
from streams.engine.whole import divided, plus
from streams.kernel.moments import DAY_MS, HOUR_MS

NO_AGE = -1
_LARGE = 1 << 56             # of numbers below, as many as a ring has tiles add up to what fits


@compiled
def span(head, tiles, tile_ms, at_ms):
    """First and last tile of the window that ends at `at_ms`, of those that the ring still has."""
    now = divided(at_ms, tile_ms)
    return max(now - tiles + 1, head - tiles + 1), min(now, head)


@compiled
def _total(i64, slot, at, tiles, tile_ms, at_ms):
    first, last = span(i64[slot, at // 8], tiles, tile_ms, at_ms)
    base, total, bits = at // 8 + 1, np.int64(0), np.int64(0)
    if last - first == tiles - 1:              # the whole ring, in whatever order it lies
        for j in range(tiles):
            total += i64[slot, base + j]
            bits |= i64[slot, base + j] ^ (i64[slot, base + j] >> 63)
    else:
        j = first - divided(first, tiles) * tiles     # one division: then it goes round by itself
        for _ in range(first, last + 1):
            total += i64[slot, base + j]
            bits |= i64[slot, base + j] ^ (i64[slot, base + j] >> 63)
            j = j + 1 if j + 1 < tiles else 0
    if bits < _LARGE:
        return total
    total = np.int64(0)                        # rare: together they may be more than there is
    for tile in range(first, last + 1):
        total = plus(total, i64[slot, base + tile % tiles])
    return total


@compiled
def _total16(u16, i64, slot, at, tiles, tile_ms, at_ms):
    first, last = span(i64[slot, at // 8], tiles, tile_ms, at_ms)
    base, total = (at + 8) // 2, np.int64(0)
    if last - first == tiles - 1:
        for j in range(tiles):
            total += u16[slot, base + j]
        return total
    j = first - divided(first, tiles) * tiles
    for _ in range(first, last + 1):
        total += u16[slot, base + j]
        j = j + 1 if j + 1 < tiles else 0
    return total


@compiled
def _extreme(i64, slot, at, tiles, tile_ms, at_ms, least):
    first, last = span(i64[slot, at // 8], tiles, tile_ms, at_ms)
    found = np.int64(0)
    for tile in range(first, last + 1):
        kept = i64[slot, at // 8 + 1 + tile % tiles]
        if kept != 0 and (found == 0 or (kept < found if least else kept > found)):
            found = kept
    return found


@compiled
def _decayed(i64, slot, at, tiles, tile_ms, half_life_ms, at_ms):
    """Weights fall from each event on; what lies after `at_ms` in its own tile counts as now."""
    first, last = span(i64[slot, at // 8], tiles, tile_ms, at_ms)
    total = 0.0
    for tile in range(first, last + 1):
        total += (i64[slot, at // 8 + 1 + tile % tiles]
                  * 2.0 ** ((tile * tile_ms - at_ms) / half_life_ms))
    return total


@compiled
def _distinct(u8, i64, slot, at, tile_ms, window_ms, at_ms):
    """Exact while the set holds all items of the window, else the estimate of the registers."""
    inside, kept = 0, 0
    for j in range(EXACT_DISTINCT_MAX):
        seen_ms = i64[slot, at // 8 + 2 * j]
        if seen_ms != 0:
            kept += 1
            if at_ms - window_ms < seen_ms <= at_ms:
                inside += 1
    if kept < EXACT_DISTINCT_MAX or inside < kept:
        return np.float64(inside)
    base = at + 16 * EXACT_DISTINCT_MAX
    first, last = span(i64[slot, base // 8], HLL_TILES, tile_ms, at_ms)
    harmonic, zeros = 0.0, 0
    for r in range(HLL_REGISTERS):
        rank = 0
        for tile in range(first, last + 1):
            rank = max(rank, u8[slot, base + 8 + (tile % HLL_TILES) * HLL_REGISTERS + r])
        harmonic += 2.0 ** -rank
        zeros += rank == 0
    m = float(HLL_REGISTERS)
    estimate = 0.709 * m * m / harmonic
    if estimate <= 2.5 * m and zeros > 0:
        estimate = m * math.log(m / zeros)
    return max(math.floor(estimate + 0.5), float(inside))


@compiled
def _count(rd, u8, u16, i64, slot, f, at_ms):
    if rd[f, R_WIDTH16]:
        return _total16(u16, i64, slot, rd[f, R_A], rd[f, R_TILES], rd[f, R_TILE_MS], at_ms)
    return _total(i64, slot, rd[f, R_A], rd[f, R_TILES], rd[f, R_TILE_MS], at_ms)


@compiled
def _moments(rd, u8, u16, i64, slot, f, at_ms):
    """(value, has one) of a mean or a variance, from rings of sums and counts."""
    tiles, tile_ms = rd[f, R_TILES], rd[f, R_TILE_MS]
    if rd[f, R_HOW] == READ_MEAN:
        count = _total(i64, slot, rd[f, R_B], tiles, tile_ms, at_ms)
        total = _total(i64, slot, rd[f, R_A], tiles, tile_ms, at_ms)
        return (total / rd[f, R_SCALE] / count, True) if count else (0.0, False)
    count = _total(i64, slot, rd[f, R_C], tiles, tile_ms, at_ms)
    if count == 0:
        return 0.0, False
    mean = _total(i64, slot, rd[f, R_B], tiles, tile_ms, at_ms) / rd[f, R_SCALE] / count
    # Squares are of hundredths for money, of thousandths for quantities.
    unit = 100.0 if rd[f, R_SCALE] == 1_000_000 else rd[f, R_SCALE]
    square = _total(i64, slot, rd[f, R_A], tiles, tile_ms, at_ms) / unit / unit / count
    return max(square - mean * mean, 0.0), True


@compiled
def _of_times(rd, u8, u16, i64, slot, f, at_ms):
    """(value, has one) of what is read from first and last time and the number of events."""
    w = rd[f, R_TIMES] // 8
    first, last, count = i64[slot, w], i64[slot, w + 1], i64[slot, w + 2]
    how = rd[f, R_HOW]
    if how == READ_LIFETIME:
        return float(count), True
    if how == READ_SINCE:
        return max(0.0, float(at_ms - last)) / DAY_MS, last != 0
    if how == READ_GAP:
        return ((last - first) / (count - 1) / DAY_MS, True) if count >= 2 else (0.0, False)
    w = rd[f, R_A] // 8                     # of `first` and `last`: its own cell says what it heard
    return i64[slot, w + 2] / rd[f, R_SCALE], i64[slot, w] != 0


@compiled
def _grade(rd, f, part, number):
    """1 to 5: how many of the part's cuts `number` has reached, and one."""
    grade = 1
    for k in range(CUTS):
        grade += number >= rd[f, R_CUTS + part * CUTS + k]
    return grade


@compiled
def _rfm(rd, u8, u16, i64, slot, f, at_ms):
    """Three grades as one number; 5 is best, of recency what lies within the first cut."""
    last = i64[slot, rd[f, R_TIMES] // 8 + 1]
    if last == 0:
        return 0.0, False
    money = _total(i64, slot, rd[f, R_B], rd[f, R_TILES], rd[f, R_TILE_MS], at_ms)
    recent = 6 - _grade(rd, f, 0, max(at_ms - last, 0) - 1)
    return float(100 * recent + 10 * _grade(rd, f, 1, _count(rd, u8, u16, i64, slot, f, at_ms))
                 + _grade(rd, f, 2, money)), True


@compiled
def _texts(rd, i64, slot, f, at_ms):
    """How many texts there are to tell."""
    w, room = rd[f, R_A] // 8, rd[f, R_TILES]
    if rd[f, R_HOW] == READ_UNIQUE:
        return uniques(i64, slot, w, room, rd[f, R_WINDOW_MS], at_ms)
    return favourites(i64, slot, w, room, rd[f, R_TILE_MS], at_ms, rd[f, R_MOST])


@compiled
def value_of(rd, u8, u16, i64, slot, f, at_ms):
    how = rd[f, R_HOW]
    if how == READ_COUNT:
        return float(_count(rd, u8, u16, i64, slot, f, at_ms)), True
    if how == READ_SUM:
        return (_total(i64, slot, rd[f, R_A], rd[f, R_TILES], rd[f, R_TILE_MS], at_ms)
                / rd[f, R_SCALE]), True
    if how == READ_RATE:
        return _count(rd, u8, u16, i64, slot, f, at_ms) * HOUR_MS / rd[f, R_WINDOW_MS], True
    if how == READ_DECAY:
        return _decayed(i64, slot, rd[f, R_A], rd[f, R_TILES], rd[f, R_TILE_MS],
                        rd[f, R_HALF_LIFE_MS], at_ms) / rd[f, R_SCALE], True
    if how == READ_DISTINCT:
        return _distinct(u8, i64, slot, rd[f, R_A], rd[f, R_TILE_MS], rd[f, R_WINDOW_MS],
                         at_ms), True
    if how in (READ_MIN, READ_MAX):
        kept = _extreme(i64, slot, rd[f, R_A], rd[f, R_TILES], rd[f, R_TILE_MS], at_ms,
                        how == READ_MIN)
        return (kept - (kept > 0)) / rd[f, R_SCALE], kept != 0
    if how in (READ_MEAN, READ_VARIANCE):
        return _moments(rd, u8, u16, i64, slot, f, at_ms)
    if how == READ_SESSIONS:
        return float(sessions(i64, slot, rd[f, R_A], rd[f, R_TILES], rd[f, R_TILE_MS],
                              rd[f, R_WINDOW_MS], at_ms)), True
    if how == READ_SESSION:
        found, has = last_session(i64, slot, rd[f, R_A], rd[f, R_B], rd[f, R_TILES],
                                  rd[f, R_TILE_MS])
        return found / rd[f, R_SCALE], has
    if how in (READ_FAVOURITES, READ_UNIQUE):
        count = _texts(rd, i64, slot, f, at_ms)
        return float(count), count > 0
    if how == READ_RFM:
        return _rfm(rd, u8, u16, i64, slot, f, at_ms)
    return _of_times(rd, u8, u16, i64, slot, f, at_ms)


@compiled
def read(rd, u8, u16, i64, slot, f, at_ms):
    """(value, has one, age in ms or NO_AGE) of feature `f` as of `at_ms`; of texts: how many.

    No value: nothing was heard that has one, or the newest event is older than max_age, or nobody
    knows how old it is.
    """
    if rd[f, R_HOW] == READ_RATIO:
        above, has_above, age_a = _plain(rd, u8, u16, i64, slot, rd[f, R_A], at_ms)
        below, has_below, age_b = _plain(rd, u8, u16, i64, slot, rd[f, R_B], at_ms)
        age = max(age_a, age_b)
        if not has_above or not has_below or below == 0.0 or (0 < rd[f, R_MAX_AGE_MS] < age):
            return 0.0, False, age
        if rd[f, R_MAX_AGE_MS] and (age_b == NO_AGE or (age_a == NO_AGE and above != 0.0)):
            return 0.0, False, age
        return above / below, True, age
    return _plain(rd, u8, u16, i64, slot, f, at_ms)


@compiled
def _plain(rd, u8, u16, i64, slot, f, at_ms):
    last = i64[slot, rd[f, R_TIMES] // 8 + 1]
    age = NO_AGE if last == 0 else max(0, at_ms - last)
    if 0 < rd[f, R_MAX_AGE_MS] < age:
        return 0.0, False, age
    value, has = value_of(rd, u8, u16, i64, slot, f, at_ms)
    if last == 0 and rd[f, R_MAX_AGE_MS] and value != 0.0:
        return 0.0, False, age      # of a row whose layout kept no such age: it may be of any
    return value, has, age


@compiled
def read_all(rd, u8, u16, i64, slot, at_ms, values, ages):
    """Fill `values` (nan: none) and `ages` for every feature."""
    for f in range(len(rd)):
        value, has, age = read(rd, u8, u16, i64, slot, f, at_ms)
        values[f] = value if has else np.nan
        ages[f] = age


@compiled
def has_text(rd, u8, u16, i64, slot, f, wanted, at_ms):
    """Is the text whose name has the hash `wanted` among those of feature `f`?"""
    is_list = rd[f, R_HOW] in (READ_FAVOURITES, READ_UNIQUE)
    if not is_list or not read(rd, u8, u16, i64, slot, f, at_ms)[1]:
        return False
    w, room = rd[f, R_A] // 8, rd[f, R_TILES]
    if rd[f, R_HOW] == READ_UNIQUE:
        return has_unique(i64, slot, w, room, rd[f, R_WINDOW_MS], at_ms, wanted)
    return has_favourite(i64, slot, w, room, rd[f, R_TILE_MS], at_ms, rd[f, R_MOST], wanted)
