"""Changes: which segments a person entered or left is told, and how many people each has now."""

from __future__ import annotations

from typing import Any

from streams import pipeline
from streams.choose import shares, triggers
from streams.choose.program import Program
from streams.engine.records import Out
from streams.kernel import ids


def tell(program: Program, out: Out, notes: dict[str, Any], tenant: str, profile_id: str, *,
         at_ms: int, cause: str, before: int, after: int) -> list[triggers.Change]:
    """Say which segments the person entered, then which they left.

    before, after   the segments as masks
    notes           of the partition: sizes of segments, and which of them have changed
    cause           event, lapse, merge, backfill or erasure
    """
    changes: list[triggers.Change] = []
    if before == after:
        return changes
    sizes = notes.setdefault("sizes", {}).setdefault(tenant, {})
    resized = notes.setdefault("resized", {}).setdefault(tenant, [])
    for entered, mask in ((True, after & ~before), (False, before & ~after)):
        for segment in program.names(mask):
            change_id = ids.derive("segment", tenant, profile_id, segment, at_ms, int(entered))
            changes.append(triggers.Change(segment, entered, change_id))
            out.emit(pipeline.SEGMENT_CHANGES, profile_id, {
                "change_id": change_id, "tenant": tenant, "profile_id": profile_id,
                "segment": segment, "entered": entered, "event_ms": at_ms, "cause": cause})
            sizes[segment] = sizes.get(segment, 0) + (1 if entered else -1)
            shares.changed(notes, tenant, segment)
            if segment not in resized:
                resized.append(segment)
    return changes
