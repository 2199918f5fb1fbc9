"""Cutting: which records of a partition make the next batch. Pure.

A fresh batch is cut by rows, bytes or age, and never holds two months, because landing tables are
partitioned by month and one block may touch only so many of those. A batch that an intent already
names is cut exactly where the intent says.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from sinks.intents import Arrival, Intent, Where, checksum

ROWS_MAX: Final = 20_000
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
AGE_MS_MAX: Final = 1_000
BLOCK_ROWS_MAX: Final = 1_048_449     # more than this, and ClickHouse splits the block

assert ROWS_MAX <= BLOCK_ROWS_MAX     # one batch is one block


@dataclass(frozen=True, slots=True)
class Cut:
    """Where batches end: rows, bytes, and the age of the oldest record in milliseconds."""

    rows_max: int = ROWS_MAX
    bytes_max: int = BATCH_BYTES_MAX
    age_ms_max: int = AGE_MS_MAX


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition that land together. `again`: an insert may have been tried."""

    where: Where
    intent: Intent
    records: tuple[Arrival, ...]
    again: bool = False


def month_of(appended_ms: int) -> tuple[int, int]:
    """(year, month) in UTC; moments outside of years 1 to 9999 count as month (0, 0)."""
    try:
        moment = datetime.fromtimestamp(appended_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return (0, 0)
    return moment.year, moment.month


class Buffer:
    """Records of one partition that wait to be cut.

    next_offset   where the next batch begins: the committed offset. Ranges touch each other even
                  where Kafka's offsets have gaps, which is how the ledger proves that none is lost
    recovering    the intent found at assignment; it is cut first, and exactly
    """

    def __init__(self, where: Where, next_offset: int, *, topic_id: str, schema: str, cut: Cut,
                 recovering: Intent | None = None) -> None:
        self.where, self.next_offset, self.recovering = where, next_offset, recovering
        self._topic_id, self._schema, self._cut = topic_id, schema, cut
        self._records: deque[Arrival] = deque()
        self._opened_ms = 0
        self._read_to = next_offset
        self.size_bytes = 0

    def take(self, record: Arrival, now_ms: int) -> None:
        """Records must come in the order of their offsets; what was seen before is ignored."""
        if record.offset < self._read_to:
            return
        if not self._records:
            self._opened_ms = now_ms
        self._records.append(record)
        self._read_to = record.offset + 1
        self.size_bytes += len(record.value or b"")

    def reached(self, position: int) -> None:
        """Kafka has nothing below `position` that was not handed over."""
        self._read_to = max(self._read_to, position)

    def cut(self, now_ms: int, *, force: bool = False, age_ms: int = 0) -> Batch | None:
        """The next batch, or None while it is not due.

        age_ms   how old the oldest record must be if that is more than the usual age
        """
        if self.recovering is not None:
            return self._recovered(self.recovering, now_ms)
        due = (len(self._records) >= self._cut.rows_max or self.size_bytes >= self._cut.bytes_max
               or now_ms - self._opened_ms >= max(age_ms, self._cut.age_ms_max))
        if not self._records or not (due or force):
            return None
        records = self._shift(self._length(), now_ms)
        intent = Intent(self.next_offset, records[-1].offset, len(records), checksum(records),
                        self._schema, self._topic_id)
        self.next_offset = intent.last + 1
        return Batch(self.where, intent, records)

    def _recovered(self, intent: Intent, now_ms: int) -> Batch | None:
        if self._read_to <= intent.last:
            return None
        length = sum(1 for record in self._records if record.offset <= intent.last)
        self.recovering = None
        self.next_offset = intent.last + 1
        return Batch(self.where, intent, self._shift(length, now_ms), again=True)

    def _length(self) -> int:
        """How many of the waiting records belong to the next batch: at least one."""
        size_bytes, month = 0, month_of(self._records[0].appended_ms)
        for length, record in enumerate(islice(self._records, self._cut.rows_max)):
            size_bytes += len(record.value or b"")
            if length and (size_bytes > self._cut.bytes_max
                           or month_of(record.appended_ms) != month):
                return length
        return min(len(self._records), self._cut.rows_max)

    def _shift(self, length: int, now_ms: int) -> tuple[Arrival, ...]:
        records = tuple(self._records.popleft() for _ in range(length))
        self.size_bytes -= sum(len(record.value or b"") for record in records)
        self._opened_ms = now_ms
        return records
