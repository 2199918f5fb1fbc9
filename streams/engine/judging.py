"""Judging: what entries of a changelog are, under a committed lineage; see `versions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.engine.compiling import compiled
from streams.engine.hashing import joined
from streams.kernel.errors import StateError

COUNTS, VOID, NEWER = range(3)
KEY_BYTES, STAMP_BYTES = 5, 8          # before a row's key: magic, tag; before its bytes: number
MAGIC = 1
RESET = ("reset the stage: stop it, delete its changelog topic and its consumer group, and start "
         "again from the beginning of its input")
_NO_STAMP = bytes(STAMP_BYTES)


class Judged(NamedTuple):
    """Of each entry: its tag; COUNTS, VOID (of an epoch that is over, and not committed) or NEWER
    (of the lineage's own epoch or a later one, and not committed so far); whether it clears its
    key, which counts; whether it is a row and not only the word that there is none."""

    tags: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.uint8]
    clears: npt.NDArray[np.bool_]
    has_row: npt.NDArray[np.bool_]


@compiled
def _judge(raw, starts, sizes, stamps, clears, epochs, numbers, own, tags, kinds):
    """Returns how many entries have keys of ours, up to the first that has not."""
    for n in range(len(starts)):
        at = starts[n]
        if sizes[n] < KEY_BYTES or raw[at] != MAGIC:
            return n
        tag = np.int64(0)
        for i in range(1, KEY_BYTES):
            tag = tag << 8 | np.int64(raw[at + i])
        tags[n], kinds[n] = tag, COUNTS
        if clears[n]:
            continue
        kinds[n] = VOID if tag >> 1 < own else NEWER
        for i in range(len(epochs)):
            if epochs[i] == tag >> 1 and stamps[n] <= uint64(numbers[i]):
                kinds[n] = COUNTS
    return len(starts)


def judge(keys: Sequence[bytes], values: Sequence[bytes | None], ends: Mapping[int, int],
          epoch: int) -> tuple[Judged, int]:
    """What each entry is under a lineage (`ends`: the last committed checkpoint of each epoch;
    `epoch`: the owner's); and how many keys are ours, up to the first that is not.

    Raises StateError for a value that is too short to have a number.
    """
    count = len(keys)
    sizes = np.array([-1 if value is None else len(value) for value in values], np.int64)
    clears = sizes < 0
    if ((sizes < STAMP_BYTES) & ~clears).any():
        raise StateError("the changelog holds a value without the number of its checkpoint", RESET)
    stamps = np.frombuffer(b"".join([_NO_STAMP if value is None else value[:STAMP_BYTES]
                                     for value in values]), np.uint64)
    judged = Judged(np.zeros(count, np.int64), np.zeros(count, np.uint8), clears,
                    sizes > STAMP_BYTES)
    ours = _judge(*joined(keys), stamps, clears, np.fromiter(ends, np.int64, len(ends)),
                  np.fromiter(ends.values(), np.int64, len(ends)), epoch, judged.tags, judged.kinds)
    return judged, int(ours)
