"""The form of features.yml and segments.yml: keys, ranges, and what each takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from streams.choose.entities.spec import (
    CAMPAIGN,
    CATEGORY,
    ITEM,
    KEEP_MAX,
    ROWS_BYTES_MAX,
    TELL_DEFAULT,
    TELL_MAX,
    EntitySpec,
)
from streams.choose.entities.spec import KINDS as THING_KINDS
from streams.choose.features import spec
from streams.choose.features.clusters import no_axis
from streams.choose.features.layout import Layout
from streams.choose.features.room import rooms_of
from streams.choose.segments import parse_rule
from streams.kernel.moments import DAY_MS, show_span
from streams.playbooks.conditions import Asked
from streams.playbooks.shapes import Choice, Fault, Fields, Key, ListOf, MapOf, Number, Span, Text
from streams.playbooks.source import Spot

FEATURES_MAX, SEGMENTS_MAX, ENTITIES_MAX = 200, 40, 8
ROW_BYTES_MAX = 16_384
MOST_TOLD = 5                   # features that the fault of too large a row names
# How features of a kind take less room in a row.
_ONCE = "which is kept once for all that ask for the same of the same events and window"
_SMALLER = {
    **dict.fromkeys(("count", "rate", "rfm"), "count over windows of fewer tiles: 2 bytes each"),
    **dict.fromkeys(("sum", "mean", "variance", "min", "max"),
                    "take sums and extremes over windows of fewer tiles: 8 bytes each"),
    **dict.fromkeys(("top_k", "most_frequent"), f"share a favourite's 1,032 bytes, {_ONCE}"),
    "distinct": f"share the 584 bytes of a distinct, {_ONCE}",
    "unique_list": "write a smaller most for unique_list: 48 bytes a text",
    "sessions": "take a shorter window or a longer gap for sessions: a bit for a quarter of a gap",
}
_NAME = Text("a name of lower-case letters, digits and _", r"[a-z][a-z0-9_]{0,59}", 1, 60)
_ENTITY = Text("profile, item, category, campaign or property.NAME",
               r"profile|item|category|campaign|property\.[A-Za-z][A-Za-z0-9_]{0,59}", 1, 80)
_EVENT = Text("an event type, or '*' for any", r"\*|[a-z][a-z0-9_]{0,63}", 1, 64)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `least` to `most`."""

    least: int
    most: int

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        value = spot.value
        if isinstance(value, bool) or not isinstance(value, int) or not (
                self.least <= value <= self.most):
            yield Fault(spot.line, f"{where} is {value}",
                        f"write a whole number from {self.least} to {self.most}")


_SOURCES = (*spec.OF_SESSION, *spec.FILTERS)
_PROPERTY = Text("a name like property.size", r"property\.[A-Za-z0-9_-]{1,60}", 1, 69)


@dataclass(frozen=True, slots=True)
class Where:
    """One field of the event and the text that it must be."""

    def schema(self) -> dict[str, Any]:
        text = {"type": "string", "minLength": 1, "maxLength": 200}
        return {"type": "object", "minProperties": 1, "maxProperties": 1,
                "additionalProperties": False, "properties": dict.fromkeys(spec.FILTERS, text),
                "patternProperties": {f"^{_PROPERTY.pattern}$": text}}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        asked = spot.mapping or {}
        if len(asked) != 1:
            yield Fault(spot.line, f"{where} has {len(asked)} fields", "write exactly one, like "
                        "{category: shoes}")
        for name, text in asked.items():
            if name not in spec.FILTERS and not re.fullmatch(_PROPERTY.pattern, name):
                yield Fault(spot.key_lines[name], f"'{where}.{name}' is not a field",
                            f"write one of {', '.join(spec.FILTERS)} or property.NAME")
            yield from Text("a text in quotes", "", 1, 200).faults(text, f"{where}.{name}")


