"""Backing: what groups say of the features that may lean on them, for a decision's record.

Read from the rows of all partitions (`pooling`), as of the decision's moment. Small groups say
nothing, nor does a group whose own count of a feature is not whole yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.choose.entities.asking import Things
from streams.choose.features.backing_off import (
    GLOBAL,
    PROFILE,
    SEGMENT,
    Level,
    evidence,
    lean,
)
from streams.choose.features.layout import SINCE
from streams.choose.features.spec import PER_HEAD, FeatureSpec
from streams.choose.pooling import Pools
from streams.choose.program import Program
from streams.choose.tables import Tables
from streams.engine.rows import Rows
from streams.kernel.side_inputs import SideInputs

_PLACES: Final = 6


class Backing:
    """`members_min`: groups of fewer people say nothing. `things`: likewise of items and so on."""

    def __init__(self, program: Program, side: SideInputs, *, members_min: int) -> None:
        self._program, self._side, self._members_min = program, side, members_min
        self._pools = Pools(program.groups, side)
        self.things = Things(program.entities, side, people_min=members_min)
        self._leaning = [spec for spec in program.people.specs if spec.back_off]

    @property
    def is_asked(self) -> bool:
        """Does any feature lean on groups?"""
        return bool(self._leaning)

    def usable(self, tenant: str, segments: Sequence[str]) -> list[str]:
        """Those of a person's segments that are large enough over all partitions."""
        return [name for name in segments if self._is_large(tenant, name)]

    def _is_large(self, tenant: str, name: str) -> bool:
        return self._side.members(tenant, name) >= self._members_min

    def add(self, tables: Tables, slot: int, tenant: str, at_ms: int, segments: Sequence[str],
            features: dict[str, dict[str, Any]]) -> None:
        """Note in a snapshot of the person in `slot` what each leaning feature rests on.

        segments   the person's usable ones; the most telling one is asked
        features   the snapshot; {"back_off": {...}} is added to entries, see docs/features.md
        """
        groups: list[tuple[str, dict[str, Level]]] | None = None
        for spec in self._leaning:
            entry = features[spec.name]
            own = Level(PROFILE, entry["value"], self._events(tables.people, slot, spec, at_ms))
            found: dict[str, Any] = {"events": own.events, "below": spec.back_off}
            levels = [own]
            if own.value is None or own.events < spec.back_off:
                if groups is None:
                    groups = self._groups(tables, tenant, at_ms, segments)
                for level, known in groups:
                    levels.append(known[spec.name])
                    found[level] = _told(known[spec.name])
            used, found["level"] = lean(spec.back_off, levels)
            found["used"] = None if used is None else round(used, _PLACES)
            entry["back_off"] = found

    def _groups(self, tables: Tables, tenant: str, at_ms: int, segments: Sequence[str],
                ) -> list[tuple[str, dict[str, Level]]]:
        """(level, what it knows of each leaning feature), segment first."""
        asked = [(SEGMENT, name) for name in segments[:1]]
        if self._is_large(tenant, ""):
            asked.append((GLOBAL, ""))
        found = []
        for level, name in asked:
            pooled = self._pools.slot((tenant, "segment", name))
            if pooled is not None:
                found.append((level, self._levels(tables, level, tenant, name, pooled, at_ms)))
        return found

    def _levels(self, tables: Tables, level: str, tenant: str, name: str, pooled: int, at_ms: int,
                ) -> dict[str, Level]:
        rows, people = self._pools.rows, self._side.members(tenant, name)
        read = self._program.snapshot(_Covers(tables, tenant, name), rows, pooled, at_ms)
        return {spec.name: Level(level, _per_head(spec, read[spec.name], people),
                                 self._events(rows, pooled, spec, at_ms), people, name)
                for spec in self._leaning}

    def _events(self, rows: Rows, slot: int, spec: FeatureSpec, at_ms: int) -> int:
        return int(evidence(self._program.reads_of(rows), rows.views.i64, slot,
                            self._program.people.by_name[spec.name], at_ms))


class _Covers:
    """Since when a group's features count: cells began together everywhere; a row says its own."""

    def __init__(self, tables: Tables, tenant: str, segment: str) -> None:
        self._tables, self._group = tables, (tenant, segment)

    def covers(self, rows: Rows, slot: int) -> Mapping[int, int]:
        return self._tables.covers_group(*self._group, int(rows.views.i64[slot, SINCE]))


def _per_head(spec: FeatureSpec, read: Mapping[str, Any], people: int) -> float | None:
    value = read["value"]
    if value is None or "since_ms" in read or not people:
        return None
    return float(value) / people if spec.kind in PER_HEAD else float(value)


def _told(level: Level) -> dict[str, Any]:
    named = {"name": level.name} if level.name else {}
    value = None if level.value is None else round(level.value, _PLACES)
    return {**named, "value": value, "events": level.events, "people": level.people}
