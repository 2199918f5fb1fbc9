"""Shapes: one declaration of a value that both checks it, with line and remedy, and describes
itself as JSON Schema. What editors underline and what the loader refuses is thereby the same.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from streams.kernel import moments
from streams.kernel.local_time import zone_of
from streams.playbooks.source import Spot


@dataclass(frozen=True, slots=True)
class Fault:
    line: int
    fault: str
    remedy: str = ""


class Shape(Protocol):
    def schema(self) -> dict[str, Any]: ...

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]: ...


def suggest(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown word: the nearest known one, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, 1, 0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known are: {', '.join(names)}" if names else "none are declared"


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a text",
             list: "a list", dict: "a mapping", type(None): "nothing"}
    return kinds.get(type(value), type(value).__name__)


@dataclass(frozen=True, slots=True)
class Text:
    """A text of `least` to `most` characters, matching `pattern`; `says` names the form."""

    says: str = "a text"
    pattern: str = ""
    least: int = 1
    most: int = 2000

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "string", "minLength": self.least,
                                 "maxLength": self.most}
        return {**found, "pattern": f"^(?:{self.pattern})$"} if self.pattern else found

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        value = spot.value
        if not isinstance(value, str):
            yield Fault(spot.line, f"{where} is {_kind(value)}", f"write {self.says}")
        elif not self.least <= len(value) <= self.most:
            yield Fault(spot.line, f"{where} has {len(value)} characters",
                        f"write {self.says}, {self.least} to {self.most} characters")
        elif self.pattern and not re.fullmatch(self.pattern, value):
            yield Fault(spot.line, f"{where} '{value}' is not {self.says}",
                        f"write {self.says}")


@dataclass(frozen=True, slots=True)
class Number:
    least: float
    most: float
    whole: bool = False

    def schema(self) -> dict[str, Any]:
        return {"type": "integer" if self.whole else "number",
                "minimum": self.least, "maximum": self.most}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        value = spot.value
        kind = "a whole number" if self.whole else "a number"
        if (isinstance(value, bool) or not isinstance(value, int | float)
                or (self.whole and value != int(value))):
            yield Fault(spot.line, f"{where} is {_kind(value)}, not {kind}", f"write {kind}")
        elif not self.least <= value <= self.most:
            yield Fault(spot.line, f"{where} is {value:g}",
                        f"write {kind} from {self.least:g} to {self.most:g}")


_SPAN = r"[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d|w)"


@dataclass(frozen=True, slots=True)
class Span:
    """A span such as 30m. The limits are the loader's alone: JSON Schema cannot say them."""

    least_ms: int = 1000
    most_ms: int = 400 * moments.DAY_MS

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_SPAN}$"}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        value = spot.value
        if not isinstance(value, str) or not re.fullmatch(_SPAN, value, re.ASCII):
            yield Fault(spot.line, f"{where} '{value}' is not a span",
                        "write a number and ms, s, m, h, d or w, like 30m")
        elif not self.least_ms <= moments.parse_span(value) <= self.most_ms:
            yield Fault(spot.line, f"{where} is {value}",
                        f"write {moments.show_span(self.least_ms)} to "
                        f"{moments.show_span(self.most_ms)}")


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone of the IANA data, or `word`. Which zones there are is the loader's to know."""

    word: str = ""

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": 64}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        value = spot.value
        known = isinstance(value, str) and (zone_of(value) is not None
                                            or bool(self.word and value == self.word))
        if not known:
            yield Fault(spot.line, f"{where} '{value}' is not a time zone",
                        f"write one like Europe/Berlin{f', or {self.word}' * bool(self.word)}")


_PERCENT = r"[0-9]{1,2}(\.[0-9]{1,4})?%"


@dataclass(frozen=True, slots=True)
class Share:
    """A share of people: 20% or 0.2, at most `most`."""

    most: float = 0.9

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0, "maximum": self.most},
                          {"type": "string", "pattern": f"^{_PERCENT}$"}]}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        share = share_of(spot.value)
        if share is None:
            yield Fault(spot.line, f"{where} '{spot.value}' is not a share",
                        "write a percentage like 20%")
        elif not 0 <= share <= self.most:
            yield Fault(spot.line, f"{where} is {spot.value}",
                        f"write 0% to {self.most:.0%}")