@dataclass(frozen=True, slots=True)
class Source:
    """One source (`value`, `quantity`; of a session more; of texts a field), or for a ratio two
    features."""

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(_SOURCES)}, _PROPERTY.schema(),
                          {"type": "array", "items": {"type": "string"}, "minItems": 2,
                           "maxItems": 2}]}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        if spot.sequence is not None:
            yield from ListOf(_NAME, 2, 2).faults(spot, where)
        elif isinstance(spot.value, str) and spot.value.startswith(spec.PROPERTY):
            yield from _PROPERTY.faults(spot, where)
        else:                               # which of them goes with the kind: `meaning_faults`
            yield from Text("a source, like value", "", 1, 80).faults(spot, where)


@dataclass(frozen=True, slots=True)
class Rule:
    """What `parse_rule` takes: a condition over declared features and the segments before it."""

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        try:
            parse_rule("", spot.plain(), features=None, segments=None, asked=Asked(None, None))
        except ValueError as fault:
            yield condition_fault(spot.line, where, fault)


_CUTS = {key: Key(ListOf(part, spec.CUTS, spec.CUTS), says) for key, part, says in (
    ("recency", Span(1000, spec.WINDOW_MS_MAX), "of rfm: newer than the first is graded 5"),
    ("frequency", Whole(1, 10**6), "of rfm: as many events as the last are graded 5"),
    ("money", Number(0, 1e9), "of rfm: as much as the last is graded 5"))}
FEATURE = Fields({
    "event": Key(_EVENT, "the event type it is made of, or '*'"),
    "kind": Key(Choice(tuple(sorted(spec.KINDS))), "what is kept", required=True),
    "window": Key(Span(spec.WINDOW_MS_MIN, spec.WINDOW_MS_MAX), "how far back"),
    "half_life": Key(Span(spec.HALF_LIFE_MS_MIN, spec.HALF_LIFE_MS_MAX),
                     "after this time an event weighs half"),
    "of": Key(Source(), "the number it is made of; for a ratio two features"),
    "gap": Key(Span(spec.GAP_MS_MIN, spec.GAP_MS_MAX), "a pause of this length ends a session"),
    "most": Key(Whole(1, 10**6), "how many texts a list has; default 3"),
    **_CUTS,
    "where": Key(Where(), "what the event must say"),
    "max_age": Key(Span(1000, spec.WINDOW_MS_MAX), "older than this: no value"),
    "entity": Key(_ENTITY, "what it is kept of; default: each profile"),
    "bestseller_from": Key(Number(1e-6, 1e15), "of an item: from this value on it is a bestseller"),
    "back_off": Key(Fields({"below": Key(Whole(1, spec.BACK_OFF_MAX),
                                         "own events that are enough", required=True)}),
                    "with fewer own events, the value leans on the person's segment"),
    "purpose": Key(Choice(("measure", "personalise", "contact", "train")),
                   "what it may be used for; default: that of the file"),
    "retention": Key(Span(DAY_MS, 800 * DAY_MS), "how long it may be kept; default: of the file"),
})

_VERSION = Key(Whole(1, 10**6), "a number that goes up with every change", required=True)


def about(*, of_features: bool) -> Fields:
    """What a file says of itself."""
    return Fields({
        "version": _VERSION,
        "purpose": Key(Choice(("measure", "personalise", "contact", "train")),
                       "what the features may be used for", required=of_features),
        "retention": Key(Span(DAY_MS, 800 * DAY_MS), "how long they may be kept; default 400d")})


FEATURES = Fields({
    **about(of_features=True).keys,
    "features": Key(MapOf(_NAME, FEATURE, 1, FEATURES_MAX), "name: {kind: ..., ...}",
                    required=True),
    "entities": Key(MapOf(_ENTITY, Fields({
        "keep": Key(Whole(8, KEEP_MAX), "how many of them per tenant and partition",
                    required=True),
        "tell": Key(Whole(1, TELL_MAX), "how many of these all workers hear of, default "
                    f"{TELL_DEFAULT}")}), 1, ENTITIES_MAX),
        "name: {keep: ...}, of those that features name"),
})

SEGMENTS = Fields({
    "version": _VERSION,
    "segments": Key(MapOf(_NAME, Rule(), 1, SEGMENTS_MAX),
                    "name: condition, or name: {enter: condition, stay: condition}", required=True),
})

