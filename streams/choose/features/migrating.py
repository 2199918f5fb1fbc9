"""Migrating: rows of an older layout become rows of this one, and since when each cell counts.

The changelog says what its rows mean: beside them stands, per layout that they were ever written
in, its description (`Written`). A row of an older layout is brought over when it is read. Cells of
both layouts are taken byte for byte; a new cell begins empty, and counts whatever happened after
the newest event that the partition had heard of by then: its *since*. What is later than that is
counted in full, so a window that begins later is whole again.

Old descriptions are kept for ever: they are small, and a row that nobody touches keeps its layout.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import orjson

from streams.choose.features.layout import (
    DECAY_HALF_LIVES,
    DECAY_TILES,
    FLAGS,
    HEADER_WORDS,
    HEARD,
    MASK,
    R_A,
    R_B,
    R_C,
    R_HOW,
    R_TIMES,
    READ_RATIO,
    STATED,
    Layout,
)
from streams.choose.features.spec import SESSION_TILES, FeatureSpec
from streams.kernel.errors import StateError

_HEADER_BYTES = 8 * HEADER_WORDS
_ID = struct.Struct(">I")
Since = dict[str, dict[int, int]]        # cell signature -> tenant's hash -> event time in ms


@dataclass(frozen=True, slots=True)
class Described:
    """A layout's description, read back: what migrating asks of it."""

    recent_ids: int
    segments: tuple[tuple[str, str], ...]            # name, meaning; bit by bit
    cells: dict[str, tuple[int, int]]                # signature -> offset, bytes

    @classmethod
    def read(cls, description: str) -> Described:
        """Raises StateError for a text that `Layout.description` did not write."""
        recent_ids, segments, cells = 0, [], {}
        for line in description.split("\n"):
            word, *rest = line.split(" ", 3)
            numbers = all(each.isdecimal() for each in rest[:2]) and bool(rest)
            if word == "recent" and len(rest) == 1 and numbers:
                recent_ids = int(rest[0])
            elif word == "segment" and len(rest) == 2:
                segments.append((rest[0], rest[1]))
            elif word == "cell" and len(rest) == 3 and numbers:
                cells[rest[2]] = int(rest[0]), int(rest[1])
            else:
                raise StateError(f"a layout in the changelog is described by {line[:80]!r}, which "
                                 "this build does not read",
                                 "run the build that wrote it, or a newer one")
        return cls(recent_ids, tuple(segments), cells)

    @property
    def row_bytes(self) -> int:
        return max((at + size for at, size in self.cells.values()),
                   default=_HEADER_BYTES + 8 * self.recent_ids)


class Plan:
    """How rows of `old` become rows of `new`: what is copied from where to where."""

    def __init__(self, old: Described, new: Described) -> None:
        self._old, self._new = old, new
        self._spans = [(0, 0, _HEADER_BYTES)]
        if old.recent_ids == new.recent_ids:
            self._copy(_HEADER_BYTES, _HEADER_BYTES, 8 * old.recent_ids)
        for signature, (at, size) in new.cells.items():
            found = old.cells.get(signature)
            if found is not None and found[1] == size:
                self._copy(found[0], at, size)
        places = {name: bit for bit, (name, _) in enumerate(new.segments)}
        # Bits that stay; a segment that is gone has nobody in it.
        self._bits = [(bit, places[name]) for bit, (name, _) in enumerate(old.segments)
                      if name in places]
        self._restates = old.segments != new.segments

    def _copy(self, source: int, target: int, size: int) -> None:
        """One span more; what lies side by side in both is one."""
        before, there, length = self._spans[-1]
        if before + length == source and there + length == target:
            self._spans[-1] = before, there, length + size
        else:
            self._spans.append((source, target, size))

    def reads(self, row: bytes) -> bool:
        """Is the row as long as one of the old layout?"""
        return len(row) == self._old.row_bytes

    def move(self, row: bytes) -> bytes:
        """The row in the new layout."""
        made = bytearray(self._new.row_bytes)
        for source, target, size in self._spans:
            made[target:target + size] = row[source:source + size]
        if self._old.recent_ids != self._new.recent_ids:
            self._remember(row, made)
        if self._restates:
            words = memoryview(made).cast("q")
            mask = words[MASK]
            words[MASK] = sum((mask >> old & 1) << new for old, new in self._bits)
            # Who is in them is asked anew, and told.
            words[FLAGS] &= ~STATED
        return bytes(made)

    def _remember(self, row: bytes, made: bytearray) -> None:
        """The newest event ids, as many as there is room for."""
        words, room, new = memoryview(row).cast("q"), self._old.recent_ids, self._new.recent_ids
        heard = words[HEARD]
        first = max(heard - min(room, new), 0)
        kept = [words[HEADER_WORDS + n % room] for n in range(first, heard)] if room else []
        to = memoryview(made).cast("q")
        to[HEARD] = len(kept)
        for n, each in enumerate(kept):
            to[HEADER_WORDS + n] = each