def share_of(value: object) -> float | None:
    """The share that `20%` or `0.2` states; None when it states none."""
    if isinstance(value, str) and re.fullmatch(_PERCENT, value, re.ASCII):
        return float(value[:-1]) / 100
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `values`."""

    values: tuple[str, ...]

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.values)}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        if spot.value not in self.values or isinstance(spot.value, bool):
            yield Fault(spot.line, f"{where} '{spot.value}' is not known",
                        suggest(str(spot.value), self.values))


@dataclass(frozen=True, slots=True)
class Either:
    """A word of one shape, or a mapping of the other."""

    word: Shape
    mapping: Fields

    def schema(self) -> dict[str, Any]:
        return {"oneOf": [self.word.schema(), self.mapping.schema()]}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        shape = self.word if spot.mapping is None else self.mapping
        yield from shape.faults(spot, where)


@dataclass(frozen=True, slots=True)
class ListOf:
    shape: Shape
    least: int = 0
    most: int = 50
    repeats: bool = False

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "array", "items": self.shape.schema(),
                                 "minItems": self.least, "maxItems": self.most}
        return found if self.repeats else {**found, "uniqueItems": True}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        if spot.sequence is None:
            yield Fault(spot.line, f"{where} is {_kind(spot.value)}, not a list",
                        "write a list like [a, b]")
            return
        if not self.least <= len(spot.sequence) <= self.most:
            yield Fault(spot.line, f"{where} has {len(spot.sequence)} entries",
                        f"write {self.least} to {self.most}")
        taken: list[object] = []
        for index, part in enumerate(spot.sequence):
            if not self.repeats and part.plain() in taken:
                yield Fault(part.line, f"{where}[{index}] is written twice", "keep one of them")
            taken.append(part.plain())
            yield from self.shape.faults(part, f"{where}[{index}]")


@dataclass(frozen=True, slots=True)
class Key:
    shape: Shape
    says: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping with named keys. `one_of`: exactly one of these keys must be there."""

    keys: dict[str, Key]
    one_of: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": "object", "additionalProperties": False,
            "required": [name for name, key in self.keys.items() if key.required],
            "properties": {name: {**key.shape.schema(), "description": key.says}
                           for name, key in self.keys.items()}}
        if self.one_of:
            found["oneOf"] = [{"required": [name]} for name in self.one_of]
        return found

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        if spot.mapping is None:
            yield Fault(spot.line, f"{where or 'the playbook'} is {_kind(spot.value)}, "
                        "not a mapping", f"write keys: {', '.join(self.keys)}")
            return
        prefix = f"{where}." if where else ""
        for name, part in spot.mapping.items():
            if name in self.keys:
                yield from self.keys[name].shape.faults(part, prefix + name)
            else:
                yield Fault(spot.key_lines[name], f"'{prefix}{name}' is not a field",
                            suggest(name, self.keys))
        for name, key in self.keys.items():
            if key.required and name not in spot.mapping:
                yield Fault(spot.line, f"'{prefix}{name}' is missing", key.says)
        chosen = [name for name in self.one_of if name in spot.mapping]
        if self.one_of and len(chosen) != 1:
            yield Fault(spot.line, f"{where} has {' and '.join(chosen) or 'none'} of "
                        f"{', '.join(self.one_of)}", "write exactly one of them")


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping from free names to one shape."""

    name: Text
    shape: Shape
    least: int = 1
    most: int = 8

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "propertyNames": self.name.schema(),
                "additionalProperties": self.shape.schema(),
                "minProperties": self.least, "maxProperties": self.most}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        if spot.mapping is None:
            yield Fault(spot.line, f"{where} is {_kind(spot.value)}, not a mapping",
                        "write name: {...}")
            return
        if not self.least <= len(spot.mapping) <= self.most:
            yield Fault(spot.line, f"{where} has {len(spot.mapping)} entries",
                        f"write {self.least} to {self.most}")
        for name, part in spot.mapping.items():
            yield from self.name.faults(Spot(name, spot.key_lines[name]), f"a name in {where}")
            yield from self.shape.faults(part, f"{where}.{name}")