# What a Python file declares: each of these only where it does.
DECLARED = Fields({name: replace(key, required=False) for keys in (FEATURES.keys, SEGMENTS.keys)
                   for name, key in keys.items() if name in ("features", "entities", "segments")})

AXES_MAX, CLUSTERS_MAX = 20, 20
_FIGURE = Number(-1e15, 1e15)

CLUSTERS = Fields({
    "version": Key(Whole(1, 10**6), "a number that goes up with every learning", required=True),
    "learned": Key(Text("a moment", "", 1, 40), "when it was learned"),
    "tenant": Key(Text("a tenant", "", 0, 64), "from whose people; '' for everybody's"),
    "people": Key(Whole(1, 10**12), "from how many people"),
    "silhouette": Key(Number(-1, 1), "how well they are kept apart: 1 is best, below 0.25 is poor"),
    "features": Key(MapOf(_NAME, Fields({
        "low": Key(_FIGURE, "smaller values count as this", required=True),
        "high": Key(_FIGURE, "greater values count as this", required=True),
        "center": Key(_FIGURE, "the median of the logarithms", required=True),
        "scale": Key(Number(1e-6, 1e15), "their spread", required=True)}), 1, AXES_MAX),
        "the axes", required=True),
    "clusters": Key(MapOf(_NAME, Fields({
        "people": Key(Whole(0, 10**12), "how many were nearest to it"),
        "at": Key(ListOf(_FIGURE, 1, AXES_MAX, repeats=True), "its place on every axis",
                  required=True)}), 2, CLUSTERS_MAX), "name: {at: [...]}", required=True),
})


# Where a fault of a condition goes on to say what to do; and the remedy of those that do not.
_REMEDY = re.compile("; |: (?=write )")
_ASKABLE = ("a segment may ask for features, traits, lists, buckets, clusters and the segments "
            "above it, see docs/features.md")


def condition_fault(line: int, where: str, fault: ValueError) -> Fault:
    """What `parse_rule` says of a segment's rule, with the remedy apart."""
    said, *remedy = _REMEDY.split(str(fault), maxsplit=1)
    return Fault(line, f"{where}: {said}", remedy[0] if remedy else _ASKABLE)

def cluster_faults(spot: Spot, specs: Mapping[str, spec.FeatureSpec]) -> Iterable[Fault]:
    """What no single key of clusters.yml can tell."""
    tree = cast(dict[str, Spot], spot.mapping)
    axes = cast(dict[str, Spot], tree["features"].mapping)
    for name, axis in axes.items():
        if name not in specs:
            yield Fault(axis.line, f"features.{name}: there is no such feature in features.yml",
                        "declare it again, or learn anew: `kairos segments learn`")
        elif why := no_axis(specs[name], specs):
            yield Fault(axis.line, f"features.{name}: {why}", "learn anew without it")
        body = cast(dict[str, Any], axis.plain())
        if body["low"] > body["high"]:
            yield Fault(axis.line, f"features.{name}: low is above high", "exchange them")
    for name, cluster in cast(dict[str, Spot], tree["clusters"].mapping).items():
        given = len(cast(dict[str, Any], cluster.plain())["at"])
        if given != len(axes):
            yield Fault(cluster.line, f"clusters.{name}.at has {given} numbers for {len(axes)} "
                        "features", "write one per feature, in their order")