@dataclass(frozen=True, slots=True)
class Written:
    """A layout that rows were written in. The one of the greatest `number` was the last.

    `since`, of cells that have not counted from the beginning: per tenant (by its hash) the event
    time after which they count everything. A tenant that was not heard of by then has none.
    `starts`, of the same cells: the offset from which on they have counted; see `choose.backfill`.
    `apart`, of rows that filling leaves out (those of segments): their `since`.
    """

    number: int
    description: str
    since: Since
    starts: Mapping[str, int] = field(default_factory=dict)
    apart: Since = field(default_factory=dict)

    def encode(self) -> bytes:
        since, apart = ({signature: {str(tenant): ms for tenant, ms in by.items()}
                         for signature, by in kept.items()} for kept in (self.since, self.apart))
        return orjson.dumps({"number": self.number, "layout": self.description, "since": since,
                             "starts": dict(self.starts), "apart": apart})

    @classmethod
    def decode(cls, stored: bytes) -> Written:
        fields = orjson.loads(stored)
        # Before anything was left out, all rows of a kind had begun together.
        since, apart = ({signature: {int(tenant): ms for tenant, ms in by.items()}
                         for signature, by in fields[name].items()}
                        for name in ("since", "apart" if "apart" in fields else "since"))
        return cls(fields["number"], fields["layout"], since, fields.get("starts", {}), apart)

    def filled(self, cells: Collection[str], since_ms: int,
               but: Collection[int] = ()) -> Written:
        """These cells count everything after `since_ms` now; 0: from the beginning. Of the tenants
        `but` they count what they did."""
        since: Since = {}
        for signature, by in self.since.items():
            if signature in cells:
                by = {tenant: ms if tenant in but else min(ms, since_ms)
                      for tenant, ms in by.items() if since_ms or tenant in but}
            if by:
                since[signature] = by
        return replace(self, since=since, starts={
            signature: at for signature, at in self.starts.items() if signature not in cells})


