"""Backfill: what a feature that is new would know, had it been there from the log's beginning.

In       events.admitted, every partition from its beginning to where its new cells began to count
Out      `backfill` records for the same topic: each person's new cells up to there, which the owner
         merges into the row; and a last word, by which the cells are whole
Keeps    nothing; each cell's start stands beside the rows (`features/migrating.py`)
Refuses  nothing
Time     the events' own

Cells are an algebra (`features/merging.py`): what was counted before the start and what was counted
since make, in any order, what would have been counted all along. So workers go on meanwhile. A
visitor's history belongs to whoever they turned out to be: where the log tells that before the
start, it goes to the person here; where it does after, the owner passes it on.
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
from streams.choose.features.layout import (
    HEADER_WORDS,
    R_A,
    R_B,
    R_C,
    R_HOW,
    R_TIMES,
    READ_RATIO,
    Layout,
)
from streams.choose.features.migrating import Written
from streams.choose.features.spec import FeatureSpec
from streams.choose.program import GroupSlots, Program
from streams.choose.tables import LAYOUT_PREFIX, Tables, tables_of
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
from streams.kernel.side_inputs import SideInputs

OF_PEOPLE: Final = LAYOUT_PREFIX + b"P"
OF_GROUPS, OF_THINGS = LAYOUT_PREFIX + b"G", LAYOUT_PREFIX + b"E"
_HANDOVER, _BACKFILL = contract("handover"), contract("backfill")
_SEQUENCE_BITS = 30
_LAST = (1 << 64) - 1            # origin of the last word: behind everybody


@dataclass(frozen=True, slots=True)
class Gap:
    """Cells that have not counted from the beginning. `ends`: per partition the offset at which
    they began to; a partition where they always did is not among them."""

    cells: frozenset[str]
    ends: Mapping[int, int]


def written(lineage: Lineage, entries: Iterable[Entry]) -> Written | None:
    """The layout in force of people's rows, as a partition's changelog tells it; None: not yet.

    entries   of the changelog, in order, at least those of layouts
    """
    return _newest(lineage, entries, OF_PEOPLE)


def _newest(lineage: Lineage, entries: Iterable[Entry], prefix: bytes) -> Written | None:
    if lineage.is_first:
        return None
    found = {key: Written.decode(value) for key, value in Versions(lineage).read(entries)
             if key.startswith(prefix) and value is not None}
    return max(found.values(), key=lambda each: each.number, default=None)


def not_filled(program: Program, lineage: Lineage, entries: Sequence[Entry],
               ) -> dict[str, set[str]]:
    """{groups or the entity: features} of a partition that have not counted from the beginning, and
    that nobody fills: rows of groups and of things are no person's, so no record that an owner
    merges into a row is for them."""
    kinds = {"groups": (OF_GROUPS, program.groups), **{
        spec.name: (OF_THINGS + spec.name.encode() + b"\x1f", spec.layout)
        for spec in program.entities}}
    found: dict[str, set[str]] = {}
    for kind, (prefix, layout) in kinds.items():
        written = _newest(lineage, entries, prefix)
        new = {cell for cell, since in written.since.items() if since} if written else set()
        lacking = {name for name, cells in _cells(layout).items() if cells & new
                   and not name.startswith("_")}
        if lacking:
            found[kind] = lacking
    return found


def gaps_of(layouts: Mapping[int, Written]) -> list[Gap]:
    """What is to be filled, by partition; cells that began together are filled together."""
    ends: dict[str, dict[int, int]] = defaultdict(dict)
    for partition, layout in layouts.items():
        for cell, offset in layout.starts.items():
            ends[cell][partition] = offset
    together: dict[tuple[tuple[int, int], ...], set[str]] = defaultdict(set)
    for cell, by_partition in ends.items():
        together[tuple(sorted(by_partition.items()))].add(cell)
    return [Gap(frozenset(cells), dict(places)) for places, cells in sorted(together.items())]


def cells_of(program: Program) -> dict[str, frozenset[str]]:
    """The cells of people's rows that each declared feature is read from; ratios aside."""
    return _cells(program.people)


def _cells(layout: Layout) -> dict[str, frozenset[str]]:
    at_of = {cell.at: signature for signature, cell in layout.cells.items()}
    return {spec.name: frozenset(at_of[reads[column]] for column in (R_A, R_B, R_C, R_TIMES))
            for spec, reads in zip(layout.specs, layout.reads.tolist(), strict=True)
            if reads[R_HOW] != READ_RATIO}