def meaning_faults(name: str, body: Spot, found: spec.FeatureSpec,
                   known: Mapping[str, str],
                   ) -> Iterable[Fault]:
    """What no single key can tell: that kind, window, source and retention go together."""
    where, line = f"features.{name}", body.line
    if found.back_off and found.kind not in spec.BACKING_OFF:
        yield Fault(line, f"{where}: a {found.kind} of a group says nothing of one of its people",
                    f"leave back_off out, or use one of {', '.join(sorted(spec.BACKING_OFF))}")
    if found.kind == "ratio":
        if len(found.of) != 2:
            yield Fault(line, f"{where}: a ratio has no two features", "write of: [a, b]")
        for part in found.of:
            if part not in known:
                yield Fault(line, f"{where}: '{part}' is no feature before it",
                            "declare it above; ratios of ratios are not kept")
            elif known[part] != "number":
                yield Fault(line, f"{where}: '{part}' is a text", "divide numbers")
        return
    if not found.event:
        yield Fault(line, f"'{where}.event' is missing", "name an event type, or '*'")
    yield from _needs(where, line, "window", found.kind in spec.WINDOWED, found.window_ms)
    yield from _needs(where, line, "gap", found.kind in ("sessions", "session"), found.gap_ms)
    yield from _needs(where, line, "half_life", found.kind == "decay", found.half_life_ms)
    if found.kind in spec.OF_NUMBER and len(found.of) != 1:
        yield Fault(line, f"{where}: a {found.kind} is of a number", _OF_NUMBER)
    if found.kind == "session" and (len(found.of) != 1 or (not found.number
                                    and found.of[0] not in spec.OF_SESSION)):
        yield _lacks_of(where, line, "a session", spec.OF_SESSION)
    yield from _text_faults(where, line, body, found)
    if found.kind in spec.OF_NUMBER | {"decay"} and not found.number and (
            not {*found.of} <= {*spec.SOURCES}):
        yield Fault(line, f"{where}: a {found.kind} is not of {', '.join(found.of)}", _OF_NUMBER)
    if found.window_ms and found.gap_ms and found.window_ms > spec.WINDOW_GAPS_MAX * found.gap_ms:
        yield Fault(line, f"{where}: the window holds more than {spec.WINDOW_GAPS_MAX} gaps, each "
                    "of which takes room in every person's row",
                    f"shorten it to {show_span(spec.WINDOW_GAPS_MAX * found.gap_ms)}, or take a "
                    "longer gap")
    yield from _cut_faults(where, line, body, found)
    if found.of and found.kind not in spec.OF_NUMBER | spec.OF_FIELDS | {"decay", "session"}:
        yield Fault(line, f"{where}: a {found.kind} takes no 'of'", "leave it out")
    if found.window_ms > found.retention_ms:
        yield Fault(line, f"{where}: the window is longer than the retention of "
                    f"{show_span(found.retention_ms)}", "shorten the window, or keep it longer")
    if found.half_life_ms > found.retention_ms:
        yield Fault(line, f"{where}: the half-life {show_span(found.half_life_ms)} is longer than "
                    f"the retention of {show_span(found.retention_ms)}, when most of the weight "
                    "would still count", "shorten the half_life, or keep it longer: retention")


def size_faults(lines: Mapping[str, int], found: Sequence[spec.FeatureSpec],
                ) -> Iterable[tuple[str, Fault]]:
    """That a person's row has room for all of them; with the feature that is to blame most."""
    layout = Layout(tuple(found))
    if layout.row_bytes <= ROW_BYTES_MAX:
        return
    rooms = sorted(rooms_of(layout), key=lambda room: -room.bytes)
    by_name = {each.name: each for each in found}
    most = [room for room in rooms[:MOST_TOLD] if room.bytes]
    remedies = dict.fromkeys(filter(None, (_SMALLER.get(by_name[room.name].kind, "")
                                           for room in most)))
    yield most[0].name, Fault(
        lines[most[0].name], f"features.{most[0].name}: all features together take "
        f"{layout.row_bytes:,} bytes in the row of every person, more than {ROW_BYTES_MAX:,}; most "
        f"take {', '.join(f'{room.name} {room.bytes:,}' for room in most)}",
        "; ".join([*remedies, "or declare fewer features"]))


_OF_NUMBER = f"write of: {', '.join(spec.SOURCES)} or property.NAME"


def _lacks_of(where: str, line: int, kind: str, sources: Sequence[str]) -> Fault:
    return Fault(line, f"'{where}.of' does not go with {kind}",
                 f"write of: {', '.join(sources)} or property.NAME")


