"""The slow and obvious twin of the features: every value counted anew from the whole history."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.choose.features.layout import (
    DECAY_HALF_LIVES,
    DECAY_TILES,
    NEWEST,
    Layout,
)
from streams.choose.features.names import name_of
from streams.choose.features.properties import Properties
from streams.choose.features.reading import NO_AGE, read
from streams.choose.features.spec import FILTERS, SESSION_TILES, FeatureSpec, tile_ms_of
from streams.choose.features.telling import texts_of
from streams.choose.features.updating import type_of, update
from streams.engine.hashing import hash_of, signed_hash
from streams.engine.rows import Rows
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS

Value = Any      # a number, a text, a list of texts or None


@dataclass(frozen=True)
class Heard:
    """One event, as far as features look at it. `value` in units, `offset` unique."""

    offset: int
    event_type: str
    event_ms: int
    value: float = 0.0
    quantity: float = 1.0
    item: str = ""
    category: str = ""
    properties: str = ""

    def told(self, field: str) -> Any:
        """A field of the event, or a property of it."""
        if field.startswith("property."):
            return json.loads(self.properties or "{}").get(field.removeprefix("property."))
        return getattr(self, {"item_id": "item"}.get(field, field))


class Fast:
    """The real thing: one row, updated by the compiled code."""

    def __init__(self, specs: tuple[FeatureSpec, ...], *, wide: bool = False) -> None:
        asked = {spec.where[0] for spec in specs if spec.where} - {*FILTERS}
        self.layout = Layout(specs, where_fields=(*FILTERS, *sorted(asked)), wide=wide)
        self.properties = Properties(self.layout)
        self.rows = Rows(row_bytes=self.layout.row_bytes, layout=self.layout.id)
        self.slot = self.rows.slot(b"p")

    def take(self, *events: Heard) -> Fast:
        v, layout = self.rows.views, self.layout
        for e in events:
            t = type_of(layout.types, np.uint64(hash_of(e.event_type)))
            told, named = self.properties.read(1, [(0, e.properties.encode())])
            fields = np.concatenate([np.zeros(len(FILTERS), np.int64), told[0]])
            fields[FILTERS.index("category")] = signed_hash(e.category)
            items = np.array([hash_of(e.item)], np.uint64)
            texts = [e.item, *(getattr(e, name, "") for name in layout.text_fields)]
            names = np.array([name_of(text) for text in texts], np.int64)
            for _, k, name in named:
                names[1 + k] = name
            update(layout.ops, layout.op_starts[t], layout.op_starts[t + 1], v.u8, v.u16, v.i64,
                   self.slot, e.event_ms, e.offset, round(e.value * 1_000_000),
                   round(e.quantity * 1000), fields, items, 0, int(bool(e.item)),
                   names, 1)
            v.i64[self.slot, NEWEST] = max(v.i64[self.slot, NEWEST], e.event_ms)
        return self

    def value(self, name: str, at_ms: int) -> Value:
        v, f = self.rows.views, self.layout.by_name[name]
        value, has, _ = read(self.layout.reads, v.u8, v.u16, v.i64, self.slot,
                             f, at_ms)
        if not has or self.layout.specs[f].value_is == "number":
            return float(value) if has else None
        texts = texts_of(self.layout.reads, v.i64, self.slot, f, at_ms)
        return texts if self.layout.specs[f].value_is == "texts" else texts[0]

    def age(self, name: str, at_ms: int) -> int | None:
        v = self.rows.views
        age = read(self.layout.reads, v.u8, v.u16, v.i64, self.slot, self.layout.by_name[name],
                   at_ms)[2]
        return None if age == NO_AGE else int(age)

    def bytes(self) -> bytes:
        row = self.rows.encode(b"p")
        assert row is not None
        return row


def obvious(spec: FeatureSpec, history: list[Heard], at_ms: int,
            specs: dict[str, FeatureSpec]) -> Value:
    """The value of a feature as of `at_ms`, given all that was ever heard."""
    if spec.kind == "ratio":
        parts = [specs[name] for name in spec.of]
        a, b = (obvious(part, history, at_ms, specs) for part in parts)
        stale = any(_is_stale(spec, _own(part, history), at_ms) for part in parts)
        return None if stale or a is None or not b else a / b
    own = _own(spec, history)
    return None if _is_stale(spec, own, at_ms) else _OF_KIND[spec.kind](spec, own, at_ms)


def _own(spec: FeatureSpec, history: list[Heard]) -> list[Heard]:
    return [e for e in history if spec.matches(e.event_type)
            and (not spec.where or _text(e, spec.where[0]) == spec.where[1])
            and (not spec.number or _number(e, spec.number) is not None)
            and (not spec.text_of or _text(e, spec.text_of))]


def _text(e: Heard, field: str) -> str:
    value = e.told(field)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else ""


def _number(e: Heard, source: str) -> Any:
    value = e.told(source)
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e12
    return value if is_one else None


def _is_stale(spec: FeatureSpec, own: list[Heard], at_ms: int) -> bool:
    return bool(spec.max_age_ms and own
                and at_ms - max(e.event_ms for e in own) > spec.max_age_ms)


def _inside(spec: FeatureSpec, own: list[Heard], at_ms: int) -> list[Heard]:
    """Events in the tiles of the window that ends at `at_ms`; what lies behind the horizon of the
    newest event of the feature has been forgotten."""
    tile = tile_ms_of(spec.window_ms)
    tiles = -(-spec.window_ms // tile) + 1
    newest = max((e.event_ms // tile for e in own), default=0)
    now = at_ms // tile
    return [e for e in own if max(now, newest) - tiles < e.event_ms // tile <= now
            and now - tiles < e.event_ms // tile]


def _numbers(spec: FeatureSpec, events: list[Heard]) -> list[Any]:
    return [_number(e, spec.of[0]) for e in events]


def _count(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float:
    return float(len(_inside(spec, own, at_ms)))


def _sum(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float:
    return sum(_numbers(spec, _inside(spec, own, at_ms)))


def _mean(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float | None:
    found = _numbers(spec, _inside(spec, own, at_ms))
    return sum(found) / len(found) if found else None


def _variance(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float | None:
    found = _numbers(spec, _inside(spec, own, at_ms))
    return float(np.var(found)) if found else None


def _least(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float | None:
    return min(_numbers(spec, _inside(spec, own, at_ms)), default=None)


def _most(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float | None:
    return max(_numbers(spec, _inside(spec, own, at_ms)), default=None)


def _rate(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float:
    return _count(spec, own, at_ms) * HOUR_MS / spec.window_ms


def _distinct(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float:
    newest: dict[str, int] = {}
    for e in own:
        text = _text(e, (spec.of or ("item_id",))[0])
        if text:
            newest[text] = max(e.event_ms, newest.get(text, 0))
    return float(sum(at_ms - spec.window_ms < ms <= at_ms for ms in newest.values()))


def _decay(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float:
    tile = DECAY_HALF_LIVES * spec.half_life_ms
    newest = max((e.event_ms // tile for e in own), default=0)
    now = at_ms // tile
    kept = [e for e in own if max(newest, now) - DECAY_TILES < e.event_ms // tile <= now]
    return sum((_number(e, spec.of[0]) if spec.of else 1.0)
               * 2.0 ** ((e.event_ms - at_ms) / spec.half_life_ms) for e in kept)


def _edge(own: list[Heard], spec: FeatureSpec, *, last: bool) -> float | None:
    ranked = sorted(own, key=lambda e: (e.event_ms, e.offset))
    return float(_number(ranked[-1 if last else 0], spec.of[0])) if ranked else None


def _gap(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float | None:
    times = [e.event_ms for e in own]
    return (max(times) - min(times)) / (len(times) - 1) / DAY_MS if len(times) > 1 else None


def _sessions(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float:
    """Slots of a quarter of the gap; with none between them for a whole gap, a session ends."""
    slot_ms, slots = spec.session_slots()
    now, newest = at_ms // slot_ms, max((e.event_ms // slot_ms for e in own), default=0)
    kept = {e.event_ms // slot_ms for e in own
            if e.event_ms // slot_ms // 64 > newest // 64 - (slots + 62) // 64 - 1}
    inside = sorted(slot for slot in kept if now - slots < slot <= now)
    return float(sum(not n or slot - inside[n - 1] > 4 for n, slot in enumerate(inside)))


def _session(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float | None:
    """Back from the newest event to the first pause of a gap."""
    ranked = sorted(own, key=lambda e: e.event_ms)
    oldest = ranked[-1].event_ms // spec.gap_ms - SESSION_TILES if ranked else 0
    inside: list[Heard] = []
    for e in reversed(ranked):
        if (inside and inside[-1].event_ms - e.event_ms >= spec.gap_ms) or (
                e.event_ms // spec.gap_ms <= oldest):
            break
        inside.append(e)
    if not inside:
        return None
    if spec.of == ("length",):
        return (inside[0].event_ms - inside[-1].event_ms) / MINUTE_MS
    return float(len(inside)) if spec.of == ("events",) else sum(_numbers(spec, inside))


def _rfm(spec: FeatureSpec, own: list[Heard], at_ms: int) -> float | None:
    if not own:
        return None
    age_ms = max(0, at_ms - max(e.event_ms for e in own))
    recency, frequency, money = spec.cuts
    return (100.0 * (5 - sum(age_ms > cut for cut in recency))
            + 10 * (1 + sum(_count(spec, own, at_ms) >= cut for cut in frequency))
            + 1 + sum(_sum(spec, own, at_ms) * 1e6 >= cut for cut in money))


def _texts(spec: FeatureSpec, e: Heard) -> list[str]:
    text = _text(e, spec.of[0])
    return [text] if text else []


def _ranked(spec: FeatureSpec, own: list[Heard], at_ms: int) -> list[str]:
    """Most frequent first, of equal ones by name; over five tiles of a quarter of the window."""
    tile = spec.window_ms // 4
    now, newest = at_ms // tile, max((e.event_ms // tile for e in own), default=0)
    found = Counter(text for e in own for text in _texts(spec, e)
                    if max(now, newest) - 5 < e.event_ms // tile <= now)
    return sorted(found, key=lambda text: (-found[text], text))[:spec.most]


def _newest(spec: FeatureSpec, own: list[Heard], at_ms: int) -> list[str] | None:
    newest: dict[str, int] = {}
    for e in own:
        for text in _texts(spec, e):
            newest[text] = max(e.event_ms, newest.get(text, 0))
    kept = sorted(newest, key=lambda text: (-newest[text], text))[:spec.most]
    return [text for text in kept if at_ms - spec.window_ms < newest[text] <= at_ms] or None


_OF_KIND: dict[str, Any] = {
    "most_frequent": lambda spec, own, at_ms: (_ranked(spec, own, at_ms) or [None])[0],
    "top_k": lambda spec, own, at_ms: _ranked(spec, own, at_ms) or None, "unique_list": _newest,
    "sessions": _sessions, "session": _session, "rfm": _rfm,
    "count": _count, "sum": _sum, "mean": _mean, "variance": _variance, "min": _least,
    "max": _most, "rate": _rate, "distinct": _distinct, "decay": _decay, "mean_gap": _gap,
    "lifetime": lambda spec, own, at_ms: float(len(own)),
    "since": lambda spec, own, at_ms: (
        max(0.0, at_ms - max(e.event_ms for e in own)) / DAY_MS if own else None),
    "first": lambda spec, own, at_ms: _edge(own, spec, last=False),
    "last": lambda spec, own, at_ms: _edge(own, spec, last=True),
}
