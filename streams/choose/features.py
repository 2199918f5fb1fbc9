"""Features: what is known of a person, or of a segment, as of an event's own time.

In       one admitted event, the entity's row
Out      the row, changed; values on demand, each with its age
Keeps    per rolling feature a ring of tiles; first and last times; counts
Refuses  nothing: an event older than a ring's horizon changes what still covers it
Time     event time only. Tiles are commutative: shuffled events end in the same row

Money is summed in whole micro-units, so that the order of arrival cannot round differently.

A ring of n+1 tiles covers n tiles of window plus the live one (a sawtooth: the window is at least
W and less than W plus one tile). Source: Chronon, "Windowed tiling"; Akidau et al. 2015 on event
time. Row layout: words by fixed index, compiled from the declared features by `Layout`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

from streams.kernel.ids import fingerprint52
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.money import MICROS

DISTINCT_MAX = 64        # items remembered a row; `distinct` saturates there
_TILES_MS = ((HOUR_MS, 5 * MINUTE_MS), (DAY_MS, HOUR_MS), (7 * DAY_MS, 6 * HOUR_MS),
             (30 * DAY_MS, DAY_MS), (90 * DAY_MS, 3 * DAY_MS))


def tile_ms_of(window_ms: int) -> int:
    """Width of the tiles of a window: about a thirtieth, in round units."""
    for limit, tile in _TILES_MS:
        if window_ms <= limit:
            return tile
    return 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One declared feature; see definitions/features.yml for the meaning of each field."""

    name: str
    event: str
    kind: str
    window_ms: int = 0
    max_age_ms: int = 0

    def matches(self, event_type: str) -> bool:
        return self.event in ("*", event_type)


@dataclass(frozen=True, slots=True)
class Ring:
    """Where a rolling feature stands in the row: words[at] is its newest tile's number."""

    at: int
    tiles: int
    tile_ms: int

    def add(self, words: array[float], base: int, event_ms: int, amount: float) -> None:
        head_at = base + self.at
        tile, head = event_ms // self.tile_ms, int(words[head_at])
        if tile > head:
            first = head_at + 1
            for stale in range(max(head + 1, tile - self.tiles + 1), tile + 1):
                words[first + stale % self.tiles] = 0.0
            words[head_at] = tile
        elif tile <= head - self.tiles:
            return
        words[head_at + 1 + tile % self.tiles] += amount

    def total(self, words: array[float], base: int, at_ms: int) -> float:
        """Sum over the window that ends at `at_ms`.

        All that the ring holds, less the tiles outside; exact, because amounts are whole numbers.
        """
        head_at = base + self.at
        first, ahead = head_at + 1, at_ms // self.tile_ms - int(words[head_at])
        if ahead == 0:
            return sum(words[first:first + self.tiles])
        if abs(ahead) >= self.tiles:
            return 0.0
        head = int(words[head_at])
        outside = (range(head - self.tiles + 1, head - self.tiles + 1 + ahead) if ahead > 0
                   else range(head + ahead + 1, head + 1))
        return (sum(words[first:first + self.tiles])
                - sum(words[first + tile % self.tiles] for tile in outside))

    def next_expiry_ms(self, words: array[float], base: int, at_ms: int) -> int | None:
        """When the oldest tile that holds anything leaves the window, or None."""
        head_at = base + self.at
        head, now = int(words[head_at]), at_ms // self.tile_ms
        for tile in range(max(now - self.tiles + 1, head - self.tiles + 1), head + 1):
            if words[head_at + 1 + tile % self.tiles] != 0.0:
                return (tile + self.tiles) * self.tile_ms
        return None


@dataclass(frozen=True, slots=True)
class Value:
    """A feature's value and how long ago its newest event was, ms. None: no value."""

    value: float | None
    age_ms: int | None


