"""Backing off: a value that rests on few events leans on the value of the person's group.

With n own events, of `below` that are enough by themselves,

    used = w × own + (1 − w) × the level's above,    w = min(1, n / below)

and the same once more between segment and everybody. So a person of whom nothing was heard is
taken for one of their segment, each own event takes an equal part of the weight over, and from
`below` on the person speaks for themselves; nothing jumps in between. Source: Micci-Barreca, "A
preprocessing scheme for high-cardinality categorical attributes", SIGKDD Explorations 3(1), 2001,
equations 3 to 5 (blending of empirical Bayes estimates along a hierarchy); the weight is the
plainest one of those it allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streams.choose.features.layout import (
    R_B,
    R_HOW,
    R_TILE_MS,
    R_TILES,
    R_TIMES,
    READ_MEAN,
    READ_RATIO,
)
from streams.engine.compiling import compiled
from streams.engine.whole import divided

PROFILE, SEGMENT, GLOBAL = "profile", "segment", "global"


@dataclass(frozen=True, slots=True)
class Level:
    """What one level knows: a value (None: none), how many events it rests on, of how many people.

    `name`: of a segment.
    """

    level: str
    value: float | None
    events: int
    people: int = 1
    name: str = ""


def lean(below: int, levels: Sequence[Level]) -> tuple[float | None, str]:
    """(value, the level that weighs most) of `levels`, the finest first; (None, ""): none knows."""
    known = [level for level in levels if level.value is not None]
    used, rest, most, heaviest = 0.0, 1.0, 0.0, ""
    for level in known:
        weight = rest if level is known[-1] else rest * min(1.0, level.events / below)
        assert level.value is not None
        used += weight * level.value
        if weight > most:
            most, heaviest = weight, level.level
        rest -= weight
    return (used, heaviest) if known else (None, "")


@compiled
def evidence(rd, i64, slot, f, at_ms):
    """How many events feature `f` rests on: of a mean those in its window, of a ratio those of
    what it is divided by, of others all that were ever heard."""
    if rd[f, R_HOW] == READ_RATIO:
        f = rd[f, R_B]
    if rd[f, R_HOW] == READ_MEAN:
        at, tiles, now = rd[f, R_B] // 8, rd[f, R_TILES], divided(at_ms, rd[f, R_TILE_MS])
        count, head = np.int64(0), i64[slot, at]
        for tile in range(max(now, head) - tiles + 1, min(now, head) + 1):
            count += i64[slot, at + 1 + tile - divided(tile, tiles) * tiles]
        return count
    return i64[slot, rd[f, R_TIMES] // 8 + 2]
