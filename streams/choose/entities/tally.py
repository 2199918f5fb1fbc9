"""Tally: a stretch of events, in the order of the log, goes into the rows of the things they name.

What counts is decided by the kernel: events that may be used to personalise, once. An item of an
order's lines is counted with its own quantity and value, everything else with the event's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from streams.choose import kernel, shares
from streams.choose.entities.loops import tally, types_of_events
from streams.choose.entities.rows import BLOCK_BITS, BORN, GOLDEN, Entities, EntityRows
from streams.choose.entities.spec import CATEGORY, ITEM
from streams.choose.features.layout import SCALE
from streams.choose.features.names import NAME_WORDS
from streams.engine.hashing import hash_of

NAMES_MAX: Final = 50               # things that one event may name, the most valuable first
NAME_CHARS_MAX: Final = 200
AMOUNT_MAX: Final = 10**18          # 1e12 in micro-units
_NO_NAMES: Final = np.zeros((0, NAME_WORDS), np.int64)

Hashes = npt.NDArray[np.uint64]
Whole = npt.NDArray[np.int64]
Columns = Mapping[str, int]         # which column of the decoded events holds what


class Named(NamedTuple):
    """The things that events name, one after the other: event `events[k]` names the thing of hash
    `hashes[k]`, with `values` (micro-units) and `quantities` (thousandths). `texts`: the names of
    those that no column holds."""

    events: Whole
    hashes: Hashes
    values: Whole
    quantities: Whole
    texts: dict[int, str]


class Tally:
    """Counts one batch's events in the rows of the things they name, as far as the kernel has come.

    notes   of the partition: up to where things were thinned
    """

    def __init__(self, entities: Entities, columns: Columns, batch: kernel.Batch,
                 results: kernel.Results, notes: dict[str, Any]) -> None:
        self._rows, self._columns, self._batch = [*entities.of.values()], columns, batch
        self._results, self._notes, self._done = results, notes, 0

    def up_to(self, end: int) -> None:
        """Take the events before number `end` which the kernel counted: of these it has told the
        segments before."""
        start, self._done = self._done, end
        if not self._rows:
            return
        counted = np.nonzero(self._results.before[start:end] >= 0)[0] + start
        blocks = self._batch.offsets[counted] >> BLOCK_BITS
        for block in np.unique(blocks).tolist():
            if block > self._notes.get("block", -1):
                self._notes["block"] = block
                first = int(self._batch.offsets[counted[blocks == block][0]])
                for each in self._rows:
                    for tenant in each.thin():
                        shares.thinned(self._notes, tenant, each.spec.name, first)
            for each in self._rows:
                _count(each, self._columns, self._batch, counted[blocks == block])


def _count(rows: EntityRows, columns: Columns, batch: kernel.Batch, events: Whole) -> None:
    spec, at = rows.spec, columns
    types = np.zeros(len(events), np.int64)
    types_of_events(spec.program.types, batch.raw, batch.numbers, batch.sizes, events,
                    at["event_type"], types)
    heard = np.ones(len(events), np.bool_) if spec.hears_all else types > 0
    events, types = events[heard], types[heard]
    if not len(events):
        return
    named = _named(rows, columns, batch, events)
    if not len(named.events):
        return
    place = np.zeros(len(batch.offsets), np.int64)
    place[events] = np.arange(len(events))
    tenants, people = (_hashes(batch, events, at[name]) for name in ("tenant", "profile_id"))
    fields = np.zeros((len(events), len(spec.where_fields)), np.int64)
    for column, name in enumerate(spec.where_fields):
        fields[:, column] = _hashes(batch, events, at[name]).view(np.int64)
    where = place[named.events]
    slots = _slots(rows, columns, batch, named, tenants[where])
    v, program = rows.rows.views, spec.program
    tally(slots, where, named.values, named.quantities, types, people, fields,
          batch.numbers[events, at["event_ms"]], batch.offsets[events], program.op_starts,
          program.ops, _NO_NAMES, v.u8, v.u16, v.i64, v.dirty)


def _named(rows: EntityRows, columns: Columns, batch: kernel.Batch, events: Whole) -> Named:
    spec, at = rows.spec, columns
    if spec.name == ITEM:
        return _items(columns, batch, events)
    texts: dict[int, str] = {}
    if spec.name == CATEGORY:
        named = events[batch.sizes[events, at["category"]] > 0]
        hashes = _hashes(batch, named, at["category"])
    else:
        found = [(n, text) for n in events[batch.sizes[events, at["properties_json"]] > 0].tolist()
                 if (text := _property(_text(batch, n, at["properties_json"]),
                                       spec.property_name))]
        named = np.array([n for n, _ in found], np.int64)
        hashes = np.array([hash_of(text) for _, text in found], np.uint64)
        texts = {k: text for k, (_, text) in enumerate(found)}
    values, quantities = _amounts(columns, batch, named)
    return Named(named, hashes, values, quantities, texts)


def _amounts(columns: Columns, batch: kernel.Batch, events: Whole) -> tuple[Whole, Whole]:
    """The events' values and quantities."""
    at = columns
    return (batch.numbers[events, at["value_micros"]],
            np.floor(batch.doubles[events, at["quantity"]] * SCALE["quantity"] + 0.5).astype(
                np.int64))