class Layout:
    """Compiled from the declared features; fixes the row. A new version is a new layout."""

    def __init__(self, specs: tuple[FeatureSpec, ...], version: int) -> None:
        self.specs, self.version = specs, version
        self.by_name = {spec.name: spec for spec in specs}
        self.events = tuple(sorted({spec.event for spec in specs}))
        # Three words per event type: first time, last time, lifetime count.
        self._times = {event: 3 * i for i, event in enumerate(self.events)}
        at, self.rings = 3 * len(self.events), {}
        for spec in specs:
            if spec.kind in ("count", "sum"):
                tile = tile_ms_of(spec.window_ms)
                tiles = -(-spec.window_ms // tile) + 1
                self.rings[spec.name] = Ring(at, tiles, tile)
                at += tiles + 1
        self.width = at
        self._updates: dict[str, tuple[tuple[Ring, bool], ...]] = {}

    def _rings_of(self, event_type: str) -> tuple[tuple[Ring, bool], ...]:
        found = self._updates.get(event_type)
        if found is None:
            found = tuple((self.rings[s.name], s.kind == "sum") for s in self.specs
                          if s.name in self.rings and s.matches(event_type))
            if len(self._updates) < 10_000:       # custom event types are strangers' input
                self._updates[event_type] = found
        return found

    def update(self, words: array[float], base: int, tail: dict[str, Any], *, event_type: str,
               event_ms: int, value_micros: int, items: tuple[str, ...]) -> None:
        """Take one event into the row that starts at `words[base]` with `tail`."""
        for event in ("*", event_type):
            times = self._times.get(event)
            if times is not None:
                at = base + times
                if words[at] == 0.0 or event_ms < words[at]:
                    words[at] = event_ms
                words[at + 1] = max(words[at + 1], event_ms)
                words[at + 2] += 1
        for ring, is_sum in self._rings_of(event_type):
            ring.add(words, base, event_ms, value_micros if is_sum else 1.0)
        if items:
            _remember(tail, items, event_ms)

    def read(self, name: str, words: array[float], base: int, tail: dict[str, Any],
             at_ms: int) -> Value:
        """The value of feature `name` as of `at_ms`, refused (None) when older than max_age."""
        spec = self.by_name[name]
        at = base + self._times[spec.event]
        last = words[at + 1]
        if last == 0.0:
            empty = 0.0 if spec.kind in ("count", "sum", "distinct", "lifetime") else None
            return Value(empty, None)
        age_ms = max(0, at_ms - int(last))
        if spec.max_age_ms and age_ms > spec.max_age_ms:
            return Value(None, age_ms)
        return Value(self._value(spec, words, base, tail, at_ms), age_ms)

    def _value(self, spec: FeatureSpec, words: array[float], base: int, tail: dict[str, Any],
               at_ms: int) -> float | None:
        if spec.name in self.rings:
            total = self.rings[spec.name].total(words, base, at_ms)
            return total / MICROS if spec.kind == "sum" else total
        first, last, count = words[base + self._times[spec.event]:
                                   base + self._times[spec.event] + 3]
        if spec.kind == "since":
            return max(0.0, at_ms - last) / DAY_MS
        if spec.kind == "lifetime":
            return count
        if spec.kind == "mean_gap":
            return (last - first) / (count - 1) / DAY_MS if count >= 2 else None
        return float(sum(1 for _, seen_ms in tail.get("items", ())
                         if at_ms - spec.window_ms < seen_ms <= at_ms))

    def snapshot(self, words: array[float], base: int, tail: dict[str, Any],
                 at_ms: int) -> dict[str, dict[str, float | int | None]]:
        """All features as they go into a decision record."""
        snap: dict[str, dict[str, float | int | None]] = {}
        for spec in self.specs:
            read = self.read(spec.name, words, base, tail, at_ms)
            rounded = None if read.value is None else round(read.value, 6)
            snap[spec.name] = {"value": rounded, "age_ms": read.age_ms}
        return snap

    def lapse_of_event(self, event_type: str, event_ms: int, names: set[str],
                       thresholds: dict[str, tuple[float, ...]]) -> int | None:
        """The first moment at which this event, by ageing alone, may change one of `names`."""
        moments = []
        for name in names:
            spec = self.by_name[name]
            if not spec.matches(event_type):
                continue
            ring = self.rings.get(name)
            if ring is not None:
                moments.append((event_ms // ring.tile_ms + ring.tiles) * ring.tile_ms)
            elif spec.kind == "since":
                moments.extend(int(event_ms + days * DAY_MS) for days in thresholds[name])
        return min(moments, default=None)

    def next_change_ms(self, names: set[str], words: array[float], base: int, at_ms: int,
                       thresholds: dict[str, tuple[float, ...]]) -> int | None:
        """The next moment after `at_ms` at which time alone may change one of `names`."""
        moments = []
        for name in names:
            spec = self.by_name[name]
            if name in self.rings:
                expiry = self.rings[name].next_expiry_ms(words, base, at_ms)
                if expiry is not None:
                    moments.append(expiry)
            elif spec.kind == "since":
                last = words[base + self._times[spec.event] + 1]
                if last:
                    moments.extend(int(last + days * DAY_MS) for days in thresholds[name])
                    if spec.max_age_ms:
                        moments.append(int(last) + spec.max_age_ms + 1)
        return min((m for m in moments if m > at_ms), default=None)


def _remember(tail: dict[str, Any], items: tuple[str, ...], event_ms: int) -> None:
    """Keep the newest time of each item, the newest DISTINCT_MAX of them."""
    seen = {fp: ms for fp, ms in tail.get("items", ())}
    for item in items:
        fp = fingerprint52(item)
        seen[fp] = max(seen.get(fp, 0), event_ms)
    newest = sorted(seen.items(), key=lambda pair: (-pair[1], pair[0]))[:DISTINCT_MAX]
    tail["items"] = [list(pair) for pair in newest]
