"""Rows: the profiles of one partition as fixed-layout binary rows that compiled code works on.

    key -> slot (`Index`) -> row of `row_bytes`         numbers, by offset
                          -> tails[slot]                a small dict, only for rows that need one

The first eight bytes of a row are its *stamp*: the next input offset it has not seen. Replay skips
what a row has seen, so a row counts every event once, without transactions. The bytes of a row are
its changelog value and its snapshot record: a header, the row, the tail as JSON.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from streams.engine.index import Index
from streams.kernel.errors import StateError

_HEADER = struct.Struct("<4sIII")          # magic, layout id, row bytes, tail bytes
_MAGIC = b"KRW2"
_ROWS_FIRST = 256

Migrate = Callable[[int, bytes, dict[str, Any]], tuple[bytes, dict[str, Any]] | None]


class Views(NamedTuple):
    """The same rows as numbers of several widths; index = byte offset // width."""

    u8: npt.NDArray[np.uint8]
    u16: npt.NDArray[np.uint16]
    i64: npt.NDArray[np.int64]
    f64: npt.NDArray[np.float64]
    dirty: npt.NDArray[np.uint8]
    # Not part of a row: when its timer comes up (0: none), and whether it waits for somebody.
    armed: npt.NDArray[np.int64]
    waits: npt.NDArray[np.uint8]


class Rows:
    """Rows of one partition. `layout` names what the bytes mean; `migrate` brings rows of another
    layout over (see `choose/features/migrating.py`), or answers None."""

    def __init__(self, *, row_bytes: int, layout: int, migrate: Migrate | None = None) -> None:
        assert row_bytes % 8 == 0 and row_bytes >= 8
        self.row_bytes, self.layout, self._migrate = row_bytes, layout, migrate
        self.index = Index(_ROWS_FIRST)
        self.tails: dict[int, dict[str, Any]] = {}
        self._dropped: set[bytes] = set()
        self._bytes = np.zeros((0, row_bytes), np.uint8)
        self.views = self._view(*(np.zeros(0, kind) for kind in (np.uint8, np.int64, np.uint8)))
        self._grow()

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[bytes]:
        return map(self.index.key, self.index)

    def __contains__(self, key: bytes) -> bool:
        return self.index.find(key) >= 0

    def reserve(self, rows: int, key_bytes: int) -> None:
        """Make room for so many more rows, before compiled code runs."""
        if self.index.reserve(rows, key_bytes):
            self._grow()

    def find(self, key: bytes) -> int | None:
        slot = self.index.find(key)
        return None if slot < 0 else slot

    def slot(self, key: bytes) -> int:
        """The slot of `key`; a row of zeros when it is new."""
        slot = self.index.add(key)
        if self.index.capacity > len(self._bytes):
            self._grow()
        return slot

    def key(self, slot: int) -> bytes:
        return self.index.key(slot)

    def tail(self, slot: int) -> dict[str, Any]:
        """The tail of a row, to read or change."""
        return self.tails.setdefault(slot, {})

    def stamp(self, slot: int, offset: int) -> None:
        """The row now includes input `offset`; it is due for the changelog."""
        self.views.i64[slot, 0] = offset + 1
        self.views.dirty[slot] = 1

    def has_seen(self, slot: int, offset: int) -> bool:
        return bool(offset < self.views.i64[slot, 0])

    def drop(self, key: bytes) -> None:
        """Forget a row; a tombstone goes to the changelog."""
        slot = self.index.find(key)
        if slot >= 0:
            self._bytes[slot] = 0
            self.views.dirty[slot] = 0
            self.views.armed[slot] = 0
            self.tails.pop(slot, None)
            self.index.remove(slot)
            self._dropped.add(key)

    def encode(self, key: bytes) -> bytes | None:
        """The row's bytes, or None when it was dropped (a tombstone)."""
        slot = self.index.find(key)
        if slot < 0:
            return None
        tail = self.tails.get(slot)
        said = orjson.dumps(tail) if tail else b""
        return (_HEADER.pack(_MAGIC, self.layout, self.row_bytes, len(said))
                + self._bytes[slot].tobytes() + said)

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take a row from the changelog; None is a tombstone.

        Raises StateError when the bytes are no row, or of a layout that cannot be brought over.
        """
        if value is None:
            self.drop(key)
            self._dropped.discard(key)
            return
        row, tail = self.read(value)
        slot = self.slot(key)
        self._bytes[slot] = np.frombuffer(row, np.uint8)
        if tail:
            self.tails[slot] = tail
        else:
            self.tails.pop(slot, None)

    def read(self, value: bytes) -> tuple[bytes, dict[str, Any]]:
        """(row, tail) of what `encode` gave, brought over to this layout. Raises StateError."""
        if len(value) < _HEADER.size:
            raise StateError("a changelog value is shorter than a row's header")
        magic, layout, row_bytes, tail_bytes = _HEADER.unpack_from(value)
        end = _HEADER.size + row_bytes
        if magic == _MAGIC and len(value) == end + tail_bytes:
            row = value[_HEADER.size:end]
            tail = orjson.loads(value[end:]) if tail_bytes else {}
            if layout == self.layout and row_bytes == self.row_bytes:
                return row, tail
            moved = self._migrate(layout, row, tail) if self._migrate else None
            if moved is not None:
                return moved
        raise StateError(
            f"a changelog row has layout {layout} and {row_bytes} bytes; this build reads layout "
            f"{self.layout} and {self.row_bytes} bytes, and the changelog does not say how the "
            "other one is laid out",
            "replay from events.admitted with an empty changelog: kairos clean --state")

    @property
    def dirty(self) -> bool:
        """True while something is due for the changelog."""
        return bool(self._dropped) or bool(self.views.dirty.any())

    def forget_dirty(self) -> None:
        """Nothing is due: rows are as the changelog has them."""
        self.views.dirty[:] = 0
        self._dropped.clear()

    def take_dirty(self) -> list[bytes]:
        """The keys due for the changelog, in a stable order; nothing is dirty afterwards."""
        due = {self.index.key(slot) for slot in np.nonzero(self.views.dirty)[0].tolist()}
        due |= self._dropped
        self.forget_dirty()
        return sorted(due)

    def _grow(self) -> None:
        """As many rows as the index has slots; what there is keeps its place."""
        more = self.index.capacity - len(self._bytes)
        if more <= 0:
            return
        grown = np.zeros((self.index.capacity, self.row_bytes), np.uint8)
        grown[:len(self._bytes)] = self._bytes
        self._bytes = grown
        self.views = self._view(*(np.concatenate([old, np.zeros(more, old.dtype)]) for old in (
            self.views.dirty, self.views.armed, self.views.waits)))

    def _view(self, dirty: Any, armed: Any, waits: Any) -> Views:
        rows = self._bytes
        return Views(rows, rows.view(np.uint16), rows.view(np.int64), rows.view(np.float64),
                     dirty, armed, waits)
