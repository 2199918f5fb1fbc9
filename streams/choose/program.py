"""Program: declared features and segments, compiled once, and a batch of records as its input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from schemas import contract
from streams import pipeline
from streams.choose import absences, kernel
from streams.choose.entities.spec import EntitySpec
from streams.choose.entities.tally import Tally
from streams.choose.features.layout import EVER_MS, PEOPLE, SINCE, Layout
from streams.choose.features.migrating import lacks_since
from streams.choose.features.names import NAME_WORDS, name_column, name_of
from streams.choose.features.properties import Properties
from streams.choose.features.reading import NO_AGE, read, read_all
from streams.choose.features.rules import compile_rules
from streams.choose.features.spec import FILTERS, PROPERTY, FeatureSpec
from streams.choose.features.telling import texts_of
from streams.choose.segments import SegmentSpec, meaning_of
from streams.choose.tables import Tables, group_key
from streams.choose.triggers import Features
from streams.engine.avro_columns import ColumnDecoder, Columns
from streams.engine.hashing import hash_of, signed_hash
from streams.engine.records import Record, columns_of
from streams.engine.room import Room
from streams.engine.rows import Rows
from streams.engine.touching import AHEAD
from streams.playbooks.conditions import names_in
from streams.playbooks.model import Condition

_EVENT = contract(pipeline.ADMITTED)
_INTERESTS_MAX = 64
NOTHING_TOLD = np.zeros((0, 0), np.int64)
NO_NAMES = np.zeros((0, NAME_WORDS), np.int64)
Items = Callable[[str], tuple[str, ...]]
Told = tuple[str, str, Condition | None]          # tenant, event type, what must hold


class Covering(Protocol):
    """Which features of a row have not counted from the beginning; see `Tables`."""

    def covers(self, rows: Rows, slot: int) -> Mapping[int, int]: ...


class Program:
    """`recent_ids`: how many event ids a person's row remembers against producers' repeats.
    `everybody`: keep a row of everybody even where no segments are declared."""

    def __init__(self, features: tuple[FeatureSpec, ...], segments: tuple[SegmentSpec, ...], *,
                 entities: tuple[EntitySpec, ...] = (), recent_ids: int = 16,
                 everybody: bool = False) -> None:
        traits = tuple(sorted(set().union(*(names_in(s.rule, "trait") for s in segments))))
        filters = {s.where[0] for s in features if s.where}.union(traits)
        asked = tuple(name for name in (*FILTERS, "locale", "timezone") if name in filters)
        where = (*asked, *sorted(name for name in filters if name.startswith(PROPERTY)))
        self.people = Layout(features, recent_ids=recent_ids, where_fields=where, segments=tuple(
            (spec.name, meaning_of(spec, features)) for spec in segments), traits=traits)
        self.groups = Layout(features, wide=True, recent_ids=0, where_fields=where)
        self.segments = tuple(spec.name for spec in segments)
        # Everybody, and the segments; without any of these nobody asks for groups, mostly.
        self.group_names = ("", *self.segments) if segments or everybody else ()
        self.rules = compile_rules([spec.rule for spec in segments], self.people, self.segments,
                                   next((s.clusters for s in segments if s.clusters), None),
                                   list({each.name: each for s in segments for each in s.lists}
                                        .values()))
        decides = self.people.types_of(self.rules.watched.tolist())
        self.person, self.group = (
            kernel.Program(layout.types, layout.op_starts, layout.ops, layout.reads, decides)
            for layout in (self.people, self.groups))
        self.moving = kernel.Segments(self.rules.starts, self.rules.steps, self.rules.numbers,
                                      self.rules.watched, self.rules.crossings,
                                      np.array([*self.people.traits.values()], np.int64))
        self.declared, self.entities = Features(features), entities
        self._interests: dict[tuple[tuple[Told, ...], tuple[absences.Wait, ...]],
                              kernel.Interests] = {}
        self._decoder = ColumnDecoder(_EVENT.source, _EVENT.prefix)
        at = self._decoder.fields
        self.columns: Mapping[str, int] = at
        self.fields = kernel.Fields(*(at[name] for name in kernel.Fields._fields))
        self._properties = Properties(self.people)
        self._where_hashes = np.zeros(len(asked) + self._properties.width, np.int64)
        self._ahead = np.zeros(2 * AHEAD, np.uint64)
        self._properties_at = at["properties_json"]
        self._item, self._lines = at["item_id"], at["lines_json"]
        self._of_texts = [f for f, spec in enumerate(features) if spec.value_is != "number"]
        self._texts = [(k, at[name]) for k, name in enumerate(self.people.text_fields)
                       if name in at]
        self._where = np.array([at[name] for name in asked], np.int64)
        self.waits_columns = (at["event_id"], at["item_id"], at["lines_json"])
        self._objects = {name: at[name] for name in ("cart_id", "item_id", "order_id")}

    def tables(self, room: Room | None = None) -> Tables:
        return Tables(self.people, self.groups, room, self.entities)

    def tally(self, tables: Tables, batch: kernel.Batch, results: kernel.Results,
              notes: dict[str, Any]) -> Tally:
        """What goes on to count the batch's events in the rows of the things they name."""
        return Tally(tables.entities, self.columns, batch, results, notes)

    def names(self, mask: int) -> list[str]:
        """Segments of a mask, in the order they are declared."""
        return [name for bit, name in enumerate(self.segments) if mask >> bit & 1]

    def batch(self, records: Sequence[Record], items_of: Items) -> kernel.Batch:
        """The records as columns; `items_of` reads the items of a `lines_json`."""
        offsets, values = columns_of(records)
        columns = self._decoder.decode(values)
        usable = columns.mine & columns.good
        for n in np.nonzero(usable & ~columns.plain)[0].tolist():
            usable[n] = _is_readable(values[n])
        items, first, last, of_lines = self._items(columns, usable, items_of)
        names, told = self._names(columns, usable, of_lines), NOTHING_TOLD
        if self._properties.are_asked:
            told, texts = self._properties.read(len(usable), self._stored(columns, usable))
            for n, k, name in texts:
                names[len(items) + n * len(self.people.text_fields) + k] = name
        return kernel.Batch(
            columns.raw, columns.numbers, columns.numbers.view(np.float64), columns.sizes, usable,
            np.array(offsets, np.int64), items, first, last,
            names, len(self.people.text_fields), told)

    def _items(self, columns: Columns, usable: npt.NDArray[np.bool_], items_of: Items,
               ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64],
                          list[str]]:
        count = len(usable)
        items = np.zeros(count, np.uint64)
        first, last = np.zeros(count, np.int64), np.zeros(count, np.int64)
        kernel.single_items(columns.raw, columns.numbers, columns.sizes, self._item, items, first,
                            last)
        several: list[str] = []
        for n in np.nonzero(usable & (columns.sizes[:, self._lines] > 0))[0].tolist():
            at, size = columns.numbers[n, self._lines], columns.sizes[n, self._lines]
            first[n] = count + len(several)
            several += items_of(columns.raw[at:at + size].tobytes().decode())
            last[n] = count + len(several)
        hashes = np.array([hash_of(item) for item in several], np.uint64)
        return np.concatenate([items, hashes]), first, last, several

    def _names(self, columns: Columns, usable: npt.NDArray[np.bool_],
               of_lines: Sequence[str]) -> npt.NDArray[np.int64]:
        """The texts that features take: of every item, and of every event's text fields."""
        count, step = len(usable), len(self.people.text_fields)
        if not (step or self.people.takes_items):
            return NO_NAMES
        items = count + len(of_lines)
        names = np.zeros((items + count * step, NAME_WORDS), np.int64)
        if self.people.takes_items:
            name_column(columns.raw, columns.numbers, columns.sizes, usable, self._item, names, 0,
                        1)
            names[count:items] = np.array([name_of(item) for item in of_lines],
                                          np.int64).reshape(len(of_lines), NAME_WORDS)
        for k, field in self._texts:
            name_column(columns.raw, columns.numbers, columns.sizes, usable, field, names,
                        items + k, step)
        return names

    def _stored(self, columns: Columns, usable: npt.NDArray[np.bool_],
                ) -> Iterator[tuple[int, bytes]]:
        """The properties of the events that carry any."""
        field = self._properties_at
        for n in np.nonzero(usable & (columns.sizes[:, field] > 0))[0].tolist():
            at, size = columns.numbers[n, field], columns.sizes[n, field]
            yield n, columns.raw[at:at + size].tobytes()

    def run(self, start: int, batch: kernel.Batch, tables: Tables, seen: kernel.Seen,
            interests: kernel.Interests, groups: GroupSlots,
            results: kernel.Results) -> int:
        """`kernel.run` on these tables."""
        return kernel.run(
            start, batch, self.fields, tables.people.index.arrays, tables.people.views,
            tables.absences.reserve(0, 0), self.person, self.moving, self.group,
            tables.groups.views, groups.slots, groups.tenants, interests, self._where,
            self._where_hashes, self.people.recent_ids, seen, self._ahead, results)

    def interests(self, told: Sequence[Told],
                  waits: Sequence[absences.Wait] = ()) -> kernel.Interests:
        """For the kernel: who listens to which event type ('*': all) while what holds, and the
        absences in force."""
        known = self._interests.get(key := (tuple(told), tuple(waits)))
        if known is not None:
            return known
        rules = compile_rules([rule for *_, rule in told if rule is not None], self.people,
                              self.segments)
        table, number = np.zeros((len(told), 3), np.int64), 0
        for row, (tenant, event_type, rule) in zip(table, told, strict=True):
            every = event_type == "*"
            row[:] = (signed_hash(tenant), kernel.ALL_TYPES if every else signed_hash(event_type),
                      -1 if rule is None else number)
            number += rule is not None
        if len(self._interests) >= _INTERESTS_MAX:       # playbooks come and go
            self._interests.clear()
        found = kernel.Interests(
            table, rules.starts, rules.steps, rules.numbers,
            absences.compile_waits(waits, self.waits_columns, self._objects))
        self._interests[key] = found
        return found

    def feature(self, rows: Rows, slot: int, name: str, at_ms: int) -> float | None:
        """The number that a feature has; None: no value, or it is a text."""
        f, v = self.people.by_name[name], rows.views
        value, has, _ = read(self.reads_of(rows), v.u8, v.u16, v.i64, slot, f, at_ms)
        return float(value) if has and self.people.specs[f].value_is == "number" else None

    def texts(self, rows: Rows, slot: int, name: str, at_ms: int) -> list[str]:
        """The texts that a feature has; none where it is a number, or has no value."""
        f, v = self.people.by_name[name], rows.views
        reads = self.reads_of(rows)
        if self.people.specs[f].value_is == "number" or not read(
                reads, v.u8, v.u16, v.i64, slot, f, at_ms)[1]:
            return []
        return texts_of(reads, v.i64, slot, f, at_ms)

    def snapshot(self, tables: Covering, rows: Rows, slot: int, at_ms: int,
                 ) -> dict[str, dict[str, Any]]:
        """All features as they go into a decision record: value (None: none), age in ms, and
        `since_ms` when it may lack events up to that event time: the feature is new."""
        count = len(self.people.specs)
        values, ages = np.zeros(count), np.zeros(count, np.int64)
        v = rows.views
        read_all(self.reads_of(rows), v.u8, v.u16, v.i64, slot, at_ms, values, ages)
        found: dict[str, dict[str, Any]] = {
            spec.name: {"value": None if np.isnan(value) else round(float(value), 6),
                        "age_ms": None if age == NO_AGE else int(age)}
            for spec, value, age in zip(self.people.specs, values, ages, strict=True)}
        for f in self._of_texts:
            self._tell_texts(found, f, rows, slot, at_ms)
        covers = tables.covers(rows, slot)
        if covers:
            for spec in self.people.specs:
                since_ms = self._lacks(spec, covers, at_ms, found)
                if since_ms is not None:
                    found[spec.name]["since_ms"] = since_ms
        return found

    def _tell_texts(self, found: dict[str, dict[str, Any]], f: int, rows: Rows, slot: int,
                    at_ms: int) -> None:
        """In place of how many texts there are, which; and `of` what, for who may not say all."""
        spec = self.people.specs[f]
        told = found[spec.name]
        if told["value"] is not None:
            texts = texts_of(self.reads_of(rows), rows.views.i64, slot, f, at_ms)
            told["value"] = texts if spec.value_is == "texts" else texts[0]
        told["of"] = spec.of[0]

    def _lacks(self, spec: FeatureSpec, covers: Mapping[int, int], at_ms: int,
               found: Mapping[str, dict[str, Any]]) -> int | None:
        """See `lacks_since`; a ratio lacks what one of its parts does."""
        if spec.kind == "ratio":
            parts = (self._lacks(self.people.specs[self.people.by_name[name]], covers, at_ms,
                                 found) for name in spec.of)
            return max((part for part in parts if part is not None), default=None)
        return lacks_since(spec, covers.get(self.people.by_name[spec.name], 0), at_ms,
                           found[spec.name]["age_ms"])

    def reads_of(self, rows: Rows) -> Any:
        """How features are read from these rows: of people, or of groups."""
        return self.person.reads if rows.layout == self.people.id else self.group.reads


