"""W2's state of one user for the Python peers: one byte string of fixed layout, as the JVM peers'.

Rings of 16-bit tiles (one more than the window has, for the live one), money tiles, decays relative
to a landmark, last time. Definitions: bench/signal/workloads.py.
"""

from __future__ import annotations

from bench.signal.workloads import (
    CART_ADD,
    HALF_LIVES_MS,
    KINDS,
    MONEY_RING,
    PURCHASE,
    RINGS,
    RULE_CARTS_24H_MIN,
    RULE_CENTS_30D_BELOW,
    RULE_DECAYED_VIEWS_MIN,
    RULE_PURCHASES_7D_MAX,
    RULE_VIEWS_1H_MAX,
    RULE_VIEWS_1H_MIN,
    VIEW,
)

_N = len(KINDS)
_TILES = [(tile_ms, tiles + 1) for _, tile_ms, tiles in RINGS]
_BASE = [sum(slots * _N for _, slots in _TILES[:ring]) for ring in range(len(RINGS))]
_LONGS = 2 * 8                                   # last time, landmark
_DECAYS = _LONGS + 8 * _N * len(HALF_LIVES_MS)
_MONEY = _DECAYS + 8 * _TILES[MONEY_RING][1]
_BYTES = _MONEY + 2 * (_BASE[-1] + _N * _TILES[-1][1])
# Landmarks move before a weight grows beyond 2 ** 400.
_LANDMARK_MOVES_MS = 400 * HALF_LIVES_MS[0]
_EMPTY_TILE = bytes(2 * _N)


class Row:
    """`add` counts an event in and gives whether the rule holds; `bytes(row)` is what is stored."""

    __slots__ = ("_data", "_decays", "_longs", "_money", "_tiles")

    def __init__(self, stored: bytes | None = None) -> None:
        self._data = bytearray(stored or _BYTES)
        view = memoryview(self._data)
        self._longs = view[:_LONGS].cast("q")
        self._decays = view[_LONGS:_DECAYS].cast("d")
        self._money = view[_DECAYS:_MONEY].cast("q")
        self._tiles = view[_MONEY:].cast("H")

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    def __reduce__(self) -> tuple[type[Row], tuple[bytes]]:
        return Row, (bytes(self._data),)

    def add(self, kind: int, ms: int, cents: int) -> bool:
        last, tiles, decays = self._longs[0], self._tiles, self._decays
        if last:
            self._forget(last, ms)
        else:
            self._longs[1] = ms
        self._longs[0] = max(last, ms)
        for base, (tile_ms, slots) in zip(_BASE, _TILES, strict=True):
            tiles[base + ms // tile_ms % slots * _N + kind] += 1
        if kind == PURCHASE:
            tile_ms, slots = _TILES[MONEY_RING]
            self._money[ms // tile_ms % slots] += cents
        since = ms - self._longs[1]
        if since > _LANDMARK_MOVES_MS:
            self._move(since)
            self._longs[1], since = ms, 0
        for life, half_life in enumerate(HALF_LIVES_MS):
            decays[life * _N + kind] += 2.0 ** (since / half_life)
        return (RULE_VIEWS_1H_MIN <= self._count(0, VIEW) <= RULE_VIEWS_1H_MAX
                and self._count(1, CART_ADD) >= RULE_CARTS_24H_MIN
                and self._count(2, PURCHASE) <= RULE_PURCHASES_7D_MAX
                and decays[VIEW] / 2.0 ** (since / HALF_LIVES_MS[0]) >= RULE_DECAYED_VIEWS_MIN
                and sum(self._money) < RULE_CENTS_30D_BELOW)

    def _count(self, ring: int, kind: int) -> int:
        return sum(self._tiles[_BASE[ring] + kind:_BASE[ring] + _TILES[ring][1] * _N:_N])

    def _forget(self, last: int, ms: int) -> None:
        """Empty the tiles that left their windows between two times."""
        for ring, (tile_ms, slots) in enumerate(_TILES):
            now = ms // tile_ms
            for tile in range(max(last // tile_ms + 1, now - slots + 1), now + 1):
                begin = _MONEY + 2 * (_BASE[ring] + tile % slots * _N)
                self._data[begin:begin + 2 * _N] = _EMPTY_TILE
                if ring == MONEY_RING:
                    self._money[tile % slots] = 0

    def _move(self, since: int) -> None:
        for life, half_life in enumerate(HALF_LIVES_MS):
            for index in range(life * _N, (life + 1) * _N):
                self._decays[index] *= 2.0 ** (-since / half_life)
