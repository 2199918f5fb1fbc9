"""Snapshots: a partition's rows as of one changelog offset, in one checked block of bytes.

A snapshot saves reading the changelog from its beginning; it is never the truth. What cannot be
used (another layout, a failed checksum, too old, ahead of the changelog) is passed over, and the
changelog is read in full.

    magic, layout, width | next changelog offset, written at | marks | rows | BLAKE2b of all before
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from streams.engine.stage import SlabPort
from streams.kernel.moments import HOUR_MS

_MAGIC = b"KRS2"
_HEADER = struct.Struct("<4sIIqqII")      # magic, layout, width, offset, written, marks, rows
_LENGTHS = struct.Struct("<II")
_DIGEST_BYTES = 16
# Tombstones live a day in the changelog; a snapshot from before one was cleaned away would bring
# the row back.
AGE_MS_MAX = 12 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows and marks that the changelog holds before `next_offset`."""

    next_offset: int
    written_ms: int
    marks: bytes
    rows: list[tuple[bytes, bytes]]


def encode(slab: SlabPort, *, next_offset: int, written_ms: int, marks: bytes) -> bytes:
    """The snapshot of a slab without dirty rows."""
    parts = [_HEADER.pack(_MAGIC, slab.layout, slab.width, next_offset, written_ms, len(marks),
                          len(slab)), marks]
    for key in slab:
        row = slab.encode(key)
        assert row is not None
        parts += [_LENGTHS.pack(len(key), len(row)), key, row]
    body = b"".join(parts)
    return body + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()


def decode(stored: bytes, *, layout: int, width: int, now_ms: int) -> Snapshot | None:
    """The snapshot in `stored`; None when it is damaged, too old, or of another layout."""
    body, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    if (len(body) < _HEADER.size
            or hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest):
        return None
    magic, stored_layout, stored_width, offset, written_ms, marks_bytes, count = (
        _HEADER.unpack_from(body))
    if (magic, stored_layout, stored_width) != (_MAGIC, layout, width):
        return None
    if not 0 <= now_ms - written_ms <= AGE_MS_MAX:
        return None
    at = _HEADER.size + marks_bytes
    marks, rows = body[_HEADER.size:at], []
    for _ in range(count):
        key_bytes, row_bytes = _LENGTHS.unpack_from(body, at)
        at += _LENGTHS.size
        rows.append((body[at:at + key_bytes], body[at + key_bytes:at + key_bytes + row_bytes]))
        at += key_bytes + row_bytes
    return Snapshot(offset, written_ms, marks, rows)
