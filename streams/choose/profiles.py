"""Profiles: one person's row, read back from the changelog as the partition's next owner would.

Every feature with its value, its age and since when it counts; the segments; what the row's header
says. Nothing of it is newer than the last checkpoint (`flush_ms`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from streams.choose.backing import Backing
from streams.choose.features.layout import (
    FLAGS,
    MASK,
    MOVED,
    NEWEST,
    PURPOSES,
    STAMP,
    STATED,
    TENANT,
)
from streams.choose.handing import MOVED_TO
from streams.choose.program import Program
from streams.choose.tables import LAYOUT_PREFIX, Tables
from streams.engine.checkpoints import EMPTY, MARK_KEY, Mark
from streams.engine.hashing import signed_hash
from streams.engine.versions import Entry, Lineage, Versions, split
from streams.engine.watermarks import NEVER, Watermarks
from streams.kernel.purposes import names_of


def needed(stored: bytes, profile_id: str) -> bool:
    """Is this changelog key needed to read the person's row: the row, its layout, the mark?"""
    key = split(stored)[1]
    return key == profile_id.encode() or key == MARK_KEY or key.startswith(LAYOUT_PREFIX)


def found_in(program: Program, profile_id: str, *, upstream: int, lineage: Lineage,
             entries: Iterable[Entry], backing: Backing | None = None,
             ) -> dict[str, Any] | None:
    """The profile as of the newest checkpoint that the entries hold; None: there is no such row.

    entries    what is `needed` of the partition's changelog, in order
    lineage    as committed after the entries were read: so what one of them holds is either
               committed or of nobody's
    backing    knows what groups say of features that lean on them; None: nobody asks
    Raises StateError when the row cannot be read.
    """
    if lineage.is_first:        # an owner is at work, and has not made a checkpoint yet
        return None
    tables, mark = program.tables(), EMPTY
    for key, value in Versions(lineage).read(entries):
        if key != MARK_KEY:
            tables.apply(key, value)
        elif value is not None:
            mark = Mark.decode(value)
    tables.settle()
    slot = tables.people.find(profile_id.encode())
    if slot is None:
        return None
    return described(program, tables, slot, Watermarks(upstream, mark.watermarks),
                     tenants=mark.watermarks, backing=backing)


def described(program: Program, tables: Tables, slot: int, watermarks: Watermarks, *,
              tenants: Iterable[str], backing: Backing | None = None) -> dict[str, Any]:
    """A row in words. Features are read as of the tenant's watermark, or of the person's newest
    event if that is later; `as_of_ms` says which moment that is, in event time."""
    rows = tables.people
    words = rows.views.i64[slot]
    tenant = next((name for name in tenants if signed_hash(name) == words[TENANT]), None)
    reached_ms = NEVER if tenant is None else watermarks.of(tenant)
    as_of_ms = max(reached_ms, int(words[NEWEST]))
    features = program.snapshot(tables, rows, slot, as_of_ms)
    for spec in program.people.specs:
        features[spec.name].update(_limits(spec.max_age_ms, features[spec.name]))
    segments = program.names(int(words[MASK]))
    if backing is not None and tenant is not None:
        backing.add(tables, slot, tenant, as_of_ms, backing.usable(tenant, segments), features)
    return {
        # A visitor who turned out to be this person: all that was known went there.
        "moved_to": rows.tails.get(slot, {}).get(MOVED_TO),
        "profile_id": rows.key(slot).decode(), "tenant": tenant, "as_of_ms": as_of_ms,
        "newest_event_ms": int(words[NEWEST]) or None,
        "watermark_ms": None if reached_ms == NEVER else reached_ms,
        "next_offset": int(words[STAMP]), "purposes": names_of(int(words[PURPOSES])),
        "locale": rows.tails.get(slot, {}).get("l"),
        "segments": segments,
        # False: their rules changed, and they are asked anew at the next event or watermark.
        "segments_stated": bool(words[FLAGS] & (STATED | MOVED)), "features": features}


def _limits(max_age_ms: int, read: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a feature's value is refused for its age, where an age is declared."""
    if not max_age_ms:
        return {}
    age_ms = read["age_ms"]
    return {"max_age_ms": max_age_ms, "refused": age_ms is not None and age_ms > max_age_ms}
