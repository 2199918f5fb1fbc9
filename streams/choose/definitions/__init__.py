"""The declared features and segments: shipped ones, or those of a folder of your own.

Read once, checked with file, line and remedy, compiled by `streams.choose.program`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from streams.choose.definitions import form
from streams.choose.entities.spec import TELL_DEFAULT, EntitySpec
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
from streams.choose.segments import SegmentSpec
from streams.kernel.errors import DefinitionError
from streams.kernel.moments import parse_span
from streams.playbooks.conditions import Asked, names_in, parse_condition
from streams.playbooks.shapes import Fault
from streams.playbooks.source import SourceFault, Spot, read

SHIPPED = Path(__file__).resolve().parent
FILES = ("features.yml", "segments.yml")
LEARNED = "clusters.yml"        # beside them, when kinds of people were learned
LISTS, LIST_SUFFIX = "lists", ".txt"        # a folder beside them, a file per list


@dataclass(frozen=True)
class Definitions:
    """`features` in the order of the file; `segments` most telling first.

    entities   features of things, by what the things are
    versions   of features.yml and of segments.yml, as these say themselves
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
    def summary(self) -> str:
        return (f"version {self.versions[0]} of {len(self.features)} features, "
                f"version {self.versions[1]} of {len(self.segments)} segments")


def load(folder: Path | None = None) -> Definitions:
    """The definitions in `folder` (features.yml, segments.yml); what it lacks is the shipped one.

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
    if not any((folder / name).is_file() for name in FILES):
        return Definitions((), ()), [DefinitionError(
            str(folder), 1, f"no folder with {' or '.join(FILES)}",
            "KAIROS_DEFINITIONS names such a folder; leave it empty for the shipped definitions")]
    paths = [_file(folder, name) for name in FILES]
    (declared, entities, faults), versions = _features(paths[0]), tuple(map(_version, paths))
    features = tuple(spec for spec in declared if spec.entity == PROFILE)
    clusters, between = (None, []) if faults else _clusters(folder / LEARNED, features)
    lists, of_lists = _lists(folder / LISTS)
    between += of_lists
    segments, more = ((), []) if between else _segments(
        paths[1], {spec.name: spec.value_is for spec in features}, clusters, lists)
    return (Definitions(features, segments, (versions[0], versions[1]), entities),
            [*faults, *between, *more])


def _clusters(path: Path, features: tuple[FeatureSpec, ...],
              ) -> tuple[Clusters | None, list[DefinitionError]]:
    """The learned clusters; None where there are none."""
    if not path.exists():
        return None, []
    spot, faults = _read(path, form.CLUSTERS)
    if spot is None:
        return None, faults
    faults = _told(path, form.cluster_faults(spot, {spec.name: spec for spec in features}))
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


def _version(path: Path) -> int:
    """What the file says of itself; 0 when it cannot be read, of which others tell."""
    spot, faults = _read(path, form.FEATURES if path.name == FILES[0] else form.SEGMENTS)
    return 0 if spot is None or faults else int(cast(dict[str, Any], spot.plain())["version"])


def _file(folder: Path, name: str) -> Path:
    own = folder / name
    return own if own.exists() else SHIPPED / name


def _read(path: Path, shape: Any) -> tuple[Spot | None, list[DefinitionError]]:
    try:
        spot = read(path.read_text("utf-8"))
    except SourceFault as fault:
        return None, [DefinitionError(str(path), fault.line, fault.fault, fault.remedy)]
    except (OSError, UnicodeDecodeError) as fault:
        return None, [DefinitionError(str(path), 1, f"cannot be read: {fault}",
                                      "save it as plain UTF-8 text")]
    faults = _told(path, shape.faults(spot, ""))
    return (None if faults else spot), faults


def _told(path: Path, faults: Iterable[Fault]) -> list[DefinitionError]:
    return [DefinitionError(str(path), f.line, f.fault, f.remedy)
            for f in sorted(faults, key=lambda f: f.line)]


def _features(path: Path) -> tuple[tuple[FeatureSpec, ...], tuple[EntitySpec, ...],
                                   list[DefinitionError]]:
    spot, faults = _read(path, form.FEATURES)
    if spot is None:
        return (), (), faults
    whole = cast(dict[str, Any], spot.plain())
    bodies = cast(dict[str, Spot], cast(dict[str, Spot], spot.mapping)["features"].mapping)
    found: list[FeatureSpec] = []
    told: list[Fault] = []
    plain: dict[str, dict[str, str]] = {}
    for name, body in bodies.items():
        made = _feature(name, cast(dict[str, Any], body.plain()), whole)
        of_kin = plain.setdefault(made.entity, {})
        told += form.meaning_faults(name, body, made, of_kin)
        told += form.entity_faults(name, body, made, whole.get("entities", {}))
        if made.kind != "ratio":
            of_kin[name] = made.value_is
        found.append(made)
    entities = () if told else tuple(
        EntitySpec(name, kept["keep"], kept.get("tell", TELL_DEFAULT), own)
        for name, kept in whole.get("entities", {}).items()
        if (own := tuple(spec for spec in found if spec.entity == name)))
    told += form.things_faults(spot, entities)
    of_people = [spec for spec in found if spec.entity == PROFILE]
    return tuple(found), entities, _told(path, told or form.size_faults(bodies, of_people))


def _feature(name: str, body: dict[str, Any], whole: dict[str, Any]) -> FeatureSpec:
    of = body.get("of", ())
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


def _segments(path: Path, features: dict[str, str], clusters: Clusters | None,
              lists: Mapping[str, PeopleList],
              ) -> tuple[tuple[SegmentSpec, ...], list[DefinitionError]]:
    spot, faults = _read(path, form.SEGMENTS)
    if spot is None:
        return (), faults
    bodies = cast(dict[str, Spot], cast(dict[str, Spot], spot.mapping)["segments"].mapping)
    found: list[SegmentSpec] = []
    asked = Asked(() if clusters is None else clusters.names, lists)
    for name, body in bodies.items():
        try:
            rule = parse_condition(body.plain(), features=features,
                                   segments={spec.name for spec in found}, asked=asked)
            found.append(SegmentSpec(name, rule, clusters if names_in(rule, "cluster") else None,
                                     tuple(lists[one] for one in sorted(names_in(rule, "list")))))
        except ValueError as fault:
            faults += _told(path, [form.condition_fault(body.line, f"segments.{name}", fault)])
    return tuple(found), faults
