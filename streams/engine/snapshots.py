"""Snapshots: a partition's rows as of one checkpoint, in one checked block of bytes.

A snapshot saves reading the changelog from its beginning; it is never the truth. What cannot be
used (another layout, a failed checksum, too old, of a checkpoint that does not count, ahead of the
changelog) is passed over, and the changelog is read in full.

    header | rows with their tags | changelog keys to clear | BLAKE2b of all before
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from streams.kernel.moments import HOUR_MS

_MAGIC = b"KRS2"
# magic, layout, width | changelog offset, written at | epoch, number | rows, keys to clear
_HEADER = struct.Struct("<4sIIqqQQII")
_ROW = struct.Struct("<III")                     # tag, key bytes, row bytes
_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = 16
# Tombstones live a day in the changelog; a snapshot from before one was cleaned away would bring
# the row back.
AGE_MS_MAX = 12 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What counts of everything the changelog holds before `next_offset`.

    `rows`: (key, tag, row bytes), the mark's among them; no bytes where the row was dropped.
    `spent`: changelog keys that wait to be cleared. As of checkpoint `number` of `epoch`.
    """

    next_offset: int
    written_ms: int
    epoch: int
    number: int
    rows: list[tuple[bytes, int, bytes]]
    spent: list[bytes]


def encode(found: Snapshot, *, layout: int, width: int) -> bytes:
    parts = [_HEADER.pack(_MAGIC, layout, width, found.next_offset, found.written_ms, found.epoch,
                          found.number, len(found.rows), len(found.spent))]
    for key, tag, row in found.rows:
        parts += [_ROW.pack(tag, len(key), len(row)), key, row]
    for stored in found.spent:
        parts += [_LENGTH.pack(len(stored)), stored]
    body = b"".join(parts)
    return body + _digest(body)


def decode(stored: bytes, *, layout: int, width: int, now_ms: int) -> Snapshot | None:
    """The snapshot in `stored`; None when it is damaged, too old, or of another layout."""
    body, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    if len(body) < _HEADER.size or _digest(body) != digest:
        return None
    (magic, stored_layout, stored_width, offset, written_ms, epoch, number, rows_count,
     spent_count) = _HEADER.unpack_from(body)
    if (magic, stored_layout, stored_width) != (_MAGIC, layout, width):
        return None
    if not 0 <= now_ms - written_ms <= AGE_MS_MAX:
        return None
    at, rows, spent = _HEADER.size, [], []
    for _ in range(rows_count):
        tag, key_bytes, row_bytes = _ROW.unpack_from(body, at)
        at += _ROW.size
        rows.append((body[at:at + key_bytes], tag, body[at + key_bytes:at + key_bytes + row_bytes]))
        at += key_bytes + row_bytes
    for _ in range(spent_count):
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        spent.append(body[at:at + length])
        at += length
    return Snapshot(offset, written_ms, epoch, number, rows, spent)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
