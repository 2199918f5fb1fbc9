"""Layout: the declared features compiled into one fixed row, and tables for the kernel.

Features that need the same thing share it: `count` and `rate` of one event over one window read one
ring of counts. A *cell* is such a thing with its place in the row; its signature says all that its
bytes mean, so that rows can be brought from one layout to the next cell by cell. What is read from
several rings at once (`mean`, `variance`) has them for itself: they must have begun together, or a
new sum would be divided by an old count.

    stamp | fixed header | recent event ids | cells

A ring is its newest tile's number and n+1 tiles: n of the window and the live one (a sawtooth: the
window is at least W and less than W plus one tile). Source: Chronon, "Windowed tiling".
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import orjson

from streams.choose.features.sessions import WORD_SLOTS, words_of
from streams.choose.features.spec import (
    CUTS,
    EXACT_DISTINCT_MAX,
    FILTERS,
    OF_FIELDS,
    OF_TEXTS,
    PROPERTY,
    SESSION_TILES,
    FeatureSpec,
)
from streams.choose.features.texts import ENTRY, ROOM, ROOM_WIDE, TEXT_TILES
from streams.engine.hashing import hash_of, signed_hash
from streams.kernel.moments import MINUTE_MS

# Cell kinds: what an event does to the bytes.
RING16, RING, MIN, MAX, TIMES, FIRST, LAST, DISTINCT, TRAIT, BITS, SPANS, UNIQUE, FAVOURITES = (
    range(13))
# What is added: 1, value in micro-units, quantity in thousandths, value squared in hundredths,
# and decayed weights of an event and of its value.
ONE, VALUE, QUANTITY, VALUE_SQ, QUANTITY_SQ, DECAY_ONE, DECAY_VALUE, DECAY_QUANTITY = range(8)
# How a feature is read from its cells.
(READ_COUNT, READ_SUM, READ_MEAN, READ_VARIANCE, READ_MIN, READ_MAX, READ_RATE, READ_DISTINCT,
 READ_DECAY, READ_LIFETIME, READ_SINCE, READ_NUMBER, READ_GAP, READ_RATIO,
 READ_SESSIONS, READ_SESSION, READ_RFM, READ_FAVOURITES, READ_UNIQUE) = range(19)

# What looks at a window, from cells with tiles that an event may lie behind.
_WINDOWED = frozenset((READ_COUNT, READ_SUM, READ_MEAN, READ_VARIANCE, READ_MIN, READ_MAX,
                       READ_RATE, READ_DISTINCT, READ_DECAY, READ_SESSIONS, READ_RFM,
                       READ_FAVOURITES))
_WITH_TILES = frozenset((RING16, RING, MIN, MAX, DISTINCT, BITS, FAVOURITES))
LATE_BITS = 62
EVER_MS = 1 << 60            # the tile of what is kept for ever
# Per tile; with three tiles, what weighs less than 2**-32 is forgotten.
DECAY_HALF_LIVES = 16
DECAY_TILES = 3
# Fixed point of the weight of one event, 1 to 2**16 within a tile: half a million events a tile,
# and a hundred million in rows of groups. Beyond that a tile is full and stays so.
DECAY_UNITS, DECAY_UNITS_WIDE = 1 << 28, 1 << 20
HLL_TILES, HLL_REGISTERS = 5, 64

# Next offset, segments, purposes, hashes of locale and tenant, newest event time, how many ids were
# heard, and flags: the segments have been stated; every event matters to a trigger; the person is
# known under another id; an event stated the segments last, as of the newest event, which may lie
# behind the watermark: no moment since has been looked at.
HEADER_WORDS = 8
STAMP, MASK, PURPOSES, LOCALE, TENANT, NEWEST, HEARD, FLAGS = range(8)
# A group is in no segment. Of its row, the event time after which it counts everything: 0, always
# did; EVER_MS, nothing is counted now.
SINCE = MASK
STATED, ALERT, MOVED, BY_EVENT = 1, 2, 4, 8
# In the row of everybody, which has no ids of events: how many people were heard of.
PEOPLE = HEARD

# Units per 1 of a source: money in micro-units, quantities in thousandths.
SCALE = {"value": 1_000_000, "quantity": 1_000}
SESSION_SCALE = {**SCALE, "length": MINUTE_MS, "events": 1}
_PLAIN = {"value": VALUE, "quantity": QUANTITY}
_SQUARE = {"value": VALUE_SQ, "quantity": QUANTITY_SQ}
_DECAYED = {"value": DECAY_VALUE, "quantity": DECAY_QUANTITY}


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of the row. `at`: byte offset; `tile_ms`, `tiles`: of rings; of a trait `tiles` is
    its place among the layout's `where_fields`, of texts the entries that have room. `of`: the
    field of an event that texts are taken from."""

    signature: str
    kind: int
    adds: int
    event: str
    where: tuple[str, str] | tuple[()]
    tile_ms: int
    tiles: int
    half_life_ms: int
    at: int
    size: int
    of: str = ""
    number: str = ""


