"""Cuts: checkpoints that are under way; see `lane` for their life."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Final

from streams.engine.checkpoints import MARK_KEY, Mark
from streams.engine.ports import BarrierPort, Offsets
from streams.engine.records import Emission
from streams.engine.saving import Saving
from streams.engine.stage import SlabPort
from streams.engine.versions import Versions, stamp_of

# With two thousand bytes a row, what a core's own cache holds. As many are handed to the producer
# in one go: other lanes have their turn in between.
ROWS_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Cut:
    """A checkpoint that is under way: everything of one instant, and nothing that changes later.

    emitted   what must be acknowledged before `rows` go out
    saved     the snapshot that has all its rows with this cut, and is put in place behind it
    """

    mark: Mark
    marked_ms: int
    positions: Offsets
    emitted: BarrierPort
    rows: list[Emission]
    saved: Saving | None


def rows_of(slab: SlabPort, versions: Versions, mark: Mark, topic: str,
            partition: int) -> list[Emission]:
    """Dirty rows and the mark, as versions for the changelog. A None value is a tombstone.

    Encoded some at a time: their bytes are taken while they are in the processor's cache.
    """
    due = slab.take_dirty()
    moving = set(versions.take_moving()).difference(due, [MARK_KEY])
    keys = [*due, *sorted(moving)]
    some = (keys[at:at + ROWS_AT_ONCE] for at in range(0, len(keys), ROWS_AT_ONCE))
    stamp = stamp_of(mark.number)
    last: tuple[list[bytes], list[bytes | None]] = [MARK_KEY], [stamp + mark.encode()]
    parts = chain(((each, slab.encode_all(each, stamp)) for each in some), [last])
    return [Emission(topic, key, value, partition)
            for key, value in versions.writing(mark.number, parts)]
