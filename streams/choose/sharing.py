"""Sharing: what a partition tells of its groups, so that all partitions' rows can be put together.

The first of two phases: each partition of choose keeps a row per group of its own people's events
and says it on segments.rolled, not more often than every `TELL_EVERY_MS`. The second is `pooling`.
Each partition's newest share counts; the log orders the shares of one owner, and a share that an
earlier owner says late (a zombie, see `engine.versions`) is said over by the present one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson

from streams import pipeline
from streams.choose.features.layout import EVER_MS, NEWEST, PEOPLE, SINCE, STAMP
from streams.choose.features.spec import PER_HEAD
from streams.choose.program import Program
from streams.choose.shares import changes_of, numbers_of, of_itself
from streams.choose.tables import group_key, group_of, tables_of
from streams.engine.records import Out
from streams.engine.rows import Rows
from streams.engine.stage import PartitionState
from streams.kernel.side_inputs import SEGMENT, SideInputs

TELL_EVERY_MS: Final = 5_000


def is_of_people(key: bytes) -> bool:
    """Is this key of segments.rolled one of a group of people, not of a thing?"""
    return b"\x1f" not in key


class Shares:
    """Which groups of one partition are due to be told. Everything is, to begin with."""

    def __init__(self, groups: Rows) -> None:
        self._due: set[bytes] = set(groups)
        self._told_ms = 0

    def gather(self, state: PartitionState) -> None:
        """Groups whose rows or sizes changed since the last checkpoint are due."""
        tables = tables_of(state)
        groups = tables.groups
        if tables.groups_moved:         # what shares say of themselves is another
            self._due.update(groups)
        self._due.update(groups.key(slot) for slot in np.nonzero(groups.views.dirty)[0].tolist())
        self._due.update(group_key(tenant, segment)
                         for tenant, names in state.notes.pop("resized", {}).items()
                         for segment in names)

    def tell(self, program: Program, side: SideInputs, state: PartitionState, out: Out) -> None:
        """Emit what is due, when it is time."""
        if 0 < out.now_ms - self._told_ms < TELL_EVERY_MS:
            return
        for group, partition in tuple(side.overtaken):
            if partition == state.partition and group[1] == SEGMENT:
                side.overtaken.discard((group, partition))
                self._due.add(group_key(group[0], group[2]))
        if self._due:
            self._told_ms = out.now_ms
        groups = tables_of(state).groups
        for key in sorted(key for key in self._due if not _is_bare(groups, key)):
            out.emit(pipeline.SEGMENT_ROLLS, *_share(program, state, key, out.now_ms),
                     partition=state.partition)
        self._due.clear()


def _is_bare(groups: Rows, key: bytes) -> bool:
    """Does the row of everybody but name its tenant, and never counted anything?"""
    slot, i64 = groups.find(key), groups.views.i64
    return (slot is not None and not group_of(key)[1] and i64[slot, SINCE] == EVER_MS
            and not i64[slot, NEWEST])


def _share(program: Program, state: PartitionState, key: bytes, now_ms: int,
           ) -> tuple[str, dict[str, Any]]:
    tables, (tenant, segment) = tables_of(state), group_of(key)
    groups, at_ms = tables.groups, max(state.watermarks.of(tenant), 0)
    slot = groups.find(key)
    # A segment that is declared no more is empty.
    members, row, sums, stamp, values = 0, b"", {}, 0, dict[str, dict[str, Any]]()
    if slot is not None and segment in program.group_names:
        members = (state.notes.get("sizes", {}).get(tenant, {}).get(segment, 0) if segment
                   else int(groups.views.i64[slot, PEOPLE]))
        row = groups.encode(key) or b""
        read = program.snapshot(tables, groups, slot, at_ms)
        stamp, values = int(groups.views.i64[slot, STAMP]), numbers_of(read, program.groups.specs)
        sums = {spec.name: read[spec.name]["value"] for spec in program.groups.specs
                if spec.kind in PER_HEAD and read[spec.name]["value"] is not None}
    return f"{tenant}|{segment}|{state.partition}", {
        "tenant": tenant, "segment": segment, "partition": state.partition, "members": members,
        "sums_json": orjson.dumps(sums).decode(), "event_ms": at_ms, "recorded_ms": now_ms,
        "entity": SEGMENT, "epoch": state.epoch, "row": row,
        "changes": changes_of(state.notes, tenant, segment),
        **of_itself(state.notes, tenant, SEGMENT, stamp, values)}
