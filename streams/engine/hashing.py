"""The one hash that compiled code shares: 64 bits, the same in every process and on every machine.

Rows keep hashes (recent event ids, tenants, distinct items), so it must never change: it is part
of the row layout. Not keyed and not cryptographic: whoever may choose ids can only mislead rows
that are theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.engine.compiling import compiled

_SEED = np.uint64(0x9E3779B97F4A7C15)
_K1 = np.uint64(0xFF51AFD7ED558CCD)
_K2 = np.uint64(0xC4CEB9FE1A85EC53)
_REMEMBERED_MAX = 65_536


@compiled
def mix(h):
    """MurmurHash3's 64-bit finaliser (Appleby, public domain)."""
    h ^= h >> uint64(33)
    h *= _K1
    h ^= h >> uint64(33)
    h *= _K2
    return h ^ (h >> uint64(33))


@compiled
def hash64(raw, start, size):
    """Hash of `raw[start:start + size]` (uint8 array), never 0: 0 marks an empty place."""
    h = _SEED ^ uint64(size)
    at, end = start, start + size
    while at + 8 <= end:
        word = uint64(0)
        for i in range(8):
            word |= uint64(raw[at + i]) << uint64(8 * i)
        h = mix(h ^ word)
        at += 8
    word = uint64(0)
    shift = uint64(0)
    while at < end:
        word |= uint64(raw[at]) << shift
        shift += uint64(8)
        at += 1
    h = mix(h ^ word ^ _SEED)
    return h if h != uint64(0) else uint64(1)


@lru_cache(_REMEMBERED_MAX)
def hash_of(text: str | bytes) -> int:
    """`hash64` of a text, for what is not in a loop. Items and tenants come again and again."""
    raw = np.frombuffer(text.encode() if isinstance(text, str) else text, dtype=np.uint8)
    return int(hash64(raw, 0, len(raw)))


def signed_hash(text: str | bytes) -> int:
    """`hash_of` as the signed number that rows and tables hold."""
    return int(np.uint64(hash_of(text)).astype(np.int64))


@compiled
def _murmur2(raw):
    """`kernel.ids.murmur2`, compiled. 32-bit numbers in 64 bits, cut after every product."""
    mask, m = uint64(0xFFFFFFFF), uint64(0x5BD1E995)
    size = len(raw)
    h = uint64(0x9747B28C) ^ uint64(size)
    at = 0
    while at + 4 <= size:
        k = (uint64(raw[at]) | uint64(raw[at + 1]) << uint64(8)
             | uint64(raw[at + 2]) << uint64(16) | uint64(raw[at + 3]) << uint64(24))
        k = (k * m) & mask
        k ^= k >> uint64(24)
        k = (k * m) & mask
        h = ((h * m) & mask) ^ k
        at += 4
    if at < size:
        shift = uint64(0)
        while at < size:
            h ^= uint64(raw[at]) << shift
            shift += uint64(8)
            at += 1
        h = (h * m) & mask
    h ^= h >> uint64(13)
    h = (h * m) & mask
    h ^= h >> uint64(15)
    return h & uint64(0x7FFFFFFF)


def partition_of(key: bytes, partitions: int) -> int:
    """`kernel.ids.partition_of`, for the many keys of a walk."""
    return int(_murmur2(np.frombuffer(key, dtype=np.uint8))) % partitions


def joined(keys: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64],
                                           npt.NDArray[np.int64]]:
    """Keys for compiled code: (all in a row, where each begins, how long it is)."""
    sizes = np.fromiter(map(len, keys), np.int64, len(keys))
    return np.frombuffer(b"".join(keys), np.uint8), np.cumsum(sizes) - sizes, sizes
