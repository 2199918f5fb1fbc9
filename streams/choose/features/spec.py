"""What a feature is: a declared, versioned definition, and what may be declared.

kind        of what is heard within the window                                     needs
count       how many events                                                        window
sum         of `of`                                                                window, of
mean        sum / count                                                            window, of
variance    of `of`, as of a population                                            window, of
min, max    of `of`                                                                window, of
rate        events per hour                                                        window
distinct    how many different items, or texts of `of`; exact up to 16 at once, beyond
            that HyperLogLog                                                           window
decay       sum of weights that halve every half_life (of events, or of `of`)      half_life
lifetime    how many events ever
since       days since the last event
first, last `of` the first and last event (by event time, then offset)             of
mean_gap    mean days between events
sessions    how many sessions: events that no pause of `gap` separates                 window, gap
session     `of` the current or last session: length, events, value, quantity          gap, of
most_frequent   which text of `of` came most often                                    window, of
top_k       the `most` texts of `of` that came most often                        window, of
unique_list the `most` different texts of `of` that came last                    window, of
rfm         grades of recency, frequency and money, 111 to 555            window, of, cuts
ratio       one feature divided by another                                         of: [a, b]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS

WINDOWED: Final = frozenset({"count", "sum", "mean", "variance", "min", "max", "rate", "distinct",
                             "sessions", "rfm", "most_frequent", "top_k", "unique_list"})
# Kinds whose value is a text, or a list of texts.
LISTS: Final = frozenset({"top_k", "unique_list"})
OF_TEXTS: Final = LISTS | {"most_frequent"}
# Kinds that are made of the texts of a field; distinct of items, unless it names another.
OF_FIELDS: Final = OF_TEXTS | {"distinct"}
KINDS: Final = WINDOWED | {"decay", "lifetime", "since", "first", "last", "mean_gap", "ratio",
                          "session"}
OF_NUMBER: Final = frozenset({"sum", "mean", "variance", "min", "max", "first", "last", "rfm"})
SOURCES: Final = ("value", "quantity")          # numbers of an event that can be counted with
OF_SESSION: Final = ("length", "events", *SOURCES)
FILTERS: Final = ("item_id", "category", "source", "currency", "country")
LISTED, LISTED_MAX = 3, {"top_k": 5, "unique_list": 16}
# Before the name of one of an event's free properties.
PROPERTY: Final = "property."
WINDOW_MS_MIN, WINDOW_MS_MAX = 5 * MINUTE_MS, 400 * DAY_MS
HALF_LIFE_MS_MIN, HALF_LIFE_MS_MAX = MINUTE_MS, 100 * DAY_MS
GAP_MS_MIN, GAP_MS_MAX = MINUTE_MS, DAY_MS
# Slots of time that a gap is cut into, to count sessions; and gaps that a window may hold at most.
GAP_SLOTS, WINDOW_GAPS_MAX = 4, 1500
# The last session is exact as of its newest tiles, each a gap wide.
SESSION_TILES = 16
# Each of recency, frequency and money is graded 1 to 5.
CUTS, CUT_KEYS = 4, ("recency", "frequency", "money")
EXACT_DISTINCT_MAX = 16
# Kinds that add up over people, so that a group has so much a head; with those that are of an event
# whoever made it, they may lean on groups.
PER_HEAD: Final = frozenset({"count", "sum", "rate", "decay", "lifetime"})
BACKING_OFF: Final = PER_HEAD | {"mean", "ratio"}
BACK_OFF_MAX = 1000
PROFILE: Final = "profile"

_TILES_MS = ((HOUR_MS, 5 * MINUTE_MS), (DAY_MS, HOUR_MS), (7 * DAY_MS, 6 * HOUR_MS),
             (30 * DAY_MS, DAY_MS), (90 * DAY_MS, 3 * DAY_MS))


def tile_ms_of(window_ms: int) -> int:
    """Width of the tiles of a window: about a thirtieth of it, in round units."""
    for limit, tile in _TILES_MS:
        if window_ms <= limit:
            return tile
    return 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One declared feature. Spans in ms, 0: not given.

    event        event type it is made of; '*' is any
    of           `value` (money, in units) or `quantity`, of texts one of FILTERS, or a property;
                 for a ratio two feature names
    where        (field, text) that the event must match, or ()
    gap_ms       a pause of this length ends a session
    most         how many texts a list has at the most
    cuts         of rfm, where its grades part: recency in ms, frequency in events, money in the
                 fixed point that `of` is kept in
    max_age_ms   when the newest event is older than this at reading time, there is no value
    entity       what it is kept of: profile, or item, category, campaign, property.NAME
    bestseller_from   of an item: a value that licenses the fact item.bestseller; 0: none
    back_off     with fewer own events than this, the value leans on groups; 0: never
    """

    name: str
    event: str
    kind: str
    window_ms: int = 0
    max_age_ms: int = 0
    of: tuple[str, ...] = ()
    half_life_ms: int = 0
    where: tuple[str, str] | tuple[()] = ()
    purpose: str = "personalise"
    retention_ms: int = 0
    gap_ms: int = 0
    cuts: tuple[tuple[int, ...], ...] = ()
    most: int = 0
    # No part of what the value means: segments that ask for the feature stay as they are.
    back_off: int = field(default=0, repr=False)
    entity: str = field(default=PROFILE, repr=False)
    bestseller_from: float = field(default=0.0, repr=False)

    def matches(self, event_type: str) -> bool:
        return self.event in ("*", event_type)

    @property
    def value_is(self) -> str:
        """number, text or texts."""
        return "texts" if self.kind in LISTS else "text" if self.kind in OF_TEXTS else "number"

    @property
    def number(self) -> str:
        """The property whose number it is made of, or ''. Events that lack it are not its own."""
        is_one = (bool(self.of) and self.kind not in OF_FIELDS
                  and self.of[0].startswith(PROPERTY))
        return self.of[0] if is_one else ""

    @property
    def text_of(self) -> str:
        """The field whose texts it is made of, or ''. Events that have none are not its own."""
        return "" if self.kind not in OF_FIELDS else self.of[0] if self.of else "item_id"

    def window_tiles(self) -> tuple[int, int]:
        """(width of a tile, tiles): the window, in whole tiles, and the live one."""
        tile_ms = tile_ms_of(self.window_ms)
        return tile_ms, -(-self.window_ms // tile_ms) + 1

    def session_slots(self) -> tuple[int, int]:
        """(width of a slot, slots): the window, in whole slots, and the live one."""
        slot_ms = -(-self.gap_ms // GAP_SLOTS)
        return slot_ms, -(-self.window_ms // slot_ms) + 1
