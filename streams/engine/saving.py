"""Saving: a snapshot that is being written, some rows at a time; see `snapshots` for what it means.

The rows are taken right after checkpoints, when what is in memory is what was committed. Between
them the lane works on. A crash leaves the snapshot before.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from streams.engine import snapshots
from streams.engine.checkpoints import MARK_KEY
from streams.engine.ports import SnapshotFilePort
from streams.engine.snapshots import Snapshot
from streams.engine.stage import SlabPort
from streams.engine.versions import Versions

ROWS_AT_ONCE = 10_000         # some ten milliseconds' worth


class Saving:
    """Begun right after a checkpoint: `mark` is the mark of that one, `next_offset` behind it."""

    def __init__(self, file: SnapshotFilePort, slab: SlabPort, versions: Versions, mark: bytes, *,
                 next_offset: int, written_ms: int) -> None:
        self._file, self._mark = file, mark
        self._encoder = snapshots.Encoder()
        self._keys: Iterator[tuple[bytes, int, bool]] = versions.standing()
        lineage = versions.lineage
        head = Snapshot(next_offset, written_ms, lineage.epoch, lineage.number, len(versions),
                        iter(()), versions.spent)
        file.write(self._encoder.head(head, layout=slab.layout, width=slab.width))

    def go_on(self, slab: SlabPort, number: int) -> bool:
        """Take some rows; True when these were the last. Right after checkpoint `number`."""
        some = list(islice(self._keys, ROWS_AT_ONCE))
        asked = [key for key, _, dropped in some if not dropped and key != MARK_KEY]
        rows = dict(zip(asked, slab.encode_all(asked), strict=True))
        self._file.write(self._encoder.rows([
            (key, tag, self._mark if key == MARK_KEY else rows.get(key) or b"")
            for key, tag, _ in some]))
        if len(some) == ROWS_AT_ONCE:
            return False
        self._file.write(self._encoder.end(number))
        return True

    def finish(self) -> None:
        """It replaces the one before. Blocks until it is on disk."""
        self._file.finish()

    def abandon(self) -> None:
        self._file.abandon()