class Layouts:
    """The layouts that one kind of rows was ever written in, each under a key of its own."""

    def __init__(self, own: Layout, prefix: bytes) -> None:
        self._own, self._prefix = own, prefix
        self._known: dict[int, Written] = {}
        self._plans: dict[int, Plan] = {}
        self._now = Written(1, own.description, {})
        self._covers: dict[tuple[int, bool], dict[int, int]] = {}
        self.due = True             # the changelog does not have this build's own layout yet

    def learn(self, key: bytes, value: bytes) -> None:
        """Take a description from the changelog."""
        self._known[_ID.unpack(key[len(self._prefix):])[0]] = Written.decode(value)
        self._plans.clear()

    def hear(self, description: str) -> None:
        """A row comes from another partition, whose owner has other definitions, perhaps ones that
        no row of this partition was ever written with."""
        number = crc32(description.encode())
        if number not in self._plans:
            self._plans[number] = Plan(Described.read(description),
                                       Described.read(self._own.description))

    def migrate(self, layout: int, row: bytes, tail: dict[str, Any],
                ) -> tuple[bytes, dict[str, Any]] | None:
        """A row of another layout in this one; None when nobody said how that is laid out."""
        plan = self._plans.get(layout)
        if plan is None:
            known = self._known.get(layout)
            if known is None:
                return None
            plan = self._plans[layout] = Plan(Described.read(known.description),
                                              Described.read(self._own.description))
        return (plan.move(row), tail) if plan.reads(row) else None

    def settle(self, newest_ms: Mapping[int, int], start: int = 0, *,
               begins: bool = False) -> None:
        """All that the changelog holds was taken. `newest_ms`: per tenant the newest event it has
        heard of, after which a cell that begins now counts everything; `start`: the offset from
        which on it does; `begins`: where no layout is known, rows of this kind begin now, and not
        with the log."""
        last = max(self._known.values(), key=lambda each: each.number, default=None)
        if last is None:
            if begins and newest_ms:
                self._now = replace(
                    self._now, since={cell: dict(newest_ms) for cell in self._own.cells},
                    starts=dict.fromkeys(self._own.cells, start) if start else {})
                self._covers.clear()
            return
        self.due = last.description != self._own.description
        if self.due:
            cells = Described.read(last.description).cells
            kept = {signature for signature, cell in self._own.cells.items()
                    if cells.get(signature, (0, 0))[1] == cell.size}
            since, apart = ({signature: before.get(signature, {}) if signature in kept
                             else dict(newest_ms) for signature in self._own.cells}
                            for before in (last.since, last.apart))
            starts = {signature: last.starts.get(signature, 0) if signature in kept else start
                      for signature in self._own.cells}
            last = Written(last.number + 1, self._own.description,
                           {signature: by for signature, by in since.items() if by},
                           {signature: at for signature, at in starts.items() if at},
                           {signature: by for signature, by in apart.items() if by})
        self._now = last
        self._covers.clear()

    def take_due(self) -> list[bytes]:
        """The key that is due for the changelog, if there is one."""
        if not self.due:
            return []
        self.due = False
        self._known[self._own.id] = self._now
        return [self._prefix + _ID.pack(self._own.id)]

    def filled(self, cells: Collection[str], since_ms: int, but: Collection[int] = ()) -> None:
        """See `Written.filled`; it goes to the changelog with the next checkpoint."""
        self._now, self.due = self._now.filled(cells, since_ms, but), True
        self._covers.clear()

    def start_of(self, cells: Collection[str]) -> int:
        """The offset from which on all of these cells have counted; 0: they always did, or it is
        not known."""
        return max((self._now.starts.get(cell, 0) for cell in cells), default=0)

    def encode(self, key: bytes) -> bytes | None:
        known = self._known.get(_ID.unpack(key[len(self._prefix):])[0])
        return None if known is None else known.encode()

    def covers(self, tenant: int, *, apart: bool = False) -> Mapping[int, int]:
        """{feature's place: event time after which it counts everything} of those that have not
        counted from the beginning. Of a ratio: its parts. `apart`: of rows that filling leaves
        out."""
        found = self._covers.get((tenant, apart))
        if found is None:
            since = self._now.apart if apart else self._now.since
            found = self._covers[tenant, apart] = self._covering(tenant, since) if since else {}
        return found

    def _covering(self, tenant: int, lacking: Since) -> dict[int, int]:
        at_of = {cell.at: signature for signature, cell in self._own.cells.items()}
        found = {}
        for f, reads in enumerate(self._own.reads.tolist()):
            if reads[R_HOW] == READ_RATIO:
                continue
            cells = {at_of[reads[column]] for column in (R_A, R_B, R_C, R_TIMES)}
            since = max(lacking.get(cell, {}).get(tenant, 0) for cell in cells)
            if since:
                found[f] = since
        return found


def reach_ms(spec: FeatureSpec) -> int:
    """How far back a feature looks, in ms; 0: to the beginning."""
    if spec.kind == "decay":
        return DECAY_HALF_LIVES * (DECAY_TILES - 1) * spec.half_life_ms
    return spec.window_ms


def lacks_since(spec: FeatureSpec, since_ms: int, at_ms: int, age_ms: int | None) -> int | None:
    """`since_ms` when a feature read at `at_ms` may lack what was before it; None: it is whole.

    `age_ms`: of the newest event that it heard of, None when there was none.
    """
    if not since_ms:
        return None
    if spec.kind in ("since", "last", "session"):       # the newest event says it all
        began_ms = spec.gap_ms * SESSION_TILES if spec.kind == "session" else 0
        is_later = age_ms is not None and at_ms - age_ms - began_ms > since_ms
        return None if is_later else since_ms
    if spec.kind == "rfm" and (age_ms is None or at_ms - age_ms <= since_ms):
        return since_ms
    reach = reach_ms(spec)
    return None if reach and since_ms <= at_ms - reach else since_ms
