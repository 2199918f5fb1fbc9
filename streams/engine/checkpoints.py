"""Checkpoints: what makes rows, notes and offsets of one partition durable together.

Order, never to be changed:
    1. every emission since the last checkpoint is acknowledged
    2. dirty rows, then the mark record, go to the changelog and are acknowledged
    3. the offsets are committed, with the checkpoint's number as metadata

The mark holds what must be exactly as of the committed offsets (origins seen, watermarks, notes). A
crash between 2 and 3 leaves a mark that is one step ahead of the commit, so each mark also carries
its predecessor; recovery takes the one whose number stands in the committed metadata. Rows may be
ahead of it: their stamps make replay skip what they hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from streams.engine.records import Seen
from streams.engine.snapshots import Snapshot
from streams.engine.stage import PartitionState, StageLogic
from streams.engine.timers import Timers
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

    def dump(self) -> dict[str, Any]:
        return {"number": self.number, "seen": self.seen, "watermarks": self.watermarks,
                "notes": self.notes}

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Mark:
        return cls(stored["number"], [(t, p, o, s) for t, p, o, s in stored["seen"]],
                   stored["watermarks"], stored["notes"])


EMPTY = Mark(0, [], {}, {})


def encode_marks(current: Mark, previous: Mark) -> bytes:
    return orjson.dumps({"current": current.dump(), "previous": previous.dump()})


def metadata_of(number: int) -> str:
    return f"checkpoint={number}"


def number_in(metadata: str | None) -> int:
    """The checkpoint number in commit metadata; 0 when there is none."""
    if not metadata or not metadata.startswith("checkpoint="):
        return 0
    return int(metadata.removeprefix("checkpoint="))


def fresh(logic: StageLogic, partition: int, upstream: int, mark: Mark = EMPTY) -> PartitionState:
    """A partition's state with no rows, and the partition-wide part from `mark`."""
    return PartitionState(
        partition=partition,
        slab=logic.make_slab(),
        seen=Seen(mark.seen), watermarks=Watermarks(upstream, mark.watermarks),
        timers=Timers(), notes=orjson.loads(orjson.dumps(mark.notes)))


def recover(logic: StageLogic, partition: int, *, upstream: int, committed_number: int,
            changelog: Iterable[tuple[bytes, bytes | None]], snapshot: Snapshot | None = None,
            ) -> tuple[PartitionState, Mark]:
    """State from a changelog read to its end, in order: from its beginning, or from where
    `snapshot` ends.

    Raises StateError when the changelog does not hold the checkpoint that the offsets were
    committed with: state and offsets do not belong together, and going on would miscount.
    """
    slab = logic.make_slab()
    marks = [EMPTY]
    earlier: Iterable[tuple[bytes, bytes | None]] = ()
    if snapshot is not None:
        earlier = chain(snapshot.rows, [(MARK_KEY, snapshot.marks)])
    for key, value in chain(earlier, changelog):
        if key == MARK_KEY:
            if value is not None:
                stored = orjson.loads(value)
                marks = [Mark.load(stored["current"]), Mark.load(stored["previous"])]
        else:
            slab.apply(key, value)
    slab.forget_dirty()
    mark = next((m for m in marks if m.number == committed_number), None)
    if mark is None:
        raise StateError(
            f"{logic.name}, partition {partition}: offsets are committed with checkpoint "
            f"{committed_number}, but the changelog holds {[m.number for m in marks]}",
            "the changelog topic was altered or cut; reset the stage: stop it, delete its "
            "changelog topic and its consumer group, and start again from the beginning")
    state = fresh(logic, partition, upstream, mark)
    state.slab = slab
    logic.recovered(state)
    return state, mark
