"""The person's row in choose: fixed words for features, a bounded tail for what varies.

words   [recent event ids: RECENT_IDS] [features, as compiled by Layout]
tail    t tenant · u purposes · l locale · s segments · w triggers' state · d what was said ·
        items recent items (written by features)

Segments have rows of the same layout under keys of their own, so that a feature means the same for
a person and for a group.
"""

from __future__ import annotations

from typing import Any

from streams.choose.features import Layout
from streams.engine.slab import Slab
from streams.kernel.ids import fingerprint52

RECENT_IDS = 32
SEGMENT_PREFIX = b"\x01"


def fields_of(layout: Layout) -> int:
    """Words of a row after the stamps."""
    return RECENT_IDS + layout.width


def segment_key(tenant: str, segment: str) -> bytes:
    return SEGMENT_PREFIX + tenant.encode() + b"\x1f" + segment.encode()


def is_segment(key: bytes) -> bool:
    return key[:1] == SEGMENT_PREFIX


def was_heard(slab: Slab, slot: int, event_id: str) -> bool:
    """True when the event is among the row's newest ids; else it is remembered.

    Admit removes repeats within one partition; two copies sent under different keys come through
    different partitions and meet only here.
    """
    base = slab.base(slot)
    mark = float(fingerprint52(event_id))
    recent = slab.words[base:base + RECENT_IDS]
    if mark in recent:
        return True
    slab.words[base:base + RECENT_IDS - 1] = recent[1:]
    slab.words[base + RECENT_IDS - 1] = mark
    return False


class Row:
    """One row, for reading and updating features; holds no state of its own."""

    __slots__ = ("_layout", "base", "slab", "slot")

    def __init__(self, slab: Slab, slot: int, layout: Layout) -> None:
        self.slab, self.slot, self._layout = slab, slot, layout
        self.base = slab.base(slot) + RECENT_IDS

    @property
    def tail(self) -> dict[str, Any]:
        return self.slab.tails[self.slot]

    def update(self, event: dict[str, Any], items: tuple[str, ...]) -> None:
        self._layout.update(self.slab.words, self.base, self.tail,
                            event_type=event["event_type"], event_ms=event["event_ms"],
                            value_micros=event["value_micros"], items=items)

    def feature(self, name: str, at_ms: int) -> float | None:
        return self._layout.read(name, self.slab.words, self.base, self.tail, at_ms).value

    def snapshot(self, at_ms: int) -> dict[str, dict[str, float | int | None]]:
        return self._layout.snapshot(self.slab.words, self.base, self.tail, at_ms)

    def next_change_ms(self, names: set[str], at_ms: int,
                       thresholds: dict[str, tuple[float, ...]]) -> int | None:
        return self._layout.next_change_ms(names, self.slab.words, self.base, at_ms, thresholds)
