"""What the sink asks of the world: a log that keeps offsets, a warehouse, a quarantine.

The real ones are in `consumer`, `warehouse` and `quarantine`; the crash simulation in the tests has
others that fail between any two effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sinks.decoding import Decoded, Fault
from sinks.intents import Arrival, Where


class OwnershipChanged(Exception):
    """The group is rebalancing: nothing was committed; try again if the partition stays ours."""


class Unavailable(Exception):
    """ClickHouse or Kafka cannot do it now, or not until somebody mends it. Nothing is lost."""


class RowsRefused(Exception):
    """ClickHouse will never take these rows as they are."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One finished batch, as `sink_batches` keeps it."""

    where: Where
    topic_id: str
    first: int
    last: int
    rows: int
    poison_rows: int
    control_rows: int
    token: str


class Rows(Protocol):
    """Decoded rows that can be counted and sliced; a polars frame is one."""

    @property
    def height(self) -> int: ...
    def slice(self, offset: int, length: int) -> Rows: ...


class Log(Protocol):
    def commit(self, offsets: Mapping[Where, tuple[int, str]]) -> None:
        """Commit {partition: (offset, metadata)}, all or none.

        Raises OwnershipChanged or Unavailable.
        """
        ...


class Warehouse(Protocol):
    def decode(self, where: Where, topic_id: str, records: Sequence[Arrival]) -> Decoded: ...

    def offsets(self, rows: Rows) -> list[int]: ...

    def present(self, where: Where, topic_id: str, first: int, last: int) -> set[int]:
        """Offsets of the range that are in the landing table. Raises Unavailable."""
        ...

    def insert(self, where: Where, rows: Rows, token: str) -> None:
        """One block. Raises RowsRefused, or Unavailable when it may or may not be in."""
        ...

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        """Write the ledger. Raises Unavailable."""
        ...


class Quarantine(Protocol):
    def send(self, faults: Sequence[Fault]) -> None:
        """Durable when it returns. Repeats have the same ids. Raises Unavailable."""
        ...
