"""A YAML file as a tree of values that know their line. No anchors, no tags, no duplicate keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

BYTES_MAX = 64 * 1024
DEPTH_MAX = 24


@dataclass(frozen=True, slots=True)
class Spot:
    """One value of the file. `value` is a scalar, a list of spots or a dict of spots."""

    value: object
    line: int
    key_lines: dict[str, int] = field(default_factory=dict)

    @property
    def mapping(self) -> dict[str, Spot] | None:
        return self.value if isinstance(self.value, dict) else None

    @property
    def sequence(self) -> list[Spot] | None:
        return self.value if isinstance(self.value, list) else None

    def plain(self) -> object:
        """The value without lines, as JSON would hold it."""
        if isinstance(self.value, dict):
            return {name: spot.plain() for name, spot in self.value.items()}
        if isinstance(self.value, list):
            return [spot.plain() for spot in self.value]
        return self.value


class SourceFault(Exception):
    """The text is no tree that we read. `line` counts from 1."""

    def __init__(self, line: int, fault: str, remedy: str = "") -> None:
        super().__init__(fault)
        self.line, self.fault, self.remedy = line, fault, remedy


def read(text: str) -> Spot:
    """The tree of one YAML document. Raises SourceFault with line and remedy."""
    if len(text.encode()) > BYTES_MAX:
        raise SourceFault(1, f"the file is larger than {BYTES_MAX // 1024} KiB",
                          "a playbook is a page, not a book")
    try:
        root = YAML(typ="rt").compose(text)
    except MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        raise SourceFault(1 if mark is None else mark.line + 1,
                          f"this is not YAML: {fault.problem or fault.context}",
                          "check indentation, quotes and braces") from None
    except (YAMLError, RecursionError) as fault:
        raise SourceFault(1, f"this is not YAML: {str(fault).splitlines()[0]}",
                          "save the file as plain UTF-8 text") from None
    if root is None:
        raise SourceFault(1, "the file is empty", "start with 'playbook: a-name'")
    return _spot(root, 0)


def _spot(node: Node, depth: int) -> Spot:
    line = node.start_mark.line + 1
    if depth > DEPTH_MAX:
        raise SourceFault(line, "nested too deeply", f"at most {DEPTH_MAX} levels")
    if node.anchor is not None:
        raise SourceFault(line, "anchors and aliases are not read", "write the value out")
    if isinstance(node, MappingNode):
        return _mapping(node, line, depth)
    if isinstance(node, SequenceNode):
        return Spot([_spot(part, depth + 1) for part in node.value], line)
    assert isinstance(node, ScalarNode)
    return Spot(_scalar(str(node.tag), node.value, line), line)


def _mapping(node: MappingNode, line: int, depth: int) -> Spot:
    found: dict[str, Spot] = {}
    key_lines: dict[str, int] = {}
    for key, value in node.value:
        key_line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise SourceFault(key_line, "a key must be a word", "write key: value")
        if key.value in found:
            raise SourceFault(key_line, f"'{key.value}' is written twice", "keep one of them")
        found[key.value] = _spot(value, depth + 1)
        key_lines[key.value] = key_line
    return Spot(found, line, key_lines)


_READERS: dict[str, Callable[[str], object]] = {
    "str": str, "timestamp": str, "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": lambda text: int(text.replace("_", ""), 0) if text.lower().startswith(("0x", "0o"))
    else int(text.replace("_", "")),
    "float": lambda text: float(text.replace("_", "")),
}


def _scalar(tag: str, text: str, line: int) -> object:
    reader = _READERS.get(tag.removeprefix("tag:yaml.org,2002:"))
    if reader is None:
        raise SourceFault(line, f"the tag {tag} is not read", "leave the tag out")
    try:
        value = reader(text)
    except ValueError:
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value
