"""Learning clusters: kinds of people out of what is known of many, by k-means.

    features of people ──▶ axes ──▶ seeded k-means ──▶ names in plain words, sizes ──▶ a file

The same people and the same seed give the same file. Nothing here knows who a person is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streams.choose.features.clusters import Axis, Clusters, no_axis
from streams.choose.features.spec import FeatureSpec
from streams.kernel.errors import KairosError

Matrix = npt.NDArray[np.float64]
STARTS, ROUNDS_MAX = 8, 100
SILHOUETTE_PEOPLE = 2_000
KNOWN_MIN = 0.05          # a feature that fewer people have is no axis
_TELLING = 0.5            # standard deviations from the mean from which on an axis gives a name
_WINDOW = re.compile(r"_(\d+[mhd]|lifetime)$")


@dataclass(frozen=True, slots=True)
class Learned:
    """`people`: how many were nearest to each cluster; `silhouette` in [-1, 1], of a sample.

    marks   of each cluster up to three features in which it is furthest from everybody
    """

    clusters: Clusters
    people: tuple[int, ...]
    silhouette: float
    marks: tuple[tuple[str, ...], ...]


def learn(values: Mapping[str, Sequence[float | None]], specs: Mapping[str, FeatureSpec], *,
          clusters: int, seed: int) -> Learned:
    """Kinds of people. `values`: of each feature one per person, None where there is none.

    Raises KairosError when there are too few people, or nothing in which they differ.
    """
    people = len(next(iter(values.values()), ()))
    if people < 10 * clusters:
        raise KairosError(f"{people} people are too few for {clusters} clusters",
                          f"ask for fewer, or wait for {10 * clusters} people")
    axes = [axis for name in values if name in specs
            and (axis := _axis(specs[name], specs, values[name])) is not None]
    if not axes:
        raise KairosError("there is no feature in which these people differ",
                          "`kairos report` says which features are known of how many")
    at = np.array([[axis.place(value, in_steps=specs[axis.feature].kind == "since")
                    for value in values[axis.feature]] for axis in axes]).T
    if len(np.unique(at, axis=0)) < clusters:
        raise KairosError(f"these people are of fewer than {clusters} kinds",
                          "ask for fewer clusters")
    dice = np.random.default_rng(seed)
    found = min((_lloyd(at, _spread_out(at, clusters, dice)) for _ in range(STARTS)),
                key=lambda each: each[1])[0]
    sizes = np.bincount(_nearest(at, found), minlength=clusters)
    order = sorted(range(clusters), key=lambda c: (-int(sizes[c]), found[c].tolist()))
    found = np.round(found[order], 4)
    own = _nearest(at, found)
    apart = (found - at.mean(axis=0)) / at.std(axis=0)
    names = _names(apart, [specs[axis.feature] for axis in axes])
    return Learned(
        Clusters(tuple(axes), tuple((name, tuple(map(float, row)))
                                    for name, row in zip(names, found, strict=True))),
        tuple(np.bincount(own, minlength=clusters).tolist()), _silhouette(at, own, dice),
        tuple(_marks(off, [axis.feature for axis in axes]) for off in apart))


def _marks(off: npt.NDArray[np.float64], features: Sequence[str]) -> tuple[str, ...]:
    far = sorted(range(len(features)), key=lambda a: (-abs(off[a]), features[a]))[:3]
    return tuple(features[a] for a in far if abs(off[a]) >= _TELLING)


def _axis(spec: FeatureSpec, specs: Mapping[str, FeatureSpec],
          values: Sequence[float | None]) -> Axis | None:
    """The axis of a feature; None when it cannot be one, or tells nothing apart."""
    if spec.purpose == "measure" or no_axis(spec, specs):
        return None
    known = np.array([value for value in values if value is not None])
    if len(known) < KNOWN_MIN * len(values):
        return None
    low, high = (round(float(end), 4) for end in np.quantile(known, (0.01, 0.99)))
    plain = Axis(spec.name, low, high, 0.0, 1.0)
    logs = np.array([plain.place(float(value), in_steps=spec.kind == "since") for value in known])
    quarter, center, three = np.quantile(logs, (0.25, 0.5, 0.75))
    scale = (three - quarter) / 1.349 or logs.std()
    if scale < 1e-6:
        return None
    return Axis(spec.name, low, high, round(float(center), 4), max(round(float(scale), 4), 1e-4))


def _distances(at: Matrix, centroids: Matrix) -> Matrix:
    return np.stack([((at - each) ** 2).sum(axis=1) for each in centroids], axis=1)


def _nearest(at: Matrix, centroids: Matrix) -> npt.NDArray[np.int64]:
    return _distances(at, centroids).argmin(axis=1)


def _spread_out(at: Matrix, count: int, dice: np.random.Generator) -> Matrix:
    """k-means++ (Arthur & Vassilvitskii 2007): each start is drawn by its squared distance."""
    chosen = at[[int(dice.integers(len(at)))]]
    while len(chosen) < count:
        far = _distances(at, chosen).min(axis=1)
        chosen = np.vstack([chosen, at[dice.choice(len(at), p=far / far.sum())]])
    return chosen


def _lloyd(at: Matrix, centroids: Matrix) -> tuple[Matrix, float]:
    """(centroids, sum of squared distances). One that nobody is nearest to moves to whoever is
    furthest from theirs."""
    for _ in range(ROUNDS_MAX):
        far = _distances(at, centroids)
        own = far.argmin(axis=1)
        moved = np.array([at[own == c].mean(axis=0) if (own == c).any()
                          else at[far.min(axis=1).argmax()] for c in range(len(centroids))])
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids, float(_distances(at, centroids).min(axis=1).sum())


def _silhouette(at: Matrix, own: npt.NDArray[np.int64], dice: np.random.Generator) -> float:
    """Mean silhouette (Rousseeuw 1987) of a sample; somebody alone in a cluster counts as 0."""
    if len(at) > SILHOUETTE_PEOPLE:
        some = dice.choice(len(at), SILHOUETTE_PEOPLE, replace=False)
        at, own = at[some], own[some]
    total, kinds = 0.0, np.unique(own)
    sizes = {int(kind): int((own == kind).sum()) for kind in kinds}
    for person, kind in zip(at, own.tolist(), strict=True):
        far = np.sqrt(((at - person) ** 2).sum(axis=1))
        if sizes[kind] == 1 or len(kinds) == 1:
            continue
        inside = far[own == kind].sum() / (sizes[kind] - 1)
        outside = min(far[own == other].mean() for other in kinds if other != kind)
        total += (outside - inside) / max(outside, inside, 1e-12)
    return round(total / len(at), 3)


def _names(apart: Matrix, specs: Sequence[FeatureSpec]) -> list[str]:
    """Each by the two features in which it is furthest from everybody, in plain words.

    apart   how far each cluster is from everybody's mean, in standard deviations
    """
    names: list[str] = []
    for off in apart:
        words: list[str] = []
        for a in sorted(range(len(specs)), key=lambda a: (-abs(off[a]), specs[a].name)):
            word = _word(specs[a], bool(off[a] > 0))
            about = word.split("_", 1)[1]
            if abs(off[a]) >= _TELLING and len(words) < 2 and not any(
                    about == other.split("_", 1)[1] for other in words):
                words.append(word)
        name = "_".join(words)[:50].rstrip("_") or "average"
        free = (f"{name}__{number}" for number in range(2, len(apart) + 2))
        names.append(name if name not in names else next(
            each for each in free if each not in names))
    return names


def _word(spec: FeatureSpec, above: bool) -> str:
    about = _WINDOW.sub("", spec.name)
    if spec.kind == "since":
        about = about.removeprefix("days_since_").removeprefix("since_")
        return f"old_{about}" if above else f"recent_{about}"
    if spec.kind in ("count", "lifetime", "distinct", "rate"):
        return f"many_{about}" if above else f"few_{about}"
    return f"high_{about}" if above else f"low_{about}"


def file_of(found: Learned, *, tenant: str, version: int, learned: str) -> str:
    """clusters.yml. `learned`: when, as people read it."""
    lines = ["# Written by `kairos segments learn`. Names may be changed, numbers are learned.",
             f"version: {version}", f"learned: {json.dumps(learned)}",
             f"tenant: {json.dumps(tenant)}", f"people: {sum(found.people)}",
             f"silhouette: {found.silhouette}", "features:"]
    lines += [f"  {axis.feature}: {{low: {_figure(axis.low)}, high: {_figure(axis.high)}, "
              f"center: {_figure(axis.center)}, scale: {_figure(axis.scale)}}}"
              for axis in found.clusters.axes]
    lines.append("clusters:")
    lines += [f"  {name}: {{people: {people}, at: [{', '.join(map(_figure, at))}]}}"
              for (name, at), people in zip(found.clusters.centroids, found.people, strict=True)]
    return "\n".join(lines) + "\n"


def _figure(number: float) -> str:
    """Without an exponent, which YAML takes for text."""
    return f"{number:.4f}".rstrip("0").rstrip(".")


def version_of(path: Path) -> int:
    """What a clusters.yml says of itself. Raises KairosError when it does not say it."""
    said = re.search(r"^version: (\d+)\s*$", path.read_text("utf-8"), re.MULTILINE)
    if said is None:
        raise KairosError(f"{path} is there and is no clusters.yml", "move it away, or say --out")
    return int(said[1])
