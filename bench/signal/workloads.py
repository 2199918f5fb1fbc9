"""The four workloads: one precise definition each, and a slow, obvious twin.

Every event is (user, type, ms, cents). Times are event times, milliseconds since 1970, and strictly
increase over the whole stream, so that a time names its event; users keep their order within their
partition. A *firing* is one output record (user, ms). Systems may keep whatever state they like:
what counts is that the set of firings equals the twin's. Only the standard library is imported
here, because the peers' own environments read the constants from this file.

W1 counts       count of the user's events; fires at the event that brings it to a multiple of 100.
W2 features     the full set (`Features`), read on every event by one rule; fires when it holds.
W3 hopping      windows of 60 min that begin every 5 min; an event lies in 12 of them. Sum of cents
                per user and window; fires at the event that lifts the sum of the oldest window that
                still holds it from below HOPPING_CENTS to at least HOPPING_CENTS.
W4 absence      a cart_add after which the user neither adds nor buys for 30 minutes (an event at
                exactly +30 min is still in time); fires with the time of that cart_add. Event time
                alone decides; every partition ends with a `tick` far enough in the future to let
                every deadline pass. A tick is no user's event.
floor           nothing is computed: fires at every 1,000th record of a partition, as progress.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

KINDS = ("view", "search", "cart_add", "wishlist", "purchase")
TICK = "tick"
VIEW, SEARCH, CART_ADD, WISHLIST, PURCHASE = range(5)
WORKLOADS = ("W1", "W2", "W3", "W4")
FLOOR = "floor"

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

COUNT_EVERY = 100
FLOOR_EVERY = 1000

# (name, milliseconds of a tile, full tiles beside the live one). At time t a ring counts the events
# whose tile number lies in (t // tile - tiles) .. (t // tile): a window between W and W + one tile.
RINGS = (("1h", 5 * MINUTE_MS, 12), ("24h", HOUR_MS, 24), ("7d", 6 * HOUR_MS, 28),
         ("30d", DAY_MS, 30))
HALF_LIVES_MS = (HOUR_MS, DAY_MS, 7 * DAY_MS)
MONEY_RING = 3          # cents of purchases, over the tiles of RINGS[3]

# The rule of W2, read on every event, of whatever type, after the event has been counted in:
#   5 <= count(view, 1h) <= 8  and  count(cart_add, 24h) >= 1  and  count(purchase, 7d) <= 1
#   and  decayed(view, half-life 1 h) >= 4.6  and  cents of purchases in 30d < 6,000
RULE_VIEWS_1H_MIN, RULE_VIEWS_1H_MAX, RULE_CARTS_24H_MIN, RULE_PURCHASES_7D_MAX = 5, 8, 1, 1
RULE_DECAYED_VIEWS_MIN, RULE_CENTS_30D_BELOW = 4.6, 6_000
# Systems may order float operations differently; no event may come this near to the threshold.
DECAY_MARGIN = 1e-9
# A tile's count fits in 16 bits (and its cents in 31); the twin refuses other data.
TILE_COUNT_MAX = 0xFFFF

HOPPING_SIZE_MS, HOPPING_STEP_MS, HOPPING_CENTS = HOUR_MS, 5 * MINUTE_MS, 50_000
ABSENCE_MS = 30 * MINUTE_MS

Event = tuple[str, int, int, int]           # user, index into KINDS (-1: tick), ms, cents
Firing = tuple[str, int]                    # user, ms


@dataclass
class Features:
    """One user's full set, from all history: 5 types x 4 rings, 5 x 3 decays, money, last time."""

    times: list[list[int]] = field(default_factory=lambda: [[] for _ in KINDS])
    paid_ms: list[int] = field(default_factory=list)
    paid_sum: list[int] = field(default_factory=lambda: [0])
    decayed: list[list[float]] = field(default_factory=lambda: [[0.0] * len(HALF_LIVES_MS)
                                                                for _ in KINDS])
    last_ms: int = 0

    def add(self, kind: int, ms: int, cents: int) -> None:
        for of_kind in self.decayed:
            for index, half_life in enumerate(HALF_LIVES_MS):
                of_kind[index] *= 2.0 ** (-(ms - self.last_ms) / half_life)
        self.decayed[kind] = [value + 1.0 for value in self.decayed[kind]]
        self.times[kind].append(ms)
        if kind == PURCHASE:
            self.paid_ms.append(ms)
            self.paid_sum.append(self.paid_sum[-1] + cents)
        self.last_ms = ms

    def count(self, kind: int, ring: int) -> int:
        return len(self.times[kind]) - bisect_left(self.times[kind], self._begin(ring))

    def cents(self) -> int:
        return self.paid_sum[-1] - self.paid_sum[bisect_left(self.paid_ms, self._begin(MONEY_RING))]

    def holds(self) -> bool:
        return (RULE_VIEWS_1H_MIN <= self.count(VIEW, 0) <= RULE_VIEWS_1H_MAX
                and self.count(CART_ADD, 1) >= RULE_CARTS_24H_MIN
                and self.count(PURCHASE, 2) <= RULE_PURCHASES_7D_MAX
                and self.decayed[VIEW][0] >= RULE_DECAYED_VIEWS_MIN
                and self.cents() < RULE_CENTS_30D_BELOW)

    def _begin(self, ring: int) -> int:
        _, tile_ms, tiles = RINGS[ring]
        return (self.last_ms // tile_ms - tiles) * tile_ms


def counts(events: Iterable[Event]) -> Iterator[Firing]:
    seen: dict[str, int] = defaultdict(int)
    for user, kind, ms, _ in events:
        if kind >= 0:
            seen[user] += 1
            if seen[user] % COUNT_EVERY == 0:
                yield user, ms


def features(events: Iterable[Event]) -> Iterator[Firing]:
    """Raises ValueError for data on which systems could rightly differ (see the margins above)."""
    users: dict[str, Features] = defaultdict(Features)
    tile_counts: dict[tuple[str, int, int], int] = defaultdict(int)
    day = RINGS[MONEY_RING][1]
    for user, kind, ms, cents in events:
        if kind < 0:
            continue
        row = users[user]
        row.add(kind, ms, cents)
        if abs(row.decayed[VIEW][0] - RULE_DECAYED_VIEWS_MIN) < DECAY_MARGIN:
            raise ValueError(f"the event at {ms} is too near to the rule's threshold: "
                             "take another seed")
        tile_counts[user, kind, ms // day] += 1
        if row.holds():
            yield user, ms
    if max(tile_counts.values(), default=0) > TILE_COUNT_MAX:
        raise ValueError("a user has more events of one type in a day than fit in 16 bits: "
                         "more users or less skew")


def hopping(events: Iterable[Event]) -> Iterator[Firing]:
    users: dict[str, dict[int, int]] = defaultdict(dict)
    for user, kind, ms, cents in events:
        if kind < 0:
            continue
        newest = ms // HOPPING_STEP_MS * HOPPING_STEP_MS
        oldest = newest - HOPPING_SIZE_MS + HOPPING_STEP_MS
        windows = {start: total for start, total in users[user].items() if start >= oldest}
        for start in range(oldest, newest + 1, HOPPING_STEP_MS):
            windows[start] = windows.get(start, 0) + cents
        users[user] = windows
        if windows[oldest] - cents < HOPPING_CENTS <= windows[oldest]:
            yield user, ms


def absence(events: Iterable[Event]) -> Iterator[Firing]:
    """Every cart_add whose user's next cart_add or purchase comes over 30 min later, or never."""
    armed: dict[str, int] = {}
    last_ms = 0
    for user, kind, ms, _ in events:
        last_ms = ms
        if kind in (CART_ADD, PURCHASE):
            begun = armed.pop(user, None)
            if begun is not None and ms > begun + ABSENCE_MS:
                yield user, begun
            if kind == CART_ADD:
                armed[user] = ms
    yield from ((user, begun) for user, begun in armed.items() if last_ms > begun + ABSENCE_MS)


# Whoever has fewer events fires nothing.
EVENTS_MIN = {"W1": COUNT_EVERY, "W2": RULE_VIEWS_1H_MIN + RULE_CARTS_24H_MIN, "W3": 1, "W4": 1}

TWINS = {"W1": counts, "W2": features, "W3": hopping, "W4": absence}


def seen_ms(workload: str, firing_ms: int) -> int:
    """The event time up to which a system must have come when it fires."""
    return firing_ms + ABSENCE_MS if workload == "W4" else firing_ms


def checksum(firings: Iterable[Firing]) -> str:
    """Sixteen hexadecimal digits that do not depend on the order of the firings."""
    total = sum(zlib.crc32(f"{user}:{ms}".encode()) * (ms | 1) for user, ms in firings)
    return f"{total % 2 ** 64:016x}"
