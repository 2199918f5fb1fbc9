"""Clusters: kinds of people, learned once and kept as centroids; everybody is in the nearest one.

Each feature is laid on an axis of its own: values beyond the range seen while learning count as its
ends, then sign(v) * log(1 + |v|), less the median, by the spread. A feature without a value stands
at the median. Times since the last event go in steps (RUNGS), so that the moment at which time
alone moves a person is known beforehand. Values that fade without steps (decays) are no axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streams.choose.features.reading import read
from streams.choose.features.spec import OF_TEXTS, FeatureSpec
from streams.engine.compiling import compiled

# Days; a time since counts as the highest rung that it has reached.
RUNGS = (0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 14.0, 21.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0,
         270.0, 365.0, 540.0, 730.0)
_AXIS = 6                  # numbers per axis when packed: feature, low, high, center, scale, steps


@dataclass(frozen=True, slots=True)
class Axis:
    """One feature. `low`, `high`: its range, as the feature is; `center`, `scale` (above 0): of the
    logarithms."""

    feature: str
    low: float
    high: float
    center: float
    scale: float

    def place(self, value: float | None, *, in_steps: bool) -> float:
        """Where `value` stands on this axis."""
        if value is None:
            return 0.0
        if in_steps:
            value = max((rung for rung in RUNGS if rung <= value), default=0.0)
        value = min(max(value, self.low), self.high)
        return (math.copysign(math.log1p(abs(value)), value) - self.center) / self.scale


@dataclass(frozen=True, slots=True)
class Clusters:
    """`centroids`: (name, place on every axis), in the order that breaks ties."""

    axes: tuple[Axis, ...]
    centroids: tuple[tuple[str, tuple[float, ...]], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.centroids)

    def nearest(self, feature: Callable[[str], float | None],
                specs: Mapping[str, FeatureSpec]) -> str:
        """The cluster of a person with these features."""
        at = [axis.place(feature(axis.feature), in_steps=specs[axis.feature].kind == "since")
              for axis in self.axes]
        return min(self.centroids, key=lambda each: sum(
            (a - b) * (a - b) for a, b in zip(at, each[1], strict=True)))[0]

    def packed(self, by_name: Mapping[str, int], specs: tuple[FeatureSpec, ...]) -> list[float]:
        """For compiled code: how many centroids and axes, the axes, the centroids; and
        room for the distance to each."""
        numbers = [float(len(self.centroids)), float(len(self.axes))]
        for axis in self.axes:
            f = by_name[axis.feature]
            numbers += [float(f), axis.low, axis.high, axis.center, axis.scale,
                        float(specs[f].kind == "since")]
        for _, places in self.centroids:
            numbers += places
        return numbers + [0.0] * len(self.centroids)


def no_axis(spec: FeatureSpec, specs: Mapping[str, FeatureSpec]) -> str:
    """Why a feature cannot be an axis, or ''."""
    kinds = {spec.kind} if spec.kind != "ratio" else {specs[part].kind for part in spec.of}
    if kinds & OF_TEXTS:
        return "a text is no number"
    if "rfm" in kinds:
        return "the grades of an rfm are three, not one"
    if "decay" in kinds:
        return "a decay changes at every moment"
    if spec.kind == "ratio" and "since" in kinds:
        return "a ratio of a time since changes at every moment"
    return ""


@compiled
def _place(numbers, k, rd, u8, u16, i64, slot, at_ms):
    value, has, _ = read(rd, u8, u16, i64, slot, int(numbers[k]), at_ms)
    if not has:
        return 0.0
    if numbers[k + 5] > 0.0:
        reached = 0.0
        for rung in RUNGS:
            if rung <= value:
                reached = rung
        value = reached
    value = min(max(value, numbers[k + 1]), numbers[k + 2])
    return (math.copysign(math.log1p(abs(value)), value) - numbers[k + 3]) / numbers[k + 4]


@compiled
def nearest(numbers, at, rd, u8, u16, i64, slot, at_ms):
    """Which cluster of those packed in `numbers[at:]` the row is nearest to."""
    clusters, axes = int(numbers[at]), int(numbers[at + 1])
    base = at + 2 + _AXIS * axes
    sums = base + clusters * axes              # room for the distances: compiled code makes none
    numbers[sums:sums + clusters] = 0.0
    for a in range(axes):
        place = _place(numbers, at + 2 + _AXIS * a, rd, u8, u16, i64, slot, at_ms)
        for c in range(clusters):
            off = place - numbers[base + c * axes + a]
            numbers[sums + c] += off * off
    found = 0
    for c in range(1, clusters):
        if numbers[sums + c] < numbers[sums + found]:
            found = c
    return found
