"""Loading: a file, or the text of a record, becomes a `Playbook` or a list of faults with lines."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from streams.kernel.errors import PlaybookError
from streams.playbooks import meaning
from streams.playbooks.form import PLAYBOOK
from streams.playbooks.model import Playbook
from streams.playbooks.shapes import Fault
from streams.playbooks.source import SourceFault, Spot, read

Names = Collection[str] | None


def load(path: Path | str, known_features: Names = None, known_segments: Names = None, *,
         tenant: str = "default") -> Playbook:
    """The playbook in the file at `path`, version 0.

    known_features, known_segments   names that conditions may use; None leaves them unchecked
    Raises PlaybookError for the first fault (by line); `check` lists them all.
    """
    text = _text(Path(path))
    found, faults = parse(text, str(path), known_features, known_segments, tenant=tenant)
    if found is None:
        raise faults[0]
    return found


def check(path: Path | str, known_features: Names = None, known_segments: Names = None,
          rhythms: Names = None, figures: Names = None) -> list[PlaybookError]:
    """Every fault of the file, in the order of lines; empty when it holds.

    rhythms   event types of which it is known how often somebody does them; None: of all
    figures   features of items that a message may state; None: any
    """
    try:
        text = _text(Path(path))
    except PlaybookError as fault:
        return [fault]
    return parse(text, str(path), known_features, known_segments, rhythms=rhythms,
                 figures=figures)[1]


def parse(text: str, file: str, known_features: Names = None, known_segments: Names = None, *,
          tenant: str = "default", version: int = 0, rhythms: Names = None,
          figures: Names = None) -> tuple[Playbook | None, list[PlaybookError]]:
    """The playbook of `text`, or None and its faults. `file` is what the faults name."""
    try:
        spot = read(text)
    except SourceFault as fault:
        return None, [PlaybookError(file, fault.line, fault.fault, fault.remedy)]
    faults = _faults(spot, known_features, known_segments, rhythms, figures)
    if faults:
        return None, [PlaybookError(file, fault.line, fault.fault, fault.remedy)
                      for fault in faults]
    return meaning.playbook_of(spot, tenant=tenant, version=version), []


def from_yaml(text: str, tenant: str, version: int, known_features: Names = None,
              known_segments: Names = None, rhythms: Names = None) -> Playbook:
    """The playbook of a published record's text. Raises PlaybookError for the first fault.

    Who reads features says what there is: they were checked when it was applied, but against the
    definitions of then and there. Figures are not looked at: of one that is declared no more
    nothing is said.
    """
    found, faults = parse(text, "published", known_features, known_segments, tenant=tenant,
                          version=version, rhythms=rhythms)
    if found is None:
        raise faults[0]
    return found


def to_record(playbook: Playbook, text: str, *, published_ms: int) -> dict[str, Any]:
    """The playbooks.published record of `playbook`, which stores the file as it was written."""
    return {"tenant": playbook.tenant, "name": playbook.name, "version": playbook.version,
            "yaml": text, "checksum": hashlib.sha256(text.encode()).hexdigest(),
            "active": playbook.active, "published_ms": published_ms}


def from_record(record: Mapping[str, Any]) -> Playbook:
    """The playbook of a playbooks.published record. Raises PlaybookError when it does not hold."""
    found = from_yaml(record["yaml"], record["tenant"], record["version"])
    return found if record["active"] else replace(found, active=False)


def record_key(tenant: str, name: str) -> str:
    """The key of a playbook in playbooks.published."""
    return f"{tenant}/{name}"


def _faults(spot: Spot, features: Names, segments: Names, rhythms: Names,
            figures: Names) -> list[Fault]:
    """Faults of form; when there are none, faults of meaning. Sorted by line."""
    found = list(PLAYBOOK.faults(spot, ""))
    if not found:
        found = list(meaning.rule_faults(spot, features, segments, rhythms, figures))
    return sorted(found, key=lambda fault: fault.line)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as fault:
        raise PlaybookError(str(path), 1, "the file is not UTF-8 text",
                            "save it as UTF-8") from fault
    except OSError as fault:
        raise PlaybookError(str(path), 1, f"cannot be read: {fault.strerror}",
                            "check the path") from fault
