"""The sink itself: batches move through intent, insert, ledger and completion. No I/O of its own.

The order is the whole guarantee (docs/sql.md, "How sure is it?"): the range is in
Kafka before the insert is tried, the insert carries the range as its token, and the offset moves
only after the rows, the culprits and the ledger are all durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum

from sinks.cutting import Batch, Buffer, Cut
from sinks.decoding import Decoded, Fault
from sinks.intents import Arrival, Intent, Where, checksum
from sinks.ports import LedgerEntry, Log, Quarantine, Rows, RowsRefused, Warehouse

BUFFER_BYTES_MAX = 64 * 1024 * 1024      # all partitions together; beyond it, everything is cut


class Phase(IntEnum):
    CUT, INTENDED, STORED, ENTERED = range(4)


@dataclass(slots=True)
class Pending:
    """A batch on its way; a failed step leaves it where it was, to be tried again."""

    batch: Batch
    phase: Phase
    entry: LedgerEntry | None = None


@dataclass(slots=True)
class Writer:
    """`schema_of` gives the contract's fingerprint of a topic, hex; `warn` gets one sentence."""

    log: Log
    warehouse: Warehouse
    quarantine: Quarantine
    schema_of: Callable[[str], str]
    warn: Callable[[str], None]
    cut: Cut = field(default_factory=Cut)
    age_ms: int = 0        # raised by whoever runs us when rounds are slow, see `service`
    _buffers: dict[Where, Buffer] = field(default_factory=dict)
    _pending: dict[Where, Pending] = field(default_factory=dict)

    def assign(self, where: Where, committed: int, metadata: str, *, topic_id: str) -> None:
        """Own a partition from `committed` on; an open intent is replayed first."""
        intent = Intent.of_metadata(metadata)
        if intent is not None and (intent.topic_id != topic_id or intent.first != committed):
            intent = None
        self._pending.pop(where, None)
        self._buffers[where] = Buffer(where, committed, topic_id=topic_id, cut=self.cut,
                                      schema=self.schema_of(where.topic), recovering=intent)

    def revoke(self, partitions: Iterable[Where]) -> None:
        """Not ours any more: the next owner starts from the committed offset and its intent."""
        for where in partitions:
            self._buffers.pop(where, None)
            self._pending.pop(where, None)

    def take(self, record: Arrival, now_ms: int) -> None:
        buffer = self._buffers.get(record.where)
        if buffer is not None:
            buffer.take(record, now_ms)

    def reached(self, where: Where, position: int) -> None:
        buffer = self._buffers.get(where)
        if buffer is not None:
            buffer.reached(position)

    @property
    def idle(self) -> bool:
        """Nothing is on its way (records may still wait to be cut)."""
        return not self._pending

    def advance(self, now_ms: int, *, force: bool = False) -> None:
        """Move every batch as far as it goes.

        Raises OwnershipChanged or Unavailable; what was reached is kept, and the next call goes on
        from there.
        """
        force = force or sum(b.size_bytes for b in self._buffers.values()) > BUFFER_BYTES_MAX
        for where, buffer in self._buffers.items():
            if where not in self._pending and (batch := buffer.cut(
                    now_ms, force=force, age_ms=self.age_ms)):
                self._check(batch)
                self._pending[where] = Pending(
                    batch, Phase.INTENDED if batch.again else Phase.CUT)
        self._intend()
        try:
            for pending in self._in(Phase.INTENDED):
                self._store(pending)
        finally:
            self._enter()      # what is in counts, even when the next insert failed
            self._complete()

    def _check(self, batch: Batch) -> None:
        if batch.again and checksum(batch.records) != batch.intent.crc:
            self.warn(f"{batch.where.topic}/{batch.where.partition}: offsets {batch.intent.first} "
                      f"to {batch.intent.last} are not what they were (compacted or expired)")

    def _in(self, phase: Phase) -> list[Pending]:
        return [pending for pending in self._pending.values() if pending.phase == phase]

    def _intend(self) -> None:
        fresh = self._in(Phase.CUT)
        if not fresh:
            return
        self.log.commit({pending.batch.where: (pending.batch.intent.first,
                                               pending.batch.intent.to_metadata())
                         for pending in fresh})
        for pending in fresh:
            pending.phase = Phase.INTENDED

    def _store(self, pending: Pending) -> None:
        batch = pending.batch
        pending.batch = replace(batch, again=True)     # a second try must look before it inserts
        intent, where = batch.intent, batch.where
        decoded = self.warehouse.decode(where, intent.topic_id, batch.records)
        faults = [*decoded.faults, *self._insert(batch, decoded)]
        if faults:
            self.quarantine.send(faults)
        pending.entry = LedgerEntry(
            where, intent.topic_id, intent.first, intent.last,
            rows=decoded.rows.height + len(decoded.faults) - len(faults),
            poison_rows=len(faults), control_rows=decoded.controls, token=intent.token(where))
        pending.phase = Phase.STORED

    def _insert(self, batch: Batch, decoded: Decoded) -> list[Fault]:
        present: set[int] = set()
        if batch.again:
            present = self.warehouse.present(batch.where, batch.intent.topic_id,
                                             batch.intent.first, batch.intent.last)
        return Bisect(self.warehouse, batch, present).insert(decoded.rows, part=False)

    def _enter(self) -> None:
        stored = self._in(Phase.STORED)
        if stored:
            self.warehouse.enter([p.entry for p in stored if p.entry is not None])
            for pending in stored:
                pending.phase = Phase.ENTERED

    def _complete(self) -> None:
        entered = self._in(Phase.ENTERED)
        if entered:
            self.log.commit({p.batch.where: (p.batch.intent.last + 1, "") for p in entered})
            for pending in entered:
                del self._pending[pending.batch.where]


@dataclass(frozen=True, slots=True)
class Bisect:
    """Inserts rows as one block; halves what ClickHouse refuses until the culprits stand alone.

    The plan is a pure function of the rows, and a block is in as a whole or not at all. So after a
    crash the offsets present tell how far it got: a part of which all is in is skipped, one of
    which some is in was being halved.
    """

    warehouse: Warehouse
    batch: Batch
    present: set[int]

    def insert(self, rows: Rows, *, part: bool = True) -> list[Fault]:
        """The rows that were refused, in order."""
        offsets = self.warehouse.offsets(rows)
        missing = [offset for offset in offsets if offset not in self.present]
        if not missing:
            return []
        if len(missing) == len(offsets):
            intent, where = self.batch.intent, self.batch.where
            token = intent.token(where, offsets[0], offsets[-1]) if part else intent.token(where)
            try:
                self.warehouse.insert(where, rows, token)
                return []
            except RowsRefused as fault:
                if len(offsets) == 1:
                    return [self._culprit(offsets[0], str(fault))]
        half = len(offsets) // 2
        return (self.insert(rows.slice(0, half))
                + self.insert(rows.slice(half, len(offsets) - half)))

    def _culprit(self, offset: int, detail: str) -> Fault:
        record = next(r for r in self.batch.records if r.offset == offset)
        return Fault(record, "row_refused", detail[:300])