def _items(columns: Columns, batch: kernel.Batch, events: Whole) -> Named:
    """Items of lines, each with its own amounts; else the event's one item."""
    at = columns
    lined = batch.sizes[events, at["lines_json"]] > 0
    single = events[~lined & (batch.sizes[events, at["item_id"]] > 0)]
    of, hashes = [single], [batch.items[batch.first[single]]]
    value, quantity = _amounts(columns, batch, single)
    values, quantities, texts = [value], [quantity], dict[int, str]()
    for n in events[lined].tolist():
        lines = _lines(_text(batch, n, at["lines_json"]))
        start = sum(map(len, of))
        of.append(np.full(len(lines), n, np.int64))
        hashes.append(np.array([hash_of(item) for item, _, _ in lines], np.uint64))
        values.append(np.array([value for _, value, _ in lines], np.int64))
        quantities.append(np.array([units for _, _, units in lines], np.int64))
        texts.update((start + k, item) for k, (item, _, _) in enumerate(lines))
    return Named(np.concatenate(of), np.concatenate(hashes), np.concatenate(values),
                 np.concatenate(quantities), texts)


def _lines(lines_json: str) -> list[tuple[str, int, int]]:
    """(item, value in micro-units, thousandths) of an order's items, the most valuable first."""
    found: dict[str, list[float]] = {}
    for item, quantity, price_micros in orjson.loads(lines_json):
        total = found.setdefault(str(item), [0.0, 0.0])
        total[0] += quantity * price_micros
        total[1] += quantity
    ranked = sorted(found.items(), key=lambda each: (-each[1][0], each[0]))[:NAMES_MAX]
    return [(item, _amount(value), _amount(units * SCALE["quantity"]))
            for item, (value, units) in ranked]


def _amount(number: float) -> int:
    """A whole number that is not larger than what an event may say of itself."""
    return round(max(-AMOUNT_MAX, min(AMOUNT_MAX, number)))


def _property(properties_json: str, name: str) -> str:
    """A free property that is a text, or ''."""
    try:
        found = orjson.loads(properties_json)
    except orjson.JSONDecodeError:
        return ""
    text = found.get(name) if isinstance(found, dict) else None
    return text if isinstance(text, str) and len(text) <= NAME_CHARS_MAX else ""


def _slots(rows: EntityRows, columns: Columns, batch: kernel.Batch, named: Named,
           tenants: Hashes) -> Whole:
    """The slot of each named thing; rows of new ones are made."""
    pairs = named.hashes ^ tenants * np.uint64(GOLDEN)
    different, firsts, inverse = np.unique(pairs, return_index=True, return_inverse=True)
    found = np.array([rows.slots.get(pair, -1) for pair in different.tolist()], np.int64)
    column = {ITEM: "item_id", CATEGORY: "category"}.get(rows.spec.name, "")
    new = np.nonzero(found < 0)[0]
    if not len(new):
        return found[inverse]
    # Items of lines stand behind the others: not the first that names a thing is its first event.
    born = np.full(len(different), len(batch.offsets), np.int64)
    np.minimum.at(born, inverse, named.events)
    for place in new.tolist():
        k = int(firsts[place])
        n = int(named.events[k])
        name = named.texts[k] if k in named.texts else _text(batch, n, columns[column])
        found[place] = rows.add(int(different[place]), _text(batch, n, columns["tenant"]), name)
        rows.rows.views.i64[found[place], BORN] = batch.offsets[born[place]] + 1
    return found[inverse]


def _text(batch: kernel.Batch, n: int, column: int) -> str:
    at, size = batch.numbers[n, column], batch.sizes[n, column]
    return batch.raw[at:at + size].tobytes().decode()


def _hashes(batch: kernel.Batch, events: Whole, column: int) -> Hashes:
    hashes = np.zeros(len(events), np.uint64)
    kernel.hash_column(batch.raw, batch.numbers, batch.sizes, events, column, hashes)
    return hashes
