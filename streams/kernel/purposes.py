"""The purposes that data may be used for, as bits. Default deny: what is not granted is denied.

measure      count and analyse (also hold-outs and conversions)
personalise  build features and segments, choose content
contact      send a message through a channel
train        learn policies and tune models
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MEASURE, PERSONALISE, CONTACT, TRAIN = 1, 2, 4, 8
BITS: dict[str, int] = {
    "measure": MEASURE, "personalise": PERSONALISE, "contact": CONTACT, "train": TRAIN,
}


def mask_of(names: Iterable[str]) -> int:
    """The mask of purpose names. Raises KeyError for a name that is no purpose."""
    mask = 0
    for name in names:
        mask |= BITS[name]
    return mask


def granted(claims: Mapping[str, bool]) -> int:
    return mask_of(name for name, allowed in claims.items() if allowed)


def names_of(mask: int) -> list[str]:
    return [name for name, bit in BITS.items() if mask & bit]
