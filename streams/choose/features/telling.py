"""Telling: the texts of a feature, for decisions and conditions. Rare, hence not compiled."""

from __future__ import annotations

from typing import Any

from streams.choose.features.layout import (
    R_A,
    R_HOW,
    R_MOST,
    R_TILE_MS,
    R_TILES,
    R_WINDOW_MS,
    READ_UNIQUE,
)
from streams.choose.features.texts import listed_favourites, listed_uniques


def texts_of(rd: Any, i64: Any, slot: int, f: int, at_ms: int) -> list[str]:
    """The texts of feature `f`, most telling first, whatever their age."""
    w, room = int(rd[f, R_A]) // 8, int(rd[f, R_TILES])
    if rd[f, R_HOW] == READ_UNIQUE:
        return listed_uniques(i64, slot, w, room, int(rd[f, R_WINDOW_MS]), at_ms)
    return listed_favourites(i64, slot, w, room, int(rd[f, R_TILE_MS]), at_ms, int(rd[f, R_MOST]))
