"""Snapshots: a partition's rows on disk, so that recovery need not read all of the changelog.

    header | changelog keys to clear | some rows | some rows | ... | end       each with its digest

A snapshot is never the truth. What cannot be used (another layout, a failed digest, too old, of a
checkpoint that does not count, ahead of the changelog) is passed over, and the changelog is read
in full.

It is written some rows at a time, each time right after a checkpoint. So rows may be as of later
checkpoints than the one it is named after; what the changelog holds from `next_offset` on says of
each such row the same or something newer. Which version of a key counts (its tag) is as of the
checkpoint it is named after, for all rows: the same entries of the changelog bring it up to date.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from streams.kernel.moments import HOUR_MS

_MAGIC = b"KRS3"
# magic, layout, width | changelog offset, written at | epoch, number, keys
_HEADER = struct.Struct("<4sIIqqQQQ")
_PART = struct.Struct("<cI")                     # what it is, bytes behind
_END = struct.Struct("<QQ")                      # checkpoint of the last rows, number of rows
_COUNT = struct.Struct("<I")
_HEAD, _SPENT, _ROWS, _LAST = b"H", b"S", b"R", b"E"
_DIGEST_BYTES = 16
# Tombstones live a day in the changelog; a snapshot from before one was cleaned away would bring
# the row back.
AGE_MS_MAX = 12 * HOUR_MS

Row = tuple[bytes, int, bytes]                   # key, tag, row bytes


class DamagedError(Exception):
    """The rest of a snapshot cannot be used, and so nothing of it: read the changelog."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What counts of everything the changelog holds before `next_offset`.

    `rows`: pieces of (key, tag, row bytes), the mark's among them; no bytes where the row was
    dropped, or the changelog says it later. To be taken once; raises DamagedError.
    `spent`: changelog keys that wait to be cleared. As of checkpoint `number` of `epoch`, which
    had `keys_count` keys.
    """

    next_offset: int
    written_ms: int
    epoch: int
    number: int
    keys_count: int
    rows: Iterator[Sequence[Row]]
    spent: Sequence[bytes]


class Encoder:
    """The bytes of a snapshot, part after part. Digests are chained: no part can be left out."""

    def __init__(self) -> None:
        self._digest, self._count = b"", 0

    def _part(self, kind: bytes, body: bytes) -> bytes:
        head = _PART.pack(kind, len(body))
        self._digest = _digest(self._digest, head, body)
        return head + body + self._digest

    def head(self, found: Snapshot, *, layout: int, width: int) -> bytes:
        head = _HEADER.pack(_MAGIC, layout, width, found.next_offset, found.written_ms,
                            found.epoch, found.number, found.keys_count)
        return self._part(_HEAD, head) + self._part(_SPENT, _packed(found.spent))

    def rows(self, rows: Sequence[Row]) -> bytes:
        self._count += len(rows)
        tags = np.fromiter((tag for _, tag, _ in rows), np.uint32, len(rows))
        return self._part(_ROWS, _squeezed(_packed([key for key, _, _ in rows]) + tags.tobytes()
                                           + _packed([row for _, _, row in rows])))

    def end(self, number: int) -> bytes:
        """`number`: of the checkpoint after which the last rows were taken."""
        return self._part(_LAST, _END.pack(number, self._count))


def read(file: BinaryIO, *, layout: int, width: int, ends: Mapping[int, int],
         now_ms: int) -> Snapshot | None:
    """The snapshot in `file`; None when it is damaged, too old, or of another layout, or its
    checkpoint does not count (`ends`: the last committed one of each epoch)."""
    parts = _parts(file)
    try:
        (kind, head), (_, spent) = next(parts), next(parts)
        (magic, stored_layout, stored_width, offset, written_ms, epoch, number,
         keys_count) = _HEADER.unpack(head)
    except (DamagedError, StopIteration, struct.error):
        return None
    if (kind, magic, stored_layout, stored_width) != (_HEAD, _MAGIC, layout, width):
        return None
    if not 0 <= now_ms - written_ms <= AGE_MS_MAX or number > ends.get(epoch, -1):
        return None
    return Snapshot(offset, written_ms, epoch, number, keys_count,
                    _rows(parts, ends.get(epoch, -1)), _unpacked(spent, 0)[0])


def _rows(parts: Iterator[tuple[bytes, bytes]], number_max: int) -> Iterator[Sequence[Row]]:
    count = 0
    for kind, body in parts:
        if kind == _ROWS:
            body = _spread(body)
            keys, at = _unpacked(body, 0)
            tags = np.frombuffer(body, np.uint32, len(keys), at).tolist()
            values, _ = _unpacked(body, at + 4 * len(keys))
            count += len(keys)
            yield list(zip(keys, tags, values, strict=True))
            continue
        number, all_rows = _END.unpack(body)
        if number > number_max or all_rows != count:
            raise DamagedError("its last rows are of a checkpoint that does not count")
        return
    raise DamagedError("its end is missing")


def _parts(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """(kind, bytes) of each part up to the end of the file. Raises DamagedError."""
    digest = b""
    with file:
        while head := file.read(_PART.size):
            if len(head) < _PART.size:
                raise DamagedError("it ends in the middle")
            kind, size = _PART.unpack(head)
            body = file.read(size)
            digest = _digest(digest, head, body)
            if file.read(_DIGEST_BYTES) != digest:
                raise DamagedError("a digest does not hold")
            yield kind, body


def _packed(texts: Sequence[bytes]) -> bytes:
    sizes = np.fromiter(map(len, texts), np.uint32, len(texts))
    return _COUNT.pack(len(texts)) + sizes.tobytes() + b"".join(texts)


def _unpacked(body: bytes, at: int) -> tuple[list[bytes], int]:
    """(the texts that were packed from `at` on, where they end)."""
    (count,) = _COUNT.unpack_from(body, at)
    at += _COUNT.size
    sizes = np.frombuffer(body, np.uint32, count, at)
    ends = (np.cumsum(sizes, dtype=np.int64) + at + 4 * count).tolist()
    starts = [at + 4 * count, *ends[:-1]]
    return ([body[start:end] for start, end in zip(starts, ends, strict=False)],
            ends[-1] if ends else at)


def _squeezed(body: bytes) -> bytes:
    """Without the words that are zero, which most of a row's are."""
    words = np.frombuffer(body + bytes(-len(body) % 8), np.uint64)
    kept = words != 0
    return _COUNT.pack(len(body)) + np.packbits(kept).tobytes() + words[kept].tobytes()


def _spread(body: bytes) -> bytes:
    """What `_squeezed` was given."""
    (size,) = _COUNT.unpack_from(body)
    words = np.zeros(-(-size // 8), np.uint64)
    bits = -(-len(words) // 8)
    kept = np.unpackbits(np.frombuffer(body, np.uint8, bits, _COUNT.size), count=len(words))
    words[kept.view(np.bool_)] = np.frombuffer(body, np.uint64, offset=_COUNT.size + bits)
    return words.tobytes()[:size]


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()
