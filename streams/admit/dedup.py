"""Dedup: have I seen you? Only admitted ids count, so a refused event can be mended and sent again.

In       tenant, event id, offset and broker time of an event that may be used
Out      the offset of its first appearance within the window, or None
Keeps    (fingerprint, offset, broker time) of every id in the window, in rows of up to 1,000
Refuses  -
Time     the broker's

Exact but for the fingerprints: 64 bits, so that among two million ids a new one is taken for a
known one with a chance of 1 in 9 * 10**12.
"""

from __future__ import annotations

from typing import Final

from streams.engine.slab import Slab
from streams.kernel import ids
from streams.kernel.moments import HOUR_MS

CHUNK_IDS: Final = 1000
# Rows go this much after the window: replay from a checkpoint must still find what it found before.
MARGIN_MS: Final = HOUR_MS
# Sorts before the people's rows (p:), so that whoever finds a person's row in the changelog finds
# the ids that were remembered before it too: rows are written in the order of their keys.
_PREFIX: Final = b"d:"

Entry = tuple[int, int]               # offset, appended_ms


def fingerprint(tenant: str, event_id: str) -> int:
    """64 bits of (tenant, event id)."""
    return int(ids.derive("event", tenant, event_id)[:16], 16)


class SeenIds:
    """The ids of one partition. The rows hold the truth; the dictionaries are derived from them."""

    def __init__(self, slab: Slab, *, window_ms: int, ids_max: int) -> None:
        self.slab = slab
        self._window_ms, self._ids_max = window_ms, ids_max
        self._last: dict[int, Entry] = {}
        self._earlier: dict[int, list[Entry]] = {}     # of the few ids that came back after it
        self._newest_ms: dict[bytes, int] = {}         # chunk -> broker time of its newest id
        self._count = 0
        for key in sorted(key for key in slab if key.startswith(_PREFIX)):
            for mark, offset, appended_ms in self._rows(key):
                self._index(key, mark, (offset, appended_ms))

    def __len__(self) -> int:
        return self._count

    def first_offset(self, mark: int, *, offset: int, appended_ms: int) -> int | None:
        """Where the id appeared before `offset` within the window.

        An entry at or after `offset` is no earlier appearance: it is this very event, or one after
        it, known because rows may be ahead of the offset that replay starts from.
        """
        last = self._last.get(mark)
        if last is None:
            return None
        for seen_offset, seen_ms in (last, *self._earlier.get(mark, ())):
            if seen_offset < offset and appended_ms - seen_ms <= self._window_ms:
                return seen_offset
        return None

    def remember(self, mark: int, *, offset: int, appended_ms: int) -> None:
        """The event at `offset` was admitted. Repeating it changes nothing."""
        entry = (offset, appended_ms)
        if self._last.get(mark) == entry or entry in self._earlier.get(mark, ()):
            return
        key = self._open_chunk()
        slot = self.slab.slot(key)
        self.slab.tails[slot].setdefault("ids", []).append([mark, offset, appended_ms])
        self.slab.stamp(slot, 0, offset)
        self._index(key, mark, entry)

    def expire(self, *, appended_ms: int) -> None:
        """Forget the chunks that lie behind the window, and the oldest beyond the maximum."""
        edge_ms = appended_ms - self._window_ms - MARGIN_MS
        for key in list(self._newest_ms):
            if self._newest_ms[key] >= edge_ms and self._count <= self._ids_max:
                break
            self._drop(key)

    def _rows(self, key: bytes) -> list[list[int]]:
        slot = self.slab.find(key)
        assert slot is not None
        rows: list[list[int]] = self.slab.tails[slot].get("ids", [])
        return rows

    def _index(self, key: bytes, mark: int, entry: Entry) -> None:
        standing = self._last.get(mark)
        if standing is not None and standing != entry:
            self._earlier.setdefault(mark, []).append(min(standing, entry))
            entry = max(standing, entry)
        self._last[mark] = entry
        self._newest_ms[key] = max(self._newest_ms.get(key, 0), entry[1])
        self._count += 1

    def _open_chunk(self) -> bytes:
        last = next(reversed(self._newest_ms), None)
        if last is not None and len(self._rows(last)) < CHUNK_IDS:
            return last
        number = 0 if last is None else int(last[len(_PREFIX):]) + 1
        return _PREFIX + b"%012d" % number

    def _drop(self, key: bytes) -> None:
        for mark, offset, appended_ms in self._rows(key):
            entry = (offset, appended_ms)
            if self._last.get(mark) == entry:
                del self._last[mark]
            earlier = self._earlier.get(mark)
            if earlier is not None and entry in earlier:
                earlier.remove(entry)
                if not earlier:
                    del self._earlier[mark]
            self._count -= 1
        del self._newest_ms[key]
        self.slab.drop(key)