# Columns of `Layout.ops`: a cell and what is added to it; TEXT: which of `Layout.text_fields` an
# event must have, ITEMS: items, or NO_TEXT; LATE: the bit that says an event lies behind its tiles;
# NUMBER: the field whose number it is made of, ALSO: the one that says (1) whether it is told. -1:
# none.
(O_KIND, O_ADDS, O_AT, O_TILE_MS, O_TILES, O_HALF_LIFE_MS, O_UNITS, O_FIELD, O_WHERE,
 O_TEXT, O_LATE, O_ALSO, O_NUMBER) = range(13)
# Columns of `Layout.reads`: how a feature is read; A, B, C are byte offsets of its cells (of a
# ratio the features), TIMES that of first, last and number of the events it is made of, WIDTH16
# is 1 when ring A has 16-bit tiles, SCALE the units per 1 of what is added up.
(R_HOW, R_A, R_B, R_C, R_TIMES, R_WIDTH16, R_TILE_MS, R_TILES, R_SCALE, R_HALF_LIFE_MS, R_WINDOW_MS,
 R_MAX_AGE_MS, R_CUTS) = range(13)
R_MOST = R_CUTS                        # of texts: how many are told
R_COLUMNS = R_CUTS + 3 * CUTS          # of rfm: its cuts of recency, frequency and money

ITEMS, NO_TEXT = -1, -2
Table = npt.NDArray[np.int64]
_NOT_TOLD = signed_hash("")     # what an event says that lacks a text


