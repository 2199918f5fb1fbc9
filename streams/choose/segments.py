"""Segments: which groups a person just entered or left.

In       the person's features as of a moment
Out      the set of segments; entering and leaving as changes
Keeps    the names of the segments the person is in
Refuses  nothing
Time     re-read after each event, and at the next moment at which time alone can change the answer
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from streams.choose.features.clusters import Clusters
from streams.choose.features.lists import PeopleList
from streams.choose.features.spec import FeatureSpec
from streams.playbooks.conditions import NOTHING_KNOWN, Known, features_in, holds
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


def members_of(specs: Iterable[SegmentSpec], feature: Callable[[str], float | None],
               known: Known = NOTHING_KNOWN,
               cluster: Callable[[Clusters], str] = lambda clusters: "") -> list[str]:
    """Names of the segments that hold, in the order they are declared.

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


def features_of(specs: Iterable[SegmentSpec]) -> set[str]:
    """All features that decide about membership."""
    return set().union(*(features_in(spec.rule) | _axes_of(spec) for spec in specs))


def _axes_of(spec: SegmentSpec) -> set[str]:
    return {axis.feature for axis in spec.clusters.axes} if spec.clusters is not None else set()


def thresholds_of(specs: Iterable[SegmentSpec]) -> dict[str, tuple[float, ...]]:
    """Per feature the numbers it is compared with: where a value may cross by time alone."""
    found: dict[str, set[float]] = {}

    def walk(condition: Condition) -> None:
        if condition.op == "feature":
            found.setdefault(condition.name, set()).add(condition.number)
        for part in condition.parts:
            walk(part)

    for spec in specs:
        walk(spec.rule)
    return {name: tuple(sorted(numbers)) for name, numbers in found.items()}
