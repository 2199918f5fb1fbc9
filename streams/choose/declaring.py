"""Declaring in Python what features.yml and segments.yml declare: for *.py files in the folder
KAIROS_DEFINITIONS, and for nothing else.

    from streams.choose.declaring import about, entity, feature, segment

    about(version=1, purpose="personalise")
    for days in (7, 30):
        feature(f"views_{days}d", event="product_view", kind="count", window=f"{days}d")
    segment("keen", {"feature": "views_7d", "at_least": 3})

A call takes the keys and values that stand in YAML, and the same is said of what does not hold: a
call is written down with its line, as a piece of the same tree (`streams.playbooks.source`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from streams.kernel.errors import KairosError
from streams.playbooks.shapes import Fault
from streams.playbooks.source import DEPTH_MAX, Spot


class About(TypedDict, total=False):
    """See the keys of the file in docs/features.md."""

    version: int
    purpose: str
    retention: str


class Feature(TypedDict, total=False):
    """See the keys of a feature in docs/features.md."""

    event: str
    kind: str
    window: str
    half_life: str
    of: str | Sequence[str]
    gap: str
    most: int
    recency: Sequence[str]
    frequency: Sequence[int]
    money: Sequence[float]
    where: Mapping[str, str]
    max_age: str
    entity: str
    bestseller_from: float
    back_off: Mapping[str, int]
    purpose: str
    retention: str


class Entity(TypedDict, total=False):
    """See `keep` and `tell` in docs/features.md."""

    keep: int
    tell: int


@dataclass
class Declared:
    """What one file has said so far, by name and in order, and what does not hold of its calls."""

    file: str
    about: Spot | None = None
    features: dict[str, Spot] = field(default_factory=dict)
    entities: dict[str, Spot] = field(default_factory=dict)
    segments: dict[str, Spot] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def add(self, what: str, into: dict[str, Spot], name: str, value: object) -> None:
        line, imported = self._place()
        if imported:
            self.faults.append(Fault(
                line, f"{what} '{name}' is declared by {imported} while it is imported",
                "an import says it once only: put it into a function there, and call it here"))
        elif not isinstance(name, str):
            self.faults.append(Fault(line, f"a {what} has the name {name!r}",
                                     f"write {what}(\"a_name\", ...)"))
        elif name in into:
            self.faults.append(Fault(
                line, f"{what} '{name}' is declared twice, first in line {into[name].line}",
                "keep one of them"))
        else:
            into[name] = self.spot(f"{what} '{name}'", value, line)

    def say(self, keys: Mapping[str, object]) -> None:
        line, _ = self._place()
        if self.about is not None:
            self.faults.append(Fault(line, f"about(...) stands in line {self.about.line} already",
                                     "keep one of them"))
        else:
            self.about = self.spot("about", keys, line)

    def spot(self, where: str, value: object, line: int, depth: int = 0) -> Spot:
        """`value` as YAML would have given it, every part of it in `line`."""
        if depth <= DEPTH_MAX:
            if value is None or isinstance(value, bool):
                return Spot(value, line)
            if isinstance(value, str):
                return Spot(str.__str__(value), line)
            if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
                return Spot(value, line)
            if isinstance(value, list | tuple):
                return Spot([self.spot(where, part, line, depth + 1) for part in value], line)
            if isinstance(value, dict) and all(isinstance(key, str) for key in value):
                parts = {key: self.spot(where, part, line, depth + 1)
                         for key, part in value.items()}
                return Spot(parts, line, dict.fromkeys(parts, line))
        self.faults.append(Fault(
            line, f"{where} holds {repr(value)[:60]}, which YAML could not say",
            "use texts, numbers, true and false, lists, and dicts with texts as keys; spans are "
            "texts like \"7d\""))
        return Spot(None, line)

    def _place(self) -> tuple[int, str]:
        """(line in the file from which this is called, module that is being imported there)."""
        frame, imported = sys._getframe(3), ""
        while frame.f_code.co_filename != self.file:
            if frame.f_code.co_name == "<module>":
                imported = str(frame.f_globals.get("__name__"))
            if frame.f_back is None:
                return 1, imported
            frame = frame.f_back
        return frame.f_lineno, imported


# The file that is being read.
OPEN: ContextVar[Declared | None] = ContextVar("OPEN", default=None)


def about(**keys: Unpack[About]) -> None:
    """`version` of the file, and `purpose` and `retention` of its features. Once in a file."""
    _open("about").say(keys)


def feature(name: str, /, **keys: Unpack[Feature]) -> str:
    """Declare a feature; returns its name, to ask for it. Ratios are of features declared above."""
    declared = _open("feature")
    declared.add("feature", declared.features, name, dict(keys))
    return name


def entity(name: str, /, **keys: Unpack[Entity]) -> str:
    """Declare how many things of an entity (`item`, ...) are kept; returns its name."""
    declared = _open("entity")
    declared.add("entity", declared.entities, name, dict(keys))
    return name


def segment(name: str, rule: Mapping[str, Any], /) -> str:
    """Declare a segment, most telling first; returns its name. `rule`: a condition as in YAML."""
    declared = _open("segment")
    declared.add("segment", declared.segments, name,
                 dict(rule) if isinstance(rule, Mapping) else rule)
    return name


def _open(what: str) -> Declared:
    found = OPEN.get()
    if found is None:
        raise KairosError(f"{what}(...) declares nothing outside of a folder of definitions",
                          "put the file into the folder that KAIROS_DEFINITIONS names and check it "
                          "with `kairos plan`")
    return found
