"""Deterministic ids. The same cause always has the same id, in any process, on any replay.

Python's `hash` is salted per process and never used; blake2b is keyed by what the id is *for*, so
that two kinds of id cannot collide by accident.
"""

from __future__ import annotations

import hashlib

_MASK_52 = (1 << 52) - 1


def derive(kind: str, *parts: str | int) -> str:
    """A 32-character hex id of `parts` within `kind` (at most 16 ASCII characters)."""
    told = bytearray()
    for part in parts:
        raw = str(part).encode()
        told += len(raw).to_bytes(4, "big")          # length-prefixed: ("ab","c") != ("a","bc")
        told += raw
    return hashlib.blake2b(told, digest_size=16, person=kind.encode("ascii")).hexdigest()


def fingerprint52(text: str) -> int:
    """A 52-bit fingerprint of `text`, never 0, exact in a float64 (rows are float64 words)."""
    raw = hashlib.blake2b(text.encode(), digest_size=8, person=b"fingerprint").digest()
    return (int.from_bytes(raw, "big") & _MASK_52) or 1


def unit_interval(salt: str, subject: str) -> float:
    """A uniform number in [0, 1) that sticks to `subject` within `salt` (hold-outs, buckets)."""
    raw = hashlib.blake2b(subject.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return (int.from_bytes(raw, "big") >> 11) / float(1 << 53)


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (seed 0x9747b28c), as a signed 32-bit number made positive.

    `murmur2(key) % partitions` is the partition that the Java client, aiokafka and librdkafka with
    `partitioner=murmur2_random` choose. Source: org.apache.kafka.common.utils.Utils.murmur2.
    """
    length, m, mask = len(data), 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ length) & mask
    for i in range(0, length - 3, 4):
        k = int.from_bytes(data[i:i + 4], "little")
        k = (k * m) & mask
        k ^= k >> 24
        k = (k * m) & mask
        h = ((h * m) & mask) ^ k
    tail = data[length & ~3:]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    h ^= h >> 15
    return h & 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` among `partitions`, the same as every other client's."""
    return murmur2(key) % partitions