def _features_of(program: Program, cells: Collection[str]) -> tuple[FeatureSpec, ...]:
    asked = {name for name, own in cells_of(program).items() if not own.isdisjoint(cells)}
    return tuple(spec for spec in program.people.specs if spec.name in asked)


class _PastWalk(Walk):
    """A walk over what owners took before they knew the cells.

    Rows that were handed over count only for what those who sent them had counted, and those who
    got them had no place for: amid the deployment. All else is in `Past` itself.
    """

    def _receive(self, person: str, tenant: str, row: bytes, *, cause: str = "merge") -> None:
        with suppress(StateError):      # of a build that did not say what its rows mean
            super()._receive(person, tenant, row, cause=cause)

    def _take_backfill(self, told: dict[str, Any]) -> None:
        return


class Past:
    """Counts the cells of a gap in the log before it. `partitions`: how many there are."""

    def __init__(self, program: Program, gap: Gap, *, partitions: int) -> None:
        self._program = Program(_features_of(program, gap.cells), (),
                                recent_ids=program.people.recent_ids)
        self._gap, self._partitions = gap, partitions
        self._states: dict[int, tuple[PartitionState, GroupSlots]] = {}
        self._given: list[dict[str, Any]] = []
        self._packed = _Packed(self._program, gap.cells)
        self.events = 0

    def take(self, records: Sequence[Record]) -> None:
        """Records of one partition, in order, from the log's beginning on; those behind the gap's
        end are left out."""
        end = self._gap.ends.get(records[0].partition, 0) if records else 0
        records = [record for record in records if record.offset < end]
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

    def records(self, partition: int, *, since_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) for the partition of events.admitted, when all of them were taken; the same
        in every run. `since_ms`: the log begins then; 0: nothing of it is gone."""
        self._hand_over()
        number = 1 << 30 | crc32(repr((sorted(self._gap.cells), sorted(
            self._gap.ends.items()))).encode()) >> 2
        if partition in self._states:
            tables = tables_of(self._states[partition][0])
            for mark, slot in sorted((hash_of(tables.people.key(slot)), slot)
                                     for slot in tables.people.index):
                row = self._packed.row(tables, slot)
                if row is not None:
                    key = tables.people.key(slot)
                    yield key, self._record(
                        number, mark, tenant=tables.tenant_of(slot) or "",
                        profile_id=key.decode(), row=row)
        if partition in self._gap.ends:
            yield b"", self._record(number, _LAST, since_ms=since_ms)

    def _record(self, number: int, mark: int, **fields: Any) -> bytes:
        return _BACKFILL.encode({
            "tenant": "", "profile_id": "", "row": b"", "since_ms": 0,
            "layout": self._packed.description, **fields, "origin_partition": number,
            "origin_offset": mark >> _SEQUENCE_BITS,
            "origin_sequence": mark & ((1 << _SEQUENCE_BITS) - 1)})

    def _hand_over(self) -> None:
        """Visitors' rows go to whom they turned out to be, wherever these are kept."""
        given, self._given = self._given, []
        for told in given:
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
    """Rows of some cells alone, with an empty header: merging one adds these cells and nothing
    else."""

    def __init__(self, program: Program, cells: Collection[str]) -> None:
        self._spans: list[tuple[int, int, int]] = []
        lines, end = ["recent 0"], 8 * HEADER_WORDS
        for cell in program.people.cells.values():
            if cell.signature in cells:
                lines.append(f"cell {end} {cell.size} {cell.signature}")
                self._spans.append((cell.at, end, cell.size))
                end += cell.size
        self.description = "\n".join(lines)
        self._rows = Rows(row_bytes=end, layout=crc32(self.description.encode()))
        self._slot = self._rows.slot(b"one")

    def row(self, tables: Tables, slot: int) -> bytes | None:
        """The cells of a row, encoded; None: nothing was heard."""
        source, target = tables.people.views.u8[slot], self._rows.views.u8[self._slot]
        for at, to, size in self._spans:
            target[to:to + size] = source[at:at + size]
        if not np.any(target[8 * HEADER_WORDS:]):
            return None
        return self._rows.encode(b"one")
