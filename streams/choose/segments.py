"""Segments: which groups a person just entered or left.

In       the person's features as of a moment, and the segments that they were in before it
Out      the set of segments; entering and leaving as changes
Keeps    the names of the segments the person is in
Refuses  nothing
Time     re-read after each event, and at the next moment at which time alone can change the answer
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from streams.choose.features.clusters import Clusters
from streams.choose.features.lists import PeopleList
from streams.choose.features.spec import FeatureSpec
from streams.playbooks.conditions import (
    NOTHING_KNOWN,
    Asked,
    Known,
    features_in,
    holds,
    parse_condition,
)
from streams.playbooks.model import Condition

OTHER = "other"
_MEANING_BYTES = 8


@dataclass(frozen=True, slots=True)
class SegmentSpec:
    """`clusters`: the learned ones, where the rule asks for any; `lists`: those it asks for."""

    name: str
    rule: Condition
    clusters: Clusters | None = None
    lists: tuple[PeopleList, ...] = ()


def parse_rule(name: str, body: Any, *, features: Collection[str] | None,
               segments: Collection[str] | None, asked: Asked) -> Condition:
    """The rule of the segment `name`: a condition, or with hysteresis {enter: C, stay: C}, which
    holds while `enter` does, and of whoever is in it already while `stay` does.

    For the other arguments see `parse_condition`. Raises ValueError likewise.
    """
    def parsed(part: Any) -> Condition:
        return parse_condition(part, features=features, segments=segments, asked=asked)

    if not isinstance(body, dict) or not body.keys() & {"enter", "stay"}:
        return parsed(body)
    if body.keys() != {"enter", "stay"}:
        raise ValueError("'enter' and 'stay' stand together and alone; write {enter: CONDITION, "
                         "stay: CONDITION}")
    return Condition("any", (parsed(body["enter"]), Condition("all", (
        Condition("was", name=name), parsed(body["stay"])))))


def members_of(specs: Iterable[SegmentSpec], feature: Callable[[str], float | None],
               known: Known = NOTHING_KNOWN,
               cluster: Callable[[Clusters], str] = lambda clusters: "") -> list[str]:
    """Names of the segments that hold, in the order they are declared.

    known     `was_in` tells the segments that they were in before
    cluster   which one the person is nearest to; `known` need not tell
    """
    found: list[str] = []
    for spec in specs:
        own = cluster(spec.clusters) if spec.clusters is not None else ""
        if holds(spec.rule, feature, found.__contains__, replace(known, in_cluster=own.__eq__)):
            found.append(spec.name)
    return found


def meaning_of(spec: SegmentSpec, features: Iterable[FeatureSpec]) -> str:
    """A short text that changes when the rule changes, or a feature that it asks for."""
    by_name = {feature.name: feature for feature in features}
    asked = features_in(spec.rule) | _axes_of(spec)
    asked |= {part for name in asked if by_name[name].kind == "ratio" for part in by_name[name].of}
    told = [by_name[name] for name in sorted(asked)]
    said = repr((spec.rule, told, *([spec.clusters] if spec.clusters else ()),
                 *((each.name, each.digest) for each in spec.lists)))
    return hashlib.blake2b(said.encode(), digest_size=_MEANING_BYTES).hexdigest()


def cell_of(members: list[str]) -> str:
    """The policy cell of a person: the first segment that holds, or 'other'."""
    return members[0] if members else OTHER


def _axes_of(spec: SegmentSpec) -> set[str]:
    return {axis.feature for axis in spec.clusters.axes} if spec.clusters is not None else set()
