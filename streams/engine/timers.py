"""Timers by event time: they fire when the watermark has passed, never because a clock did.

One entry a key, re-armed lazily: the row holds the truth, the heap holds a guess. An entry that
comes up early is put back at the row's present deadline. Rebuilt from the rows on recovery, so
timers need no log of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator


class Timers:
    def __init__(self) -> None:
        self._heaps: dict[str, list[tuple[int, bytes]]] = {}
        self._armed: dict[tuple[str, bytes], int] = {}

    def arm(self, tenant: str, key: bytes, deadline_ms: int) -> None:
        """See to it that `key` comes up when `tenant`'s watermark reaches `deadline_ms`.

        An earlier entry stands: it will come up, find nothing due, and be armed again.
        """
        standing = self._armed.get((tenant, key))
        if standing is not None and standing <= deadline_ms:
            return
        self._armed[(tenant, key)] = deadline_ms
        heapq.heappush(self._heaps.setdefault(tenant, []), (deadline_ms, key))

    def due(self, tenant: str, watermark_ms: int) -> Iterator[tuple[int, bytes]]:
        """Take what is due, one entry at a time, always the one with the least (deadline, key).

        The caller looks into the row, acts on what is really due and arms the key again before it
        takes the next one: so effects come in the order of event time, whatever entries were
        armed too early, and a replay numbers its emissions alike.
        """
        heap = self._heaps.get(tenant, [])
        while heap and heap[0][0] <= watermark_ms:
            deadline_ms, key = heapq.heappop(heap)
            if self._armed.get((tenant, key)) == deadline_ms:
                del self._armed[(tenant, key)]
                yield deadline_ms, key

    def __len__(self) -> int:
        return len(self._armed)
