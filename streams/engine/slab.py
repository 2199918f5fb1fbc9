"""Slab: the rows of one partition, in one block of float64 words, with a bounded tail each.

    key -> slot -> words[slot * width : (slot + 1) * width]      fixed layout, by index
                   tails[slot]                                    a small dict, for what varies

The first words of every row are *stamps*: per input topic the next offset the row has not seen.
Recovery does not rest on them: rows come back exactly as of the committed offsets, see `versions`.
The bytes of a row are its changelog value: a header, the words, the tail as JSON.

float64 holds integers exactly up to 2**53: milliseconds, offsets and 52-bit fingerprints fit.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from streams.kernel.errors import StateError

_HEADER = struct.Struct("<4sHHI")          # magic, layout version, width, length of the tail
_MAGIC = b"KRW1"
_GROW = 1024


class Slab:
    """Rows of one partition. `width` words a row, of which the first `topics` are stamps."""

    def __init__(self, *, topics: int, fields: int = 0, layout: int = 1) -> None:
        assert topics >= 1 and fields >= 0
        self.topics = topics
        self.width = topics + fields
        self.layout = layout
        self._index: dict[bytes, int] = {}
        self._keys: list[bytes | None] = []
        self._free: list[int] = []
        self.words = array("d")
        self.tails: list[dict[str, Any]] = []
        self.dirty: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: bytes) -> bool:
        return key in self._index

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._index)

    def find(self, key: bytes) -> int | None:
        """The slot of `key`, or None."""
        return self._index.get(key)

    def slot(self, key: bytes) -> int:
        """The slot of `key`; a new row of zeros and an empty tail when there is none."""
        slot = self._index.get(key)
        if slot is None:
            slot = self._free.pop() if self._free else self._grow()
            self._index[key] = slot
            self._keys[slot] = key
        return slot

    def _grow(self) -> int:
        first = len(self._keys)
        self.words.extend([0.0] * (self.width * _GROW))
        self._keys.extend([None] * _GROW)
        self.tails.extend({} for _ in range(_GROW))
        self._free.extend(range(first + _GROW - 1, first, -1))
        return first

    def base(self, slot: int) -> int:
        """Index in `words` of the row's first field after the stamps."""
        return slot * self.width + self.topics

    def has_seen(self, slot: int, topic: int, offset: int) -> bool:
        return offset < self.words[slot * self.width + topic]

    def stamp(self, slot: int, topic: int, offset: int) -> None:
        """The row now includes `offset` of input `topic`; it is due for the changelog."""
        self.words[slot * self.width + topic] = offset + 1
        self.mark_due(slot)

    def mark_due(self, slot: int) -> None:
        """The row has changed, and goes to the changelog."""
        key = self._keys[slot]
        assert key is not None
        self.dirty.add(key)

    def drop(self, key: bytes) -> None:
        """Forget a row; a tombstone goes to the changelog."""
        slot = self._index.pop(key, None)
        if slot is None:
            return
        start = slot * self.width
        self.words[start:start + self.width] = array("d", bytes(8 * self.width))
        self.tails[slot] = {}
        self._keys[slot] = None
        self._free.append(slot)
        self.dirty.add(key)

    def encode(self, key: bytes) -> bytes | None:
        """The row's bytes, or None when it was dropped (a tombstone)."""
        slot = self._index.get(key)
        if slot is None:
            return None
        start = slot * self.width
        tail = orjson.dumps(self.tails[slot]) if self.tails[slot] else b""
        return (_HEADER.pack(_MAGIC, self.layout, self.width, len(tail))
                + self.words[start:start + self.width].tobytes() + tail)

    def encode_all(self, keys: Sequence[bytes], front: bytes = b"") -> list[bytes | None]:
        """`encode` of each key, behind `front`."""
        rows = map(self.encode, keys)
        return [None if row is None else front + row for row in rows]

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take a row from the changelog; None is a tombstone.

        Raises StateError when the bytes are not a row of this layout.
        """
        if value is None:
            self.drop(key)
            self.dirty.discard(key)
            return
        if len(value) < _HEADER.size:
            raise StateError("a changelog value is shorter than a row's header")
        magic, layout, width, tail_bytes = _HEADER.unpack_from(value)
        end = _HEADER.size + 8 * width
        if (magic != _MAGIC or layout != self.layout or width != self.width
                or len(value) != end + tail_bytes):
            raise StateError(
                f"a changelog row has layout {layout} and {width} words; this build reads layout "
                f"{self.layout} and {self.width} words",
                "replay from events.admitted with an empty changelog: kairos clean --state")
        slot = self.slot(key)
        start = slot * self.width
        self.words[start:start + self.width] = array("d", value[_HEADER.size:end])
        self.tails[slot] = orjson.loads(value[end:]) if tail_bytes else {}

    def expect(self, rows: int) -> None:
        """Nothing to do: these slabs are small."""

    def apply_all(self, rows: Mapping[bytes, bytes], behind: int = 0) -> None:
        """`apply` of each row, which stands `behind` so many bytes."""
        for key, value in rows.items():
            self.apply(key, value[behind:])

    def settle(self) -> None:
        """Nothing is due: rows are as the changelog has them."""
        self.dirty.clear()

    def make_room(self) -> None:
        """All rows stay in memory: the stages that keep them here let go of what is over."""

    def take_dirty(self) -> list[bytes]:
        """The keys due for the changelog, in a stable order; nothing is dirty afterwards."""
        due = sorted(self.dirty)
        self.dirty.clear()
        return due
