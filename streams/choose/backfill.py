"""Backfill: what a feature that is new would know, had it been there from the log's beginning.

In       events.admitted, every partition from its beginning to where its new cells began to count
Out      `backfill` records for the same topic: the new cells of each person, of everybody in the
         partition and of each thing up to there, which the owner merges into the row (`filling`);
         and a last word, by which the cells are whole
Keeps    nothing; each cell's start stands beside the rows (`features/migrating.py`)
Refuses  nothing
Time     the events' own

Cells are an algebra (`features/merging.py`): what was counted before the start and what was counted
since make, in any order, what would have been counted all along. So workers go on meanwhile. A
visitor's history belongs to whoever they turned out to be: where the log tells that before the
start, it goes to the person here; where it does after, the owner passes it on. What rows of
everybody and of things hear of is a matter of one partition's log alone. Who was in a segment is
not: rules, lists and what they ask for may have changed since. So rows of segments stay as they
are, and say since when they count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import numpy as np

from schemas import contract
from streams.choose import handing
from streams.choose.backing import Backing
from streams.choose.entities.rows import BORN, thing_of
from streams.choose.entities.spec import HEAT, EntitySpec
from streams.choose.features.layout import (
    DISTINCT,
    HEADER_WORDS,
    NEWEST,
    R_A,
    R_B,
    R_C,
    R_HOW,
    R_TIMES,
    READ_RATIO,
    STAMP,
    TIMES,
    Layout,
)
from streams.choose.features.migrating import Written
from streams.choose.features.spec import FeatureSpec
from streams.choose.program import GroupSlots, Program
from streams.choose.shares import LET_GO
from streams.choose.tables import LAYOUT_PREFIX, group_of, tables_of
from streams.choose.walking import Walk
from streams.engine.hashing import hash_of
from streams.engine.records import Out, Record, Seen
from streams.engine.rows import Rows
from streams.engine.stage import PartitionState
from streams.engine.timers import Timers
from streams.engine.versions import Entry, Lineage, Versions
from streams.engine.watermarks import Watermarks
from streams.kernel.errors import StateError
from streams.kernel.ids import partition_of
from streams.kernel.side_inputs import SEGMENT, SideInputs

OF_PEOPLE: Final = LAYOUT_PREFIX + b"P"
OF_GROUPS, OF_THINGS = LAYOUT_PREFIX + b"G", LAYOUT_PREFIX + b"E"
_HANDOVER, _BACKFILL, _ERASURE = (contract(name) for name in ("handover", "backfill", "erasure"))
_SEQUENCE_BITS = 30
_LAST = (1 << 64) - 1            # origin of the last word: behind everybody


Cells = dict[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Gap:
    """Cells that have not counted from the beginning, by kind of row. `ends`: per partition the
    offset at which they began to; a partition where they always did is not among them."""

    cells: Mapping[str, frozenset[str]]
    ends: Mapping[int, int]

    def of(self, kind: str) -> frozenset[str]:
        return self.cells.get(kind, frozenset())


def layouts_in(program: Program) -> dict[str, tuple[bytes, Layout]]:
    """{kind of row: (how its layouts' keys begin, its layout)}; kinds: '' people, `SEGMENT`
    everybody, and entities by their names."""
    groups = {SEGMENT: (OF_GROUPS, program.groups)} if program.group_names else {}
    return {"": (OF_PEOPLE, program.people), **groups, **{
        spec.name: (OF_THINGS + spec.name.encode() + b"\x1f", spec.layout)
        for spec in program.entities}}


def written(program: Program, lineage: Lineage, entries: Iterable[Entry]) -> dict[str, Written]:
    """{kind of row: its layout in force}, as a partition's changelog tells; kinds of which it says
    nothing yet are left out.

    entries   of the changelog, in order, at least those of layouts
    """
    if lineage.is_first:
        return {}
    told = [(key, Written.decode(value)) for key, value in Versions(lineage).read(entries)
            if key.startswith(LAYOUT_PREFIX) and value is not None]
    found = {}
    for kind, (prefix, _) in layouts_in(program).items():
        own = {key: each for key, each in told if key.startswith(prefix)}
        if own:
            found[kind] = max(own.values(), key=lambda each: each.number)
    return found


def not_filled(program: Program, layouts: Mapping[str, Written]) -> dict[str, set[str]]:
    """{segments, everybody or the entity: features} of a partition that have not counted from the
    beginning, and that nothing fills: those of segments, and what was left out or began before it
    was noted where."""
    found: dict[str, set[str]] = {}
    for kind, (_, layout) in layouts_in(program).items():
        if not kind or kind not in layouts:
            continue
        own = layouts[kind]
        lacks = {kind if kind != SEGMENT else "everybody": own.since.keys() - own.starts.keys()}
        if kind == SEGMENT and program.segments:
            lacks["segments"] = set(own.apart)
        for whose, new in lacks.items():
            features = {name for name, cells in _cells(layout).items() if cells & new
                        and not name.startswith("_")}
            if features:
                found[whose] = features
    return found


def gaps_of(layouts: Mapping[int, Mapping[str, Written]]) -> list[Gap]:
    """What is to be filled, by partition; cells that began together are filled together."""
    ends: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for partition, kinds in layouts.items():
        for kind, layout in kinds.items():
            for cell, offset in layout.starts.items():
                ends[kind, cell][partition] = offset
    together: dict[tuple[tuple[int, int], ...], dict[str, set[str]]] = defaultdict(
        lambda: defaultdict(set))
    for (kind, cell), by_partition in ends.items():
        together[tuple(sorted(by_partition.items()))][kind].add(cell)
    return [Gap({kind: frozenset(own) for kind, own in sorted(cells.items())}, dict(places))
            for places, cells in sorted(together.items())]


def cells_of(program: Program) -> dict[str, Cells]:
    """{kind of row: {declared feature: the cells that it is read from}}; ratios aside."""
    return {kind: _cells(layout) for kind, (_, layout) in layouts_in(program).items()}


def _cells(layout: Layout) -> Cells:
    at_of = {cell.at: signature for signature, cell in layout.cells.items()}
    return {spec.name: frozenset(at_of[reads[column]] for column in (R_A, R_B, R_C, R_TIMES))
            for spec, reads in zip(layout.specs, layout.reads.tolist(), strict=True)
            if reads[R_HOW] != READ_RATIO}


def is_row(value: bytes) -> bool:
    """Is a `backfill` record a row, and not a word on rows?"""
    return bool(_BACKFILL.decode(value)["row"])


def _features_of(program: Program, gap: Gap) -> tuple[FeatureSpec, ...]:
    asked = {name for kind, layout in (("", program.people), (SEGMENT, program.groups))
             for name, own in _cells(layout).items() if own & gap.of(kind)}
    return tuple(spec for spec in program.people.specs if spec.name in asked)


def _hears_more(spec: EntitySpec, gap: Gap, open_cells: Collection[str]) -> bool:
    """Did the entity begin with the gap, or may it hear of events since then that it had not? Then
    there are things of the past that have no row."""
    cells = _cells(spec.layout)
    if cells[HEAT.name] & gap.of(spec.name):
        return True
    # Of what counts something, the times beside it may have begun later than that did.
    of_times = {cell.signature for cell in spec.layout.cells.values() if cell.kind == TIMES}
    before = {each.event for each in spec.features if each.name not in cells
              or (cells[each.name] - of_times or cells[each.name]).isdisjoint(open_cells)}
    added = {each.event for each in spec.features
             if each.name in cells and cells[each.name] & gap.of(spec.name)}
    return "*" not in before and not added <= before


class _PastWalk(Walk):
    """A walk over what owners took before they knew the cells.

    Rows that were handed over count only for what those who sent them had counted, and those who
    got them had no place for: amid the deployment. All else is in `Past` itself.
    """

    def _receive(self, person: str, tenant: str, row: bytes, *, cause: str = "merge") -> None:
        with suppress(StateError):      # of a build that did not say what its rows mean
            super()._receive(person, tenant, row, cause=cause)

    def _take_backfill(self, record: Record, told: dict[str, Any]) -> None:
        return


class Past:
    """Counts the cells of a gap in the log before it. `partitions`: how many there are; `gaps`: all
    there are at the time."""

    def __init__(self, program: Program, gap: Gap, *, partitions: int,
                 gaps: Sequence[Gap] = ()) -> None:
        self._program = Program(
            _features_of(program, gap), (), recent_ids=program.people.recent_ids,
            entities=tuple(spec for spec in program.entities if gap.of(spec.name)),
            everybody=bool(gap.of(SEGMENT)))
        self._gap, self._partitions = gap, partitions
        self._states: dict[int, tuple[PartitionState, GroupSlots]] = {}
        self._given: list[dict[str, Any]] = []
        self._erased: dict[str, int] = {}
        self._packed = {kind: _Packed(layout, self._cells_to_send(kind)) for kind, (_, layout)
                        in layouts_in(self._program).items() if gap.of(kind)}
        self._begins = {spec.name: _hears_more(spec, gap, set().union(*(
            each.of(spec.name) for each in (gap, *gaps)))) for spec in self._program.entities}
        self.events = 0

    def _cells_to_send(self, kind: str) -> frozenset[str]:
        """Those of the gap. Of things also of how many people they were heard: events that were
        not listened to before count there, and who is told twice is one."""
        layouts = [spec.layout for spec in self._program.entities if spec.name == kind]
        return self._gap.of(kind).union(*(
            {cell.signature for cell in layout.cells.values() if cell.kind == DISTINCT}
            for layout in layouts))

    def take(self, records: Sequence[Record]) -> None:
        """Records of one partition, in order, from the log's beginning on; behind the gap's end
        only who was erased counts: nothing of their past is to be told any more."""
        end = self._gap.ends.get(records[0].partition, 0) if records else 0
        self._walk([record for record in records if record.offset < end])
        for record in records:
            if _ERASURE.is_mine(record.value):
                self._erase(record, _ERASURE.decode(record.value))

    def _walk(self, records: Sequence[Record]) -> None:
        if not records:
            return
        state, groups = self._of(records[0].partition)
        out = Out("backfill", 0)
        _PastWalk(self._program, SideInputs(), lambda side, tenant: (), state, groups, out,
                  backing=Backing(self._program, SideInputs(), members_min=0)).go(records)
        self.events += len(records)
        for emission in out.emissions:
            if emission.value is not None and _HANDOVER.is_mine(emission.value):
                told = _HANDOVER.decode(emission.value)
                if told["row"]:
                    self._given.append(told)

    def _erase(self, record: Record, told: dict[str, Any]) -> None:
        """What is walked already is gone; what visitors give comes later."""
        person, ends = told["profile_id"], self._gap.ends
        self._erased[person] = max(told["appended_ms"], self._erased.get(person, 0))
        if record.offset >= ends.get(record.partition, 0) and record.partition in self._states:
            tables_of(self._of(record.partition)[0]).people.drop(person.encode())

    def records(self, partition: int, *, since_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) for the partition of events.admitted, when all of them were taken; the same
        in every run. Keys are of people, and empty where a record is no person's. `since_ms`: the
        log begins then; 0: nothing of it is gone."""
        self._hand_over()
        for kind in self._packed:
            if partition in self._states and (not kind or partition in self._gap.ends):
                yield from self._rows(kind, partition)
            if partition in self._gap.ends:
                yield b"", self._record(kind, _LAST, since_ms=since_ms)

    def _rows(self, kind: str, partition: int) -> Iterator[tuple[bytes, bytes]]:
        state, packed = self._states[partition][0], self._packed[kind]
        tables, begins = tables_of(state), self._begins.get(kind, False)
        is_thing = kind not in ("", SEGMENT)
        rows = (tables.entities.of[kind].rows if is_thing else
                tables.groups if kind else tables.people)
        words = (STAMP, BORN, NEWEST) if is_thing else ()
        for mark, slot in sorted((hash_of(rows.key(slot)), slot) for slot in rows.index):
            row, key = packed.row(rows, slot, words, always=begins), rows.key(slot)
            if row is not None and is_thing:
                _, tenant, name = thing_of(key)
                yield b"", self._record(kind, mark, tenant=tenant, name=name, row=row)
            elif row is not None and kind:
                yield b"", self._record(kind, mark, tenant=group_of(key)[0], row=row)
            elif row is not None:
                yield key, self._record(kind, mark, tenant=tables.tenant_of(slot) or "",
                                        profile_id=key.decode(), row=row)
        gone = sorted(state.notes.get(LET_GO, {}).get(kind, ()))
        for n, tenant in enumerate(gone):
            yield b"", self._record(kind, _LAST - len(gone) + n, tenant=tenant)

    def _record(self, kind: str, mark: int, **fields: Any) -> bytes:
        cells: Any = (sorted(self._gap.of(kind)), sorted(self._gap.ends.items()))
        number = 1 << 30 | crc32(repr((kind, *cells) if kind else cells).encode()) >> 2
        return _BACKFILL.encode({
            "tenant": "", "profile_id": "", "row": b"", "since_ms": 0, "kind": kind, "name": "",
            "begins": self._begins.get(kind, False),
            "layout": self._packed[kind].description, **fields, "origin_partition": number,
            "origin_offset": mark >> _SEQUENCE_BITS,
            "origin_sequence": mark & ((1 << _SEQUENCE_BITS) - 1)})

    def _hand_over(self) -> None:
        """Visitors' rows go to whom they turned out to be, wherever these are kept, unless they
        were erased since."""
        given, self._given = self._given, []
        for told in given:
            if told["appended_ms"] <= self._erased.get(told["profile_id"], -1):
                continue
            person = told["profile_id"].encode()
            state, groups = self._of(partition_of(person, self._partitions))
            groups.know(told["tenant"])
            tables = tables_of(state)
            handing.take_in(self._program.people, tables.people, tables.people.slot(person),
                            told["row"], tables.absences, ())

    def _of(self, partition: int) -> tuple[PartitionState, GroupSlots]:
        found = self._states.get(partition)
        if found is None:
            tables = self._program.tables()
            found = self._states[partition] = (
                PartitionState(partition, tables, Seen(), Watermarks(self._partitions), Timers()),
                GroupSlots(self._program, tables))
        return found


class _Packed:
    """Rows of some cells alone, with an empty header, or some words of it: merging one adds these
    cells and nothing else."""

    def __init__(self, layout: Layout, cells: Collection[str]) -> None:
        self._spans: list[tuple[int, int, int]] = []
        lines, end = ["recent 0"], 8 * HEADER_WORDS
        for cell in layout.cells.values():
            if cell.signature in cells:
                lines.append(f"cell {end} {cell.size} {cell.signature}")
                self._spans.append((cell.at, end, cell.size))
                end += cell.size
        self.description = "\n".join(lines)
        self._rows = Rows(row_bytes=end, layout=crc32(self.description.encode()))
        self._slot = self._rows.slot(b"one")

    def row(self, rows: Rows, slot: int, words: Sequence[int] = (), *,
            always: bool = False) -> bytes | None:
        """The cells of a row and `words` of its header, encoded; None: nothing was heard in them,
        unless it is asked for `always`."""
        source, target = rows.views.u8[slot], self._rows.views.u8[self._slot]
        for at, to, size in self._spans:
            target[to:to + size] = source[at:at + size]
        if not (always or np.any(target[8 * HEADER_WORDS:])):
            return None
        for word in words:
            self._rows.views.i64[self._slot, word] = rows.views.i64[slot, word]
        return self._rows.encode(b"one")
