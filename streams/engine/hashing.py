"""The one hash that compiled code shares: 64 bits, the same in every process and on every machine.

Rows keep hashes (recent event ids, tenants, distinct items), so it must never change: it is part
of the row layout. Not keyed and not cryptographic: whoever may choose ids can only mislead rows
that are theirs.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from streams.engine.compiling import compiled

_SEED = np.uint64(0x9E3779B97F4A7C15)
_K1 = np.uint64(0xFF51AFD7ED558CCD)
_K2 = np.uint64(0xC4CEB9FE1A85EC53)


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


def hash_of(text: str | bytes) -> int:
    """`hash64` of a text, for what is not in a loop."""
    raw = np.frombuffer(text.encode() if isinstance(text, str) else text, dtype=np.uint8)
    return int(hash64(raw, 0, len(raw)))


def signed_hash(text: str | bytes) -> int:
    """`hash_of` as the signed number that rows and tables hold."""
    return int(np.uint64(hash_of(text)).astype(np.int64))