def _text_faults(where: str, line: int, body: Spot, found: spec.FeatureSpec) -> Iterable[Fault]:
    """That a kind that is made of texts says which, and only a list how many."""
    if found.kind in spec.OF_TEXTS and (len(found.of) != 1 or not (
            found.of[0] in spec.FILTERS or found.of[0].startswith(spec.PROPERTY))):
        yield _lacks_of(where, line, f"a {found.kind}", spec.FILTERS)
    if found.kind == "distinct" and found.of and (len(found.of) != 1 or not (
            found.of[0] in spec.FILTERS or found.of[0].startswith(spec.PROPERTY))):
        yield _lacks_of(where, line, "a distinct", spec.FILTERS)
    most = spec.LISTED_MAX.get(found.kind, 0)
    if "most" in cast(dict[str, Any], body.plain()) and not most:
        yield Fault(line, f"'{where}.most' does not go with this kind", "leave it out")
    elif found.most > most > 0:
        yield Fault(line, f"{where}: a {found.kind} tells at most {most} texts",
                    f"write most: {most} or less; each takes room in every person's row")


def _cut_faults(where: str, line: int, body: Spot, found: spec.FeatureSpec) -> Iterable[Fault]:
    """That an rfm says where its grades part, each time in rising order."""
    given = cast(dict[str, Any], body.plain())
    for key, cuts in zip(spec.CUT_KEYS, found.cuts or ((),) * len(spec.CUT_KEYS), strict=True):
        if found.kind != "rfm" and key in given:
            yield Fault(line, f"'{where}.{key}' does not go with this kind", "leave it out")
        elif found.kind == "rfm" and not cuts:
            yield Fault(line, f"'{where}.{key}' is missing",
                        f"write the {spec.CUTS} numbers at which its grades part")
        elif list(cuts) != sorted(set(cuts)):
            yield Fault(line, f"'{where}.{key}' does not rise", "write the least first")


def entity_faults(name: str, body: Spot, found: spec.FeatureSpec,
                  declared: Mapping[str, Any]) -> Iterable[Fault]:
    """What a feature of things must and may not say; `declared`: the file's entities."""
    where, line = f"features.{name}", body.line
    if name in (ITEM, CATEGORY, CAMPAIGN, "segment", spec.PROFILE):
        yield Fault(line, f"{where}: things of that name stand beside features in decisions",
                    "give it another name")
    if found.bestseller_from and found.entity != ITEM:
        yield Fault(line, f"{where}: only items are bestsellers", "leave bestseller_from out")
    if found.entity == spec.PROFILE:
        return
    if found.entity not in declared:
        yield Fault(line, f"{where}: nothing says how many of '{found.entity}' to keep, and events "
                    "may name any number of them",
                    f"write entities: {{{found.entity}: {{keep: 10000}}}} beside features")
    if found.kind not in THING_KINDS:
        yield Fault(line, f"{where}: a {found.kind} of things is not kept",
                    f"use one of {', '.join(sorted(THING_KINDS))}")
    if found.kind == "distinct" and found.of:
        yield Fault(line, f"{where}: a distinct of things counts people", "leave 'of' out")
    elif any(text.startswith(spec.PROPERTY) for text in (*found.of, *found.where[:1])):
        yield Fault(line, f"{where}: features of things neither filter by nor are made of free "
                    "properties", f"use {', '.join((*spec.SOURCES, *spec.FILTERS))}")
    if found.back_off:
        yield Fault(line, f"{where}: things lean on nothing", "leave back_off out")


def things_faults(line: int, each: EntitySpec) -> Iterable[Fault]:
    """Rows that would not fit: `keep` times the bytes of one."""
    size = each.keep * each.layout.row_bytes
    if size > ROWS_BYTES_MAX:
        yield Fault(line, f"entities.{each.name}: {each.keep:,} rows of "
                    f"{each.layout.row_bytes:,} bytes are {size >> 20} MB per tenant and "
                    "partition", f"keep at most {ROWS_BYTES_MAX // each.layout.row_bytes:,}, "
                    "or declare fewer features or shorter windows")


def _needs(where: str, line: int, key: str, is_needed: bool, value: int) -> Iterable[Fault]:
    if is_needed and not value:
        yield Fault(line, f"'{where}.{key}' is missing", f"write {key}: with a span, like 7d")
    if value and not is_needed:
        yield Fault(line, f"'{where}.{key}' does not go with this kind", "leave it out")
