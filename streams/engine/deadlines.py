"""Deadlines: a million timers by event time, in a heap that compiled code keeps.

As `timers`: one entry a row, re-armed lazily (the row holds the truth, the heap a guess), rebuilt
from the rows on recovery. Entries name slots; a slot that was armed earlier meanwhile, or freed, or
holds a row of another owner by now, is passed over when its entry comes up. Rows that are out of
memory have no entry (`cold` knows when they are due): they come back in time, and get one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.engine.compiling import compiled
from streams.engine.rows import Rows


@compiled
def push(heap, count, due_ms, slot):
    """Add an entry to a heap of `count` entries that has room."""
    at = count
    while at > 0:
        above = (at - 1) >> 1
        if heap[above, 0] <= due_ms:
            break
        heap[at, 0], heap[at, 1] = heap[above, 0], heap[above, 1]
        at = above
    heap[at, 0], heap[at, 1] = due_ms, slot


@compiled
def _push_all(heap, count, due_ms, slots):
    for n in range(len(due_ms)):
        push(heap, count + n, due_ms[n], slots[n])


@compiled
def pop(heap, count):
    """Remove the root of a heap of `count` entries."""
    due_ms, slot = heap[count - 1, 0], heap[count - 1, 1]
    at, end = 0, count - 1
    while 2 * at + 1 < end:
        below = 2 * at + 1
        if below + 1 < end and heap[below + 1, 0] < heap[below, 0]:
            below += 1
        if heap[below, 0] >= due_ms:
            break
        heap[at, 0], heap[at, 1] = heap[below, 0], heap[below, 1]
        at = below
    heap[at, 0], heap[at, 1] = due_ms, slot


@compiled
def _sift(heap, count, armed, owners, owner, kept):
    """Leave out entries that were overtaken, and all but one of a slot; returns how many stay."""
    to = 0
    for n in range(count):
        due_ms, slot = heap[n, 0], heap[n, 1]
        if armed[slot] == due_ms and owners[slot] == owner and not kept[slot]:
            kept[slot] = True
            push(heap, to, due_ms, slot)
            to += 1
    return to


class Deadlines:
    """Timers of one tenant's rows in one partition. `rows.views.armed` says which entry stands.

    owner         the tenant, as its rows name it
    heap, count   the entries, for compiled code
    """

    def __init__(self, rows: Rows, owner: int) -> None:
        self._rows, self.owner = rows, owner
        self.heap = np.zeros((256, 2), np.int64)
        self.count = 0

    def __len__(self) -> int:
        """Entries, those included that have been overtaken."""
        return self.count

    def arm(self, slot: int, due_ms: int) -> None:
        """See to it that the row comes up at `due_ms`; an earlier entry stands."""
        armed = self._rows.views.armed
        if 0 < armed[slot] <= due_ms:
            return
        armed[slot] = due_ms
        self.push(np.array([due_ms], np.int64), np.array([slot], np.int64))

    def push(self, due_ms: npt.NDArray[np.int64], slots: npt.NDArray[np.int64]) -> None:
        """Take entries for rows that are marked as armed already."""
        if self.count + len(slots) > len(self.heap):
            self._make_room(len(slots))
        _push_all(self.heap, self.count, due_ms, slots)
        self.count += len(slots)

    def _make_room(self, entries: int) -> None:
        """Rows that leave memory and come back must not make the heap grow."""
        armed = self._rows.views.armed
        self.count = int(_sift(self.heap, self.count, armed, self._owners, self.owner,
                               np.zeros(len(armed), np.bool_)))
        if 2 * (self.count + entries) > len(self.heap):
            grown = np.zeros((2 * (self.count + entries), 2), np.int64)
            grown[:self.count] = self.heap[:self.count]
            self.heap = grown

    @property
    def _owners(self) -> npt.NDArray[np.int64]:
        return self._rows.views.i64[:, self._rows.owner]

    def bring(self, limit_ms: int) -> None:
        """Have those rows in memory whose timers come up by `limit_ms`."""
        self._rows.bring_due(self.owner, limit_ms)
