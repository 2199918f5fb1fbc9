"""Prepare a replay: read the file once, put its events in order of time, report what won't fit.

Every row read ends in exactly one place, so that  read = produced + rejected + left out.  Rejects
stand with line, column and reason in a file of JSON Lines. The same file and mapping always give
the same events in the same order, which is what makes a replay resumable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import orjson

from streams.worlds.building import Builder, Fields
from streams.worlds.facts import Catalogue
from streams.worlds.grouping import Group, Groups
from streams.worlds.mapping import Mapping
from streams.worlds.reading import open_rows
from streams.worlds.sorting import Sorter
from streams.worlds.values import Row, Unfit

EVENT_BYTES_MAX = 1_000_000            # more than any broker takes by default
_TICK_ROWS = 5_000


@dataclass(slots=True)
class Counts:
    """Rows of the file by where they went, and events made of them."""

    read: int = 0
    produced: int = 0
    events: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)

    @property
    def adds_up(self) -> bool:
        return self.read == self.produced + self.rejected.total() + self.left_out.total()

    def as_dict(self) -> dict[str, Any]:
        return {"read": self.read, "produced_rows": self.produced, "events": self.events,
                "rejected": self.rejected.total(), "rejected_by_reason": dict(self.rejected),
                "left_out": self.left_out.total(), "left_out_by_reason": dict(self.left_out),
                "events_by_type": dict(self.types), "adds_up": self.adds_up}


@dataclass(slots=True)
class Prepared:
    """Events in order of time. Iterate `events` as often as needed; close when done."""

    counts: Counts
    catalogue: list[dict[str, Any]]
    first_ms: int
    last_ms: int
    sorter: Sorter

    def events(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(event_ms, key, event as JSON without consent), in order of (time, place in the file)."""
        for key, payload in self.sorter:
            yield key[0], key[3], payload

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.sorter.close()


class Rejects:
    """The file of rejects. The row itself is not copied: it may hold what must not be spread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("wb")

    def add(self, line: int, fault: Unfit) -> None:
        self._file.write(orjson.dumps({"line": line, "reason": fault.reason,
                                       "column": fault.column, "detail": fault.detail}) + b"\n")

    def close(self) -> None:
        self._file.close()


class _Preparation:
    def __init__(self, mapping: Mapping, folder: Path, rejects: Rejects) -> None:
        self.mapping, self.builder = mapping, Builder(mapping)
        self.counts, self.rejects = Counts(), rejects
        self.sorter = Sorter(folder)
        self.groups = Groups(self.builder, folder) if mapping.group is not None else None
        self.catalogue = Catalogue(mapping.catalogue, self.builder) if mapping.catalogue else None
        self.first_ms, self.last_ms = 0, 0

    def reject(self, line: int, fault: Unfit, rows: int = 1) -> None:
        self.counts.rejected[fault.reason] += rows
        self.rejects.add(line, fault)

    def take(self, line: int, row: Row | Unfit) -> None:
        """One row of the file, whatever is in it."""
        if isinstance(row, Unfit):
            self.counts.read += 1
            self.reject(line, row)
            return
        try:
            elements = list(self.builder.elements(row))
        except Unfit as fault:
            self.counts.read += 1
            self.reject(line, fault)
            return
        if not elements:
            self.counts.read += 1
            self.counts.left_out["empty list"] += 1
        for place, element in enumerate(elements):
            self.counts.read += 1
            self._element(line, place, element)

    def _element(self, line: int, place: int, row: Row) -> None:
        reason = self.builder.left_out(row)
        if reason:
            self.counts.left_out[reason] += 1
            return
        try:
            event_type = self.builder.event_type(row)
            if self.groups is not None and event_type in self.builder.group_types:
                moment_ms = self.groups.take(event_type, row, line)
            else:
                moment_ms = self._single(event_type, row, line, place)
            if self.catalogue is not None:
                self.catalogue.take(row, moment_ms)
        except Unfit as fault:
            self.reject(line, fault)

    def _single(self, event_type: str, row: Row, line: int, place: int) -> int:
        moment_ms, lines = self.builder.moment(row), self.builder.lines(event_type, row)
        fields = self.builder.fields(event_type, row, line)
        event_id = self.builder.event_id(event_type, row, line, None)
        self._event(event_id, moment_ms, fields, lines, rows=(line,), place=place)
        return moment_ms

    def _event(self, event_id: str, moment_ms: int, fields: Fields, lines: bytes | bytearray, *,
               rows: tuple[int, ...] | list[int], place: int = 0) -> None:
        consent = self.mapping.consent
        if consent is not None and consent.basis != "consent":
            fields = {**fields, "properties": {**fields.get("properties", {}),
                                               "consent_basis": consent.basis}}
        payload = orjson.dumps({"event_id": event_id, "event_ms": moment_ms,
                                "tenant": self.mapping.tenant, "source": self.mapping.source,
                                **fields})
        # A fresh copy in either case: orjson's own are allocated far larger than they are long.
        payload = payload[:-1] + (b',"lines":[%b]}' % bytes(lines) if lines else b"}")
        if len(payload) > EVENT_BYTES_MAX:
            raise Unfit("too_large", "", f"the event has {len(payload)} bytes")
        subject = fields.get("user_id") or fields.get("anonymous_id")
        self.sorter.add((moment_ms, rows[0], place, (subject or event_id).encode()), payload)
        self._count(moment_ms, fields["event_type"], len(rows))

    def _count(self, moment_ms: int, event_type: str, rows: int) -> None:
        first = self.counts.events == 0
        self.first_ms = moment_ms if first else min(self.first_ms, moment_ms)
        self.last_ms = moment_ms if first else max(self.last_ms, moment_ms)
        self.counts.events += 1
        self.counts.produced += rows
        self.counts.types[event_type] += 1

    def finish_groups(self) -> None:
        if self.groups is None or self.mapping.group is None:
            return
        for group, faults in self.groups.finished():
            for line, fault in faults:
                self.reject(line, fault)
            self._finish(group)
        self.groups.close()

    def _finish(self, group: Group) -> None:
        rule = self.mapping.group
        moment_ms = group.last_ms if rule is not None and rule.time == "last" else group.first_ms
        try:
            self._event(group.event_id, moment_ms, group.fields, group.lines, rows=group.rows)
        except Unfit as fault:
            for line in group.rows:
                self.reject(line, fault)


def prepare(path: Path, mapping: Mapping, *, folder: Path, rejects: Path, rows_max: int = 0,
            progress: Callable[[float, int], None] | None = None) -> Prepared:
    """Read `path` with `mapping`. Reads at most `rows_max` rows of the file when it is not 0.

    progress   called now and then with the fraction of the file read and the rows so far
    Raises MappingError and KairosError for faults of the whole file, never for those of a row.
    """
    rows, report = open_rows(path, mapping), Rejects(rejects)
    work = _Preparation(mapping, folder, report)
    try:
        for number, (line, row) in enumerate(rows.parsed, 1):
            work.take(line, row)
            if progress is not None and number % _TICK_ROWS == 0:
                progress(rows.fraction, number)
            if number == rows_max:
                break
        work.finish_groups()
    finally:
        report.close()
    currency = next((str(v.constant) for name, v in mapping.fields
                     if name == "currency" and v.constant is not None), "")
    records = work.catalogue.records(tenant=mapping.tenant, currency=currency,
                                     start_ms=work.first_ms) if work.catalogue else []
    return Prepared(work.counts, records, work.first_ms, work.last_ms, work.sorter)