class GroupSlots:
    """Where the rows of each tenant's groups lie, for the kernel: everybody's, which has no name,
    and those of the segments. Made before it runs."""

    def __init__(self, program: Program, tables: Tables) -> None:
        self._program, self._groups, self._tables = program, tables.groups, tables
        self._rows: dict[str, int] = {}
        self.tenants = np.zeros(0, np.uint64)
        self.slots = np.zeros((0, len(program.group_names)), np.int64)

    def know(self, tenant: str) -> None:
        """Make the tenant's rows, unless they are there."""
        if tenant in self._rows:
            return
        self._rows[tenant] = len(self._rows)
        self._tables.knows(tenant)
        slots = [self._row(tenant, segment) for segment in self._program.group_names]
        if not slots:       # nothing is counted, but the next owner finds the tenant by it
            self.rest(self._groups.slot(group_key(tenant, "")))
        self.tenants = np.append(self.tenants, np.uint64(hash_of(tenant)))
        self.slots = np.vstack([self.slots, np.array(slots, np.int64)[None, :]])

    def _row(self, tenant: str, segment: str) -> int:
        """A row that counts from now on says since when: the segment may be newly declared."""
        key, i64 = group_key(tenant, segment), self._groups.views.i64
        slot = self._groups.find(key)
        if slot is None or i64[slot, SINCE] == EVER_MS:
            slot = self._groups.slot(key)
            i64 = self._groups.views.i64
            i64[slot, SINCE], i64[slot, PEOPLE] = self._tables.heard_ms(tenant), 0
            self._groups.views.dirty[slot] = 1
        return slot

    def rest(self, slot: int) -> None:
        """The group's row counts nothing any more."""
        views = self._groups.views
        if views.i64[slot, SINCE] != EVER_MS:
            views.i64[slot, SINCE], views.dirty[slot] = EVER_MS, 1

    def found_people(self, tenant: str, signed: int) -> None:
        """Count the tenant's people, where rows are of a build that did not."""
        self.know(tenant)
        if not self._program.group_names:
            return
        slot = self.slots[self._rows[tenant], 0]
        if not self._groups.views.i64[slot, PEOPLE]:
            self._groups.views.i64[slot, PEOPLE] = self._tables.people_of(signed)

    def count_people(self, tenant: str, change: int) -> None:
        """So many more people of the tenant are known here."""
        if not self._program.group_names:
            return
        slot = self.slots[self._rows[tenant], 0]
        self._groups.views.i64[slot, PEOPLE] += change
        self._groups.views.dirty[slot] = 1


def _is_readable(value: bytes) -> bool:
    try:
        _EVENT.decode(value)
    except ValueError:
        return False
    return True


def lines_items(lines_json: str) -> tuple[str, ...]:
    """The items of an event's lines, most valuable first."""
    lines = orjson.loads(lines_json)
    ranked = sorted(lines, key=lambda line: -(line[1] * line[2]))
    return tuple(dict.fromkeys(str(line[0]) for line in ranked))


def items_of(event: dict[str, Any]) -> tuple[str, ...]:
    """Items of an event: those of its lines, most valuable first, or its own."""
    if event["lines_json"]:
        return lines_items(event["lines_json"])
    return (event["item_id"],) if event["item_id"] else ()


def different(batch: kernel.Batch, usable: npt.NDArray[np.int64], field: int) -> list[str]:
    """The different texts of a column, in the order of their hashes."""
    hashes = np.zeros(len(usable), np.uint64)
    kernel.hash_column(batch.raw, batch.numbers, batch.sizes, usable, field, hashes)
    firsts = usable[np.unique(hashes, return_index=True)[1]]
    spans = zip(batch.numbers[firsts, field], batch.sizes[firsts, field], strict=True)
    return [batch.raw[at:at + size].tobytes().decode() for at, size in spans]