class Layout:
    """`wide`: 64-bit tiles also for counts (rows of groups, which hear everybody's events).

    `recent_ids`: how many event ids a row remembers against repeats by producers.
    `segments`: (name, what it means) of those that a row is a member of, bit by bit.
    `traits`: of `where_fields`, those whose newest text a row keeps, as a hash; 0: not known.
    """

    def __init__(self, specs: tuple[FeatureSpec, ...], *, wide: bool = False,
                 recent_ids: int = 16, where_fields: tuple[str, ...] = (),
                 segments: tuple[tuple[str, str], ...] = (),
                 traits: tuple[str, ...] = ()) -> None:
        self.specs, self.wide, self.recent_ids = specs, wide, recent_ids
        self.segments = segments
        self.by_name = {spec.name: i for i, spec in enumerate(specs)}
        self.where_fields = where_fields
        of_texts = {spec.of[0] for spec in specs if spec.kind in OF_TEXTS}
        self.takes_items = "item_id" in of_texts
        of_fields = {spec.of[0] for spec in specs if spec.kind in OF_FIELDS and spec.of}
        self.text_fields = (*(name for name in FILTERS if name in of_fields - {"item_id"}),
                            *sorted(name for name in of_fields if name.startswith(PROPERTY)))
        self.numbers = tuple(sorted({spec.number for spec in specs} - {""}))
        self.recent_at = 8 * HEADER_WORDS
        self._end = self.recent_at + 8 * recent_ids
        self.cells: dict[str, Cell] = {}
        self._reads = [self._compile(spec) for spec in specs]
        self.traits = {name: self._trait(name) // 8 for name in traits}     # name -> word
        self.row_bytes = self._end
        self.id = zlib.crc32(self.description.encode())

    @cached_property
    def description(self) -> str:
        """What the bytes of a row mean, line by line. Rows of equal description are alike.

        Read back by `migrating.Described`.
        """
        lines = [f"recent {self.recent_ids}"]
        lines += [f"segment {name} {meaning}" for name, meaning in self.segments]
        lines += [f"cell {c.at} {c.size} {c.signature}" for c in self.cells.values()]
        return "\n".join(lines)

    @cached_property
    def types(self) -> npt.NDArray[np.uint64]:
        """Hashes of the event types that features name. An event's type is its position here plus
        one; 0 is every other type."""
        return np.array([hash_of(name) for name in self.names_of_types()[1:]], np.uint64)

    @cached_property
    def _ops_by_type(self) -> list[list[Cell]]:
        return [[cell for cell in self.cells.values() if cell.event in ("*", event)]
                for event in self.names_of_types()]

    @cached_property
    def op_starts(self) -> Table:
        """The ops of type t are op_starts[t] to op_starts[t + 1]."""
        return np.cumsum([0, *map(len, self._ops_by_type)]).astype(np.int64)

    @cached_property
    def ops(self) -> Table:
        """Cells as a table, by event type; a cell of any event stands with every type."""
        rows = [(c.kind, c.adds, c.at, c.tile_ms, c.tiles, c.half_life_ms, self._decay_units,
                 *self._asks(c), self._text(c), self._late_bit(c), *self._takes(c))
                for cells in self._ops_by_type for c in cells]
        return np.array(rows, np.int64).reshape(len(rows), 13)

    def _asks(self, cell: Cell) -> tuple[int, int]:
        """(field, what it must be) of the events that a cell hears."""
        if cell.where:
            return self.where_fields.index(cell.where[0]), signed_hash(cell.where[1])
        return (self._told_at(cell), 1) if cell.number else (-1, _NOT_TOLD)

    def _text(self, cell: Cell) -> int:
        if cell.of in self.text_fields:
            return self.text_fields.index(cell.of)
        return ITEMS if cell.of == "item_id" else NO_TEXT

    def _takes(self, cell: Cell) -> tuple[int, int]:
        """(field that must be 1 beside `_asks`, field of the number)."""
        if not cell.number:
            return -1, -1
        return self._told_at(cell) if cell.where else -1, self._told_at(cell) + 1

    def _told_at(self, cell: Cell) -> int:
        return len(self.where_fields) + 2 * self.numbers.index(cell.number)

    @cached_property
    def reads(self) -> Table:
        """Features in the order of `specs`: how each is read from its cells."""
        whole = [(*row, *[0] * (R_COLUMNS - len(row))) for row in self._reads]
        return np.array(whole, np.int64).reshape(len(whole), R_COLUMNS)

    @cached_property
    def _windows(self) -> list[int]:
        """Offsets of the cells that windows are read from, in their order."""
        asked = {row[column] for row in self.reads.tolist() if row[R_HOW] in _WINDOWED
                 for column in (R_A, R_B, R_C)}
        return [c.at for c in self.cells.values() if c.kind in _WITH_TILES and c.at in asked]

    def _late_bit(self, cell: Cell) -> int:
        return 1 << min(self._windows.index(cell.at), LATE_BITS - 1) if (
            cell.at in self._windows) else 0

    def late_features(self, bits: int) -> list[str]:
        """The features whose windows an event lies behind, by what `update` returned of it. Where
        more than LATE_BITS cells have windows, the last bit stands for the rest of them."""
        behind = {at for n, at in enumerate(self._windows) if bits >> min(n, LATE_BITS - 1) & 1}
        return [spec.name for spec, row in zip(self.specs, self.reads.tolist(), strict=True)
                if row[R_HOW] in _WINDOWED and behind & {row[R_A], row[R_B], row[R_C]}]

    def types_of(self, features: Iterable[int]) -> npt.NDArray[np.bool_]:
        """By type, as in `Ops.types` with every other type first: may it change one of them?"""
        events = {self.specs[f].event for f in features}
        return np.array(["*" in events or name in events for name in self.names_of_types()])

    def names_of_types(self) -> tuple[str, ...]:
        """Event types in the order of `Ops.types`; '' stands first, for every other type."""
        return ("", *sorted({c.event for c in self.cells.values()} - {"*"}))

    @property
    def _decay_units(self) -> int:
        return DECAY_UNITS_WIDE if self.wide else DECAY_UNITS

    def _cell(self, kind: int, adds: int, spec: FeatureSpec, *, tile_ms: int = EVER_MS,
              tiles: int = 1, half_life_ms: int = 0, whose: str = "", of: str = "") -> Cell:
        where = orjson.dumps(spec.where).decode() if spec.where else ""     # always one line
        units = self._decay_units if adds == DECAY_ONE else 0
        signature = (f"{kind}/{adds} {spec.event}{where} tile={tile_ms} tiles={tiles} "
                     f"half={half_life_ms} units={units} for={whose}"
                     + f" number={spec.number}" * bool(spec.number))
        found = self.cells.get(signature)
        if found is None:
            size = _size(kind, tiles)
            found = Cell(signature, kind, adds, spec.event, spec.where, tile_ms, tiles,
                         half_life_ms, self._end, size, of, spec.number)
            self._end += size
            self.cells[signature] = found
        return found

    def _trait(self, name: str) -> int:
        """Room for the newest text of a trait, which every event carries; returns its offset."""
        cell = Cell(f"trait {name}", TRAIT, 0, "*", (), EVER_MS, self.where_fields.index(name), 0,
                    self._end, 8)
        self._end += cell.size
        self.cells[cell.signature] = cell
        return cell.at

    def _compile(self, spec: FeatureSpec) -> tuple[int, ...]:
        """Make the cells of a feature; returns its row of `Reads`."""
        if spec.kind == "ratio":
            a, b = (self.by_name[name] for name in spec.of)
            return (READ_RATIO, a, b, 0, 0, 0, 0, 0, 1, 0, 0, spec.max_age_ms)
        times = self._cell(TIMES, ONE, spec, whose=spec.text_of, of=spec.text_of)
        how, main, second, third = self._cells_of(spec, times)
        scale = scale_of(spec.of[0]) if spec.of else 1
        if how == READ_DECAY and not spec.of:
            scale = self._decay_units
        return (how, main.at, second.at, third.at, times.at, int(main.kind == RING16), main.tile_ms,
                main.tiles, scale, spec.half_life_ms, spec.window_ms, spec.max_age_ms,
                *(cut for cuts in spec.cuts or ((spec.most,),) for cut in cuts))

    def _cells_of(self, spec: FeatureSpec, times: Cell) -> tuple[int, Cell, Cell, Cell]:
        # A property's number takes the place of the event's value.
        of = "value" if spec.number else spec.of[0] if spec.of else ""
        if spec.kind in ("lifetime", "since", "mean_gap"):
            how = {"lifetime": READ_LIFETIME, "since": READ_SINCE, "mean_gap": READ_GAP}[spec.kind]
            return how, times, times, times
        if spec.kind in ("first", "last"):
            kind = FIRST if spec.kind == "first" else LAST
            return READ_NUMBER, self._cell(kind, _PLAIN[of], spec), times, times
        if spec.kind == "decay":
            tile_ms = DECAY_HALF_LIVES * spec.half_life_ms
            cell = self._cell(RING, _DECAYED[of] if of else DECAY_ONE, spec, tile_ms=tile_ms,
                              tiles=DECAY_TILES, half_life_ms=spec.half_life_ms)
            return READ_DECAY, cell, times, times
        if spec.kind in ("sessions", "session"):
            return self._of_sessions(spec, of, times)
        if spec.kind in OF_TEXTS:
            return self._of_texts(spec, of, times)
        return self._windowed(spec, of, times)

    def _of_texts(self, spec: FeatureSpec, of: str, times: Cell) -> tuple[int, Cell, Cell, Cell]:
        if spec.kind == "unique_list":
            cell = self._cell(UNIQUE, ONE, spec, tiles=spec.most, whose=of, of=of)
            return READ_UNIQUE, cell, times, times
        cell = self._cell(FAVOURITES, ONE, spec, tile_ms=spec.window_ms // (TEXT_TILES - 1),
                          tiles=ROOM_WIDE if self.wide else ROOM, whose=of, of=of)
        return READ_FAVOURITES, cell, times, times

    def _of_sessions(self, spec: FeatureSpec, of: str, times: Cell,
                     ) -> tuple[int, Cell, Cell, Cell]:
        if spec.kind == "sessions":
            slot_ms, slots = spec.session_slots()
            return READ_SESSIONS, self._cell(BITS, ONE, spec, tile_ms=WORD_SLOTS * slot_ms,
                                             tiles=words_of(slots)), times, times

        def ring(kind: int, adds: int) -> Cell:
            return self._cell(kind, adds, spec, tile_ms=spec.gap_ms, tiles=SESSION_TILES,
                              whose="" if of == "length" else f"session/{of}")

        spans = ring(SPANS, ONE)
        if of == "length":
            return READ_SESSION, spans, spans, times
        return READ_SESSION, spans, ring(RING, ONE if of == "events" else _PLAIN[of]), times

    def _windowed(self, spec: FeatureSpec, of: str, times: Cell) -> tuple[int, Cell, Cell, Cell]:
        tile_ms, tiles = spec.window_tiles()
        if spec.kind == "distinct":
            # Five coarse tiles for the estimate; the exact set needs no tiles.
            whose = "" if of == "item_id" else of
            cell = self._cell(DISTINCT, ONE, spec, tile_ms=spec.window_ms // 4, tiles=HLL_TILES,
                              whose=whose, of=spec.text_of)
            return READ_DISTINCT, cell, times, times
        if spec.kind in ("min", "max"):
            kind, how = (MIN, READ_MIN) if spec.kind == "min" else (MAX, READ_MAX)
            cell = self._cell(kind, _PLAIN[of], spec, tile_ms=tile_ms, tiles=tiles)
            return how, cell, times, times

        joint = spec.kind in ("mean", "variance")

        def ring(kind: int, adds: int) -> Cell:
            return self._cell(kind, adds, spec, tile_ms=tile_ms, tiles=tiles,
                              whose=f"{spec.kind}/{of}" if joint else "")

        if spec.kind == "sum":
            return READ_SUM, ring(RING, _PLAIN[of]), times, times
        count = ring(RING if self.wide or joint else RING16, ONE)
        if spec.kind == "count":
            return READ_COUNT, count, times, times
        if spec.kind == "rate":
            return READ_RATE, count, times, times
        if spec.kind == "rfm":      # its grades are read apart, each with its own coverage
            return READ_RFM, count, ring(RING, _PLAIN[of]), times
        if spec.kind == "mean":
            return READ_MEAN, ring(RING, _PLAIN[of]), count, count
        return READ_VARIANCE, ring(RING, _SQUARE[of]), ring(RING, _PLAIN[of]), count


def scale_of(source: str) -> int:
    """Units per 1 of what a number is made of; a property's are millionths."""
    return SESSION_SCALE.get(source, 1_000_000)


def _size(kind: int, tiles: int) -> int:
    """Bytes of a cell, a multiple of 8. Every ring begins with its newest tile's number."""
    if kind == RING16:
        return 8 + (2 * tiles + 7) // 8 * 8
    if kind == TIMES:
        return 24                                   # first, last, how many
    if kind in (FIRST, LAST):
        return 24                                   # event time, offset + 1, number
    if kind == DISTINCT:
        return 16 * EXACT_DISTINCT_MAX + 8 + HLL_TILES * HLL_REGISTERS
    if kind == UNIQUE:
        return 8 * ENTRY * tiles
    if kind == FAVOURITES:
        return 8 * (ENTRY * tiles + 1 + TEXT_TILES * 2 * tiles)
    return 8 + 8 * tiles
