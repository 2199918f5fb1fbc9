"""Bases: from where a lane that begins need not read its changelog from the start."""

from __future__ import annotations

import logging

from streams.engine import snapshots
from streams.engine.checkpoints import Base
from streams.engine.ports import ChangelogPort, ClockPort, SnapshotPort, StandbyPort
from streams.engine.snapshots import DamagedError, Snapshot
from streams.engine.stage import StageLogic
from streams.engine.versions import Lineage

log = logging.getLogger(__name__)


class Bases:
    """What this process and this machine have of one partition's rows."""

    def __init__(self, logic: StageLogic, partition: int, *, changelog: ChangelogPort,
                 snapshots: SnapshotPort, clock: ClockPort, standby: StandbyPort | None) -> None:
        self._logic, self._partition = logic, partition
        self._changelog, self._snapshots, self._clock = changelog, snapshots, clock
        self._standby = standby

    def find(self, lineage: Lineage, *, again: bool) -> Base | None:
        """The best there is; None: the changelog is read in full. `again`: this lane has owned the
        partition all the time, and nobody stood by."""
        return (None if again else self._standing_by(lineage)) or self._snapshot_base(lineage)

    def _standing_by(self, lineage: Lineage) -> Base | None:
        """What this process has followed while another one owned the partition."""
        if self._standby is None:
            return None
        base = self._standby.release(self._partition, lineage)
        if base is None or base.next_offset > self._changelog.end(self._partition):
            return None
        log.info("%s/%s: this worker stood by; the changelog is read from %d on", self._logic.name,
                 self._partition, base.next_offset)
        return base

    def _snapshot_base(self, lineage: Lineage) -> Base | None:
        snapshot = self._usable_snapshot(lineage)
        try:
            return None if snapshot is None else Base.begin(self._logic, lineage, snapshot)
        except DamagedError as fault:
            log.warning("%s/%s: the snapshot is damaged (%s); the whole changelog is read",
                        self._logic.name, self._partition, fault)
            return None

    def _usable_snapshot(self, lineage: Lineage) -> Snapshot | None:
        """The snapshot here, unless its checkpoint does not count or lies beyond the changelog."""
        stored = self._snapshots.load(self._partition)
        if stored is None:
            return None
        like = self._logic.make_slab()
        found = snapshots.read(stored, layout=like.layout, width=like.width,
                               ends=dict(lineage.ends), now_ms=self._clock.now_ms())
        if found is None or found.next_offset > self._changelog.end(self._partition):
            return None
        return found
