"""The declared features and segments, loaded and checked once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from streams.choose.features import FeatureSpec, Layout
from streams.choose.segments import SegmentSpec
from streams.kernel.errors import KairosError
from streams.kernel.moments import parse_span
from streams.playbooks.conditions import parse_condition

HERE = Path(__file__).resolve().parent
_KINDS = {"count", "sum", "distinct", "since", "lifetime", "mean_gap"}
_KEYS = {"event", "kind", "window", "max_age"}


def _read(name: str) -> dict[str, Any]:
    loaded = YAML(typ="safe").load(HERE / name)
    assert isinstance(loaded, dict)
    return loaded


def _feature(name: str, body: dict[str, Any]) -> FeatureSpec:
    where = f"features.yml: {name}"
    unknown = set(body) - _KEYS
    if unknown:
        raise KairosError(f"{where}: unknown key {sorted(unknown)[0]!r}",
                          f"a feature has {', '.join(sorted(_KEYS))}")
    if body.get("kind") not in _KINDS:
        raise KairosError(f"{where}: kind {body.get('kind')!r}", f"one of {sorted(_KINDS)}")
    windowed = body["kind"] in ("count", "sum", "distinct")
    if windowed != ("window" in body):
        raise KairosError(f"{where}: kind {body['kind']} "
                          f"{'needs' if windowed else 'takes no'} window", "see the file's head")
    return FeatureSpec(name, body["event"], body["kind"],
                       parse_span(body["window"]) if windowed else 0,
                       parse_span(body["max_age"]) if "max_age" in body else 0)


@cache
def layout() -> Layout:
    """The row layout compiled from features.yml."""
    declared = _read("features.yml")
    return Layout(tuple(_feature(name, body) for name, body in declared["features"].items()),
                  int(declared["version"]))


@cache
def segments() -> tuple[SegmentSpec, ...]:
    """The segments of segments.yml, in their order."""
    known = feature_names()
    return tuple(SegmentSpec(name, parse_condition(body, features=known, segments=set()))
                 for name, body in _read("segments.yml")["segments"].items())


def feature_names() -> set[str]:
    return {spec.name for spec in layout().specs}


def segment_names() -> set[str]:
    return set(_read("segments.yml")["segments"])
