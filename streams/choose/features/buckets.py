"""Buckets: a stable random share of people, by which segments draw at random.

A person's place in a bucket is a number in [0, 100) made of the tenant, the bucket's name and the
person's id: the same on every machine and in every run, even over people, and independent between
names. It is not secret. A visitor who turns out to be a person has the person's place from then on.
"""

from __future__ import annotations

import numpy as np
from numba import float64, uint64

from streams.engine.compiling import compiled
from streams.engine.hashing import hash_of, mix, signed_hash


@compiled
def place_of(who, tenant, bucket):
    """Where the person with the hash `who` stands in a bucket; `tenant`, `bucket`: hashes."""
    h = mix(mix(uint64(who) ^ uint64(bucket)) ^ uint64(tenant))
    return float64(h >> uint64(11)) / 9007199254740992.0 * 100.0


def place(tenant: str, bucket: str, profile_id: str) -> float:
    """`place_of`, from texts."""
    return float(place_of(np.uint64(hash_of(profile_id)), signed_hash(tenant), signed_hash(bucket)))


def place_sql(tenant: str, bucket: str, profile_id: str) -> str:
    """`place` as an expression for ClickHouse, of three expressions that are texts.

    Hashes are `hash64` of `streams.engine.hashing`; all its arithmetic wraps at 64 bits.
    """
    person, name, whose = (_hash_sql(text) for text in (profile_id, bucket, tenant))
    mixed = _mix_sql(f"bitXor({_mix_sql(f'bitXor({person}, {name})')}, {whose})")
    return f"bitShiftRight({mixed}, 11) / 9007199254740992 * 100"


def _mix_sql(number: str) -> str:
    """As a chain of lambdas over one element: each step needs the one before it twice."""
    shifted = "x -> bitXor(x, bitShiftRight(x, 33))"
    times = "arrayMap(x -> x * toUInt64({}), arrayMap(" + shifted + ", {}))"
    first = times.format("18397679294719823053", f"[{number}]")
    return f"arrayMap({shifted}, {times.format('14181476777654086739', first)})[1]"


def _hash_sql(text: str) -> str:
    seed, words = "toUInt64(11400714819323198485)", f"intDiv(length({text}), 8)"
    begun = f"bitXor({seed}, toUInt64(length({text})))"
    step = _mix_sql(f"bitXor(h, reinterpretAsUInt64(substring({text}, 8 * i + 1, 8)))")
    whole = f"arrayFold((h, i) -> {step}, range({words}), {begun})"
    rest = f"reinterpretAsUInt64(substring({text}, 8 * {words} + 1, 8))"
    mixed = _mix_sql(f"bitXor(bitXor({whole}, {rest}), {seed})")
    return f"greatest({mixed}, toUInt64(1))"
