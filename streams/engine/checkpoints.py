"""Checkpoints: what makes rows, notes and offsets of one partition durable together.

Order, never to be changed:
    1. every emission since the last checkpoint is acknowledged
    2. dirty rows and the mark go to the changelog and are acknowledged
    3. the offsets are committed, with the lineage as metadata: now the checkpoint counts

The mark holds what belongs to no key (origins seen, watermarks, notes); it is written like a row.
Until the commit is taken, nothing that the commit before it needs is overwritten: see `versions`.
So rows, mark and offsets are always of the same instant: the *cut*. The lane works on while the cut
is made durable; what it changes and emits then belongs to the next one, which waits for this one's
commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from streams.engine.judging import STAMP_BYTES
from streams.engine.records import Seen
from streams.engine.snapshots import Snapshot
from streams.engine.stage import PartitionState, SlabPort, StageLogic
from streams.engine.timers import Timers
from streams.engine.versions import Entry, Lineage, Versions
from streams.engine.watermarks import Watermarks
from streams.kernel.errors import StateError

MARK_KEY = b"\x00mark"


@dataclass(frozen=True, slots=True)
class Mark:
    """State of a partition that belongs to no key, as of checkpoint `number`."""

    number: int
    seen: list[tuple[str, int, int, int]]
    watermarks: dict[str, dict[str, int]]
    notes: dict[str, Any]

    @classmethod
    def of(cls, number: int, state: PartitionState) -> Mark:
        # A copy through JSON: the notes go on changing while the mark waits to be written.
        notes = orjson.loads(orjson.dumps(state.notes))
        return cls(number, state.seen.dump(), state.watermarks.dump(), notes)

    def encode(self) -> bytes:
        return orjson.dumps({"number": self.number, "seen": self.seen,
                             "watermarks": self.watermarks, "notes": self.notes})

    @classmethod
    def decode(cls, stored: bytes) -> Mark:
        fields = orjson.loads(stored)
        return cls(fields["number"], [(t, p, o, s) for t, p, o, s in fields["seen"]],
                   fields["watermarks"], fields["notes"])


EMPTY = Mark(0, [], {}, {})


def newest(found: Iterable[str | None]) -> Lineage:
    """The lineage in the commit metadata of a partition's input topics.

    They are committed together; a topic that the stage only lately reads has none yet.
    """
    return max((Lineage.read(metadata) for metadata in found),
               key=lambda lineage: (lineage.number, lineage.epoch), default=Lineage())


def fresh(logic: StageLogic, partition: int, upstream: int, mark: Mark = EMPTY) -> PartitionState:
    """A partition's state with no rows, and the partition-wide part from `mark`."""
    return PartitionState(
        partition=partition,
        slab=logic.make_slab(),
        seen=Seen(mark.seen), watermarks=Watermarks(upstream, mark.watermarks),
        timers=Timers(), notes=orjson.loads(orjson.dumps(mark.notes)))


@dataclass(slots=True)
class Base:
    """Rows as of some place in the changelog, from which `recover` goes on: `next_offset`."""

    slab: SlabPort
    versions: Versions
    mark: Mark = EMPTY
    next_offset: int = 0

    @classmethod
    def begin(cls, logic: StageLogic, lineage: Lineage, snapshot: Snapshot | None = None) -> Base:
        """What `snapshot` holds; None: nothing. Raises DamagedError."""
        base = cls(logic.make_slab(), Versions(lineage))
        if snapshot is not None:
            base.slab.expect(snapshot.keys_count)
            for rows in snapshot.rows:
                base.versions.load(rows)
                base._apply({key: row for key, _, row in rows if row})
            base.versions.load_spent(snapshot.spent)
            base.next_offset = snapshot.next_offset
        return base

    def read(self, changelog: Iterable[Entry], lineage: Lineage) -> None:
        """Take what counts of the changelog from `next_offset` on."""
        self.versions.lineage = lineage
        for news in self.versions.pieces(changelog):
            for key in [key for key, value in news.items() if value is None]:
                self.slab.apply(key, None)
            self._apply({key: value for key, value in news.items() if value is not None},
                        STAMP_BYTES)

    def _apply(self, rows: dict[bytes, bytes], behind: int = 0) -> None:
        """A row stands `behind` so many bytes."""
        if MARK_KEY in rows:
            self.mark = Mark.decode(rows.pop(MARK_KEY)[behind:])
        self.slab.apply_all(rows, behind)


def recover(logic: StageLogic, partition: int, *, upstream: int, lineage: Lineage,
            changelog: Iterable[Entry], base: Base | None = None,
            ) -> tuple[PartitionState, Versions, Mark]:
    """State as of the last commit, from a changelog read to its end, in order: from its beginning,
    or from where `base` ends.

    Raises StateError when the changelog does not hold the checkpoint that the offsets were
    committed with: state and offsets do not belong together, and going on would miscount.
    """
    base = Base.begin(logic, lineage) if base is None else base
    base.read(changelog, lineage)
    base.slab.settle()
    mark = base.mark
    if mark.number != lineage.number:
        raise StateError(
            f"{logic.name}, partition {partition}: offsets are committed with checkpoint "
            f"{lineage.number}, but the changelog holds {mark.number}",
            "the changelog topic was altered or cut; reset the stage: stop it, delete its "
            "changelog topic and its consumer group, and start again from the beginning")
    state = fresh(logic, partition, upstream, mark)
    state.slab, state.epoch = base.slab, lineage.epoch
    logic.recovered(state)
    return state, base.versions, mark
