"""The declared features and segments: shipped ones, or those of a folder of your own, in YAML and
in Python (`choose.declaring`).

Read once, checked with file, line and remedy, compiled by `streams.choose.program`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from streams.choose.definitions import form
from streams.choose.definitions.sources import SHIPPED, Source, read_tree, sources, told
from streams.choose.entities.spec import ITEM, TELL_DEFAULT, EntitySpec
from streams.choose.features.clusters import Axis, Clusters
from streams.choose.features.layout import SCALE
from streams.choose.features.lists import ListFault, PeopleList, read_list
from streams.choose.features.properties import MILLION
from streams.choose.features.spec import (
    LISTED,
    LISTED_MAX,
    OF_TEXTS,
    PROFILE,
    WINDOW_MS_MAX,
    FeatureSpec,
)
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec, parse_rule
from streams.choose.triggers.interests import rhythms
from streams.kernel.errors import DefinitionError
from streams.kernel.moments import parse_span
from streams.playbooks.conditions import Asked, names_in
from streams.playbooks.shapes import Fault
from streams.playbooks.source import Spot

STATED = frozenset({"count", "lifetime"})
LEARNED = "clusters.yml"        # beside them, when kinds of people were learned
LISTS, LIST_SUFFIX = "lists", ".txt"        # a folder beside them, a file per list


@dataclass(frozen=True)
class Definitions:
    """`features` in the order of the file; `segments` most telling first.

    entities   features of things, by what the things are
    versions   of features and of segments, as their files say themselves: of several the sum,
               which goes up with each of them
    """

    features: tuple[FeatureSpec, ...]
    segments: tuple[SegmentSpec, ...]
    versions: tuple[int, int] = (0, 0)
    entities: tuple[EntitySpec, ...] = ()

    @property
    def feature_names(self) -> dict[str, str]:
        """{name: what its value is}, see `FeatureSpec.value_is`."""
        return {spec.name: spec.value_is for spec in self.features}

    @property
    def segment_names(self) -> set[str]:
        return {spec.name for spec in self.segments}

    @property
    def rhythms(self) -> set[str]:
        """Event types of which it is known how often somebody does them."""
        return set(rhythms(self.features))

    @property
    def figures(self) -> set[str]:
        """Features of items that a message may state: whole numbers that are exact."""
        return {spec.name for entity in self.entities if entity.name == ITEM
                for spec in entity.features if spec.kind in STATED}

    @property
    def summary(self) -> str:
        return (f"version {self.versions[0]} of {len(self.features)} features, "
                f"version {self.versions[1]} of {len(self.segments)} segments")


def load(folder: Path | None = None) -> Definitions:
    """The definitions in `folder` (features.yml, segments.yml, *.py); what is declared in none of
    them is the shipped one.

    Raises DefinitionError for the first fault; `check` lists them all.
    """
    found, faults = _load(folder or SHIPPED)
    if faults:
        raise faults[0]
    return found


def check(folder: Path | None = None) -> list[DefinitionError]:
    """Every fault of the definitions, in the order of files and lines."""
    return _load(folder or SHIPPED)[1]


@cache
def compiled(folder: Path | None = None) -> Program:
    """The definitions as a program. Raises DefinitionError."""
    found = load(folder)
    return Program(found.features, found.segments, entities=found.entities)


def _load(folder: Path) -> tuple[Definitions, list[DefinitionError]]:
    files = sources(folder)
    broken = [fault for file in files for fault in file.faults]
    declared, entities, faults = _features(files)
    features = tuple(spec for spec in declared if spec.entity == PROFILE)
    clusters, between = (None, []) if broken or faults else _clusters(folder / LEARNED, features)
    lists, of_lists = _lists(folder / LISTS)
    between += of_lists
    # What a file that cannot be read would have declared is not missed in segments.
    segments, more = ((), []) if between or broken else _segments(
        files, {spec.name: spec.value_is for spec in features}, clusters, lists)
    versions = tuple(sum(int(cast(dict[str, Any], tree.plain())["version"])
                         for tree in trees if tree is not None)
                     for trees in zip(*((file.features, file.segments) for file in files),
                                      strict=True))
    return (Definitions(features, segments, (versions[0], versions[1]), entities),
            [*broken, *faults, *between, *more])


def _clusters(path: Path, features: tuple[FeatureSpec, ...],
              ) -> tuple[Clusters | None, list[DefinitionError]]:
    """The learned clusters; None where there are none."""
    if not path.exists():
        return None, []
    spot, faults = read_tree(path, form.CLUSTERS)
    if spot is None:
        return None, faults
    faults = told(path, form.cluster_faults(spot, {spec.name: spec for spec in features}))
    body = cast(dict[str, Any], spot.plain())
    axes = tuple(Axis(name, *(float(axis[key]) for key in ("low", "high", "center", "scale")))
                 for name, axis in body["features"].items())
    return Clusters(axes, tuple((name, tuple(map(float, each["at"])))
                                for name, each in body["clusters"].items())), faults


def _lists(folder: Path) -> tuple[dict[str, PeopleList], list[DefinitionError]]:
    """Every list in the folder, by its name; none where there is no folder."""
    found: dict[str, PeopleList] = {}
    faults: list[DefinitionError] = []
    for path in sorted(folder.glob(f"*{LIST_SUFFIX}")):
        try:
            found[path.stem] = read_list(path.stem, path.read_bytes())
        except ListFault as fault:
            faults.append(DefinitionError(str(path), fault.line, str(fault), fault.remedy))
        except OSError as fault:
            faults.append(DefinitionError(str(path), 1, f"cannot be read: {fault}",
                                          "make it a plain text file"))
    return found, faults


@dataclass(frozen=True, slots=True)
class _Said:
    """One name that a file declares: `whole` is what the file says of itself."""

    file: Source
    body: Spot
    whole: dict[str, Any]


def _said(files: Iterable[Source], what: str, most: int) -> tuple[dict[str, _Said],
                                                                   list[DefinitionError]]:
    """All that is declared of `what`, of every file in its order; each name once."""
    found: dict[str, _Said] = {}
    faults = []
    for file in files:
        tree = file.segments if what == "segments" else file.features
        parts = {} if tree is None else cast(dict[str, Spot], tree.mapping)
        whole = {} if tree is None else cast(dict[str, Any], tree.plain())
        bodies = cast(dict[str, Spot], parts[what].mapping) if what in parts else {}
        for name, body in bodies.items():
            first = found.setdefault(name, _Said(file, body, whole))
            if first.body is not body:
                faults.append(file.fault(Fault(
                    body.line, f"{what}.{name} is declared twice, first in {first.file.path}:"
                    f"{first.body.line}", "keep one of them")))
            elif len(found) == most + 1:
                faults.append(file.fault(Fault(
                    body.line, f"{what}.{name}: all files together declare more than {most} {what}",
                    "declare fewer")))
    return found, faults


def _features(files: list[Source]) -> tuple[tuple[FeatureSpec, ...], tuple[EntitySpec, ...],
                                            list[DefinitionError]]:
    said, faults = _said(files, "features", form.FEATURES_MAX)
    kept, more = _said(files, "entities", form.ENTITIES_MAX)
    faults += more
    if any(file.faults for file in files):
        return (), (), faults
    found: list[FeatureSpec] = []
    plain: dict[str, dict[str, str]] = {}
    for name, each in said.items():
        made = _feature(name, cast(dict[str, Any], each.body.plain()), each.whole)
        of_kin = plain.setdefault(made.entity, {})
        faults += told(each.file.path, [*form.meaning_faults(name, each.body, made, of_kin),
                                        *form.entity_faults(name, each.body, made, kept)])
        if made.kind != "ratio":
            of_kin[name] = made.value_is
        found.append(made)
    if faults:
        return tuple(found), (), faults
    entities = tuple(
        EntitySpec(name, keys["keep"], keys.get("tell", TELL_DEFAULT), own)
        for name, each in kept.items()
        for keys in [cast(dict[str, Any], each.body.plain())]
        if (own := tuple(spec for spec in found if spec.entity == name)))
    for entity in entities:
        one = kept[entity.name]
        faults += told(one.file.path, form.things_faults(one.body.line, entity))
    of_people = [spec for spec in found if spec.entity == PROFILE]
    lines = {name: each.body.line for name, each in said.items()}
    faults += [said[name].file.fault(fault) for name, fault in form.size_faults(lines, of_people)]
    return tuple(found), entities, faults


def _feature(name: str, body: dict[str, Any], whole: dict[str, Any]) -> FeatureSpec:
    of = body.get("of", ())
    if body["kind"] == "distinct" and of == "item_id":
        of = ()                 # what it is of anyhow
    where = tuple(body.get("where", {}).items())
    retention = body.get("retention", whole.get("retention"))
    return FeatureSpec(
        name, body.get("event", ""), body["kind"], _span(body, "window"), _span(body, "max_age"),
        (of,) if isinstance(of, str) else tuple(of), _span(body, "half_life"),
        where[0] if where else (), body.get("purpose", whole["purpose"]),
        parse_span(retention) if retention else WINDOW_MS_MAX, _span(body, "gap"), _cuts(body),
        _most(body), back_off=body.get("back_off", {}).get("below", 0),
        entity=body.get("entity", PROFILE), bestseller_from=float(body.get("bestseller_from", 0)))


def _most(body: dict[str, Any]) -> int:
    """How many texts are told of a feature that is made of texts."""
    if body["kind"] in LISTED_MAX:
        return int(body.get("most", LISTED))
    return int(body["kind"] in OF_TEXTS)


def _cuts(body: dict[str, Any]) -> tuple[tuple[int, ...], ...]:
    """Of rfm: recency in ms, frequency in events, money in the fixed point that `of` is kept in."""
    if body["kind"] != "rfm":
        return ()
    scale = SCALE.get(body.get("of", ""), MILLION)
    return (tuple(parse_span(span) for span in body.get("recency", ())),
            tuple(body.get("frequency", ())),
            tuple(round(number * scale) for number in body.get("money", ())))


def _span(body: dict[str, Any], key: str) -> int:
    return parse_span(body[key]) if key in body else 0


def _segments(files: list[Source], features: dict[str, str], clusters: Clusters | None,
              lists: Mapping[str, PeopleList],
              ) -> tuple[tuple[SegmentSpec, ...], list[DefinitionError]]:
    said, faults = _said(files, "segments", form.SEGMENTS_MAX)
    found: list[SegmentSpec] = []
    asked = Asked(() if clusters is None else clusters.names, lists)
    for name, each in said.items():
        try:
            rule = parse_rule(name, each.body.plain(), features=features,
                              segments={spec.name for spec in found}, asked=asked)
            found.append(SegmentSpec(name, rule, clusters if names_in(rule, "cluster") else None,
                                     tuple(lists[one] for one in sorted(names_in(rule, "list")))))
        except ValueError as fault:
            faults.append(each.file.fault(
                form.condition_fault(each.body.line, f"segments.{name}", fault)))
    return tuple(found), faults
