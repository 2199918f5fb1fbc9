"""The proof: does the ledger cover every offset once, and do the tables hold what it says?"""

from __future__ import annotations

from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from sinks.topics import LANDINGS, Landing

_RANGES = """
SELECT countIf(NOT is_first AND first_offset > expected) AS gaps,
       countIf(NOT is_first AND first_offset < expected) AS overlaps,
       count() AS batches, sum(landed) AS landed, sum(poison) AS poison, sum(control) AS control
FROM (
    SELECT first_offset, rows AS landed, poison_rows AS poison, control_rows AS control,
           row_number() OVER ranges = 1 AS is_first,
           lagInFrame(last_offset + 1) OVER ranges AS expected
    FROM sink_batches FINAL
    WHERE topic = {topic:String}
    WINDOW ranges AS (PARTITION BY topic_id, partition ORDER BY first_offset
                      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
"""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found of one topic.

    rows        rows in the landing table; expired ones are gone, so this may be below `ledger_rows`
    unique      distinct (topic id, partition, offset) among them
    """

    topic: str
    batches: int
    gaps: int
    overlaps: int
    ledger_rows: int
    poison_rows: int
    control_rows: int
    rows: int
    unique: int

    @property
    def holds(self) -> bool:
        return self.gaps == self.overlaps == 0 and self.rows == self.unique == self.ledger_rows

    @property
    def verdict(self) -> str:
        faults = [text for wrong, text in (
            (self.gaps > 0, f"{self.gaps} gaps in the ledger"),
            (self.overlaps > 0, f"{self.overlaps} overlaps in the ledger"),
            (self.rows > self.unique, f"{self.rows - self.unique} rows stored twice"),
            (self.rows < self.ledger_rows,
             f"{self.ledger_rows - self.rows} rows missing (expired, or erased)"),
            (self.rows > self.ledger_rows, f"{self.rows - self.ledger_rows} rows not in the "
             "ledger (a batch may be under way; look again)")) if wrong]
        return "; ".join(faults) or "holds"


def audit(client: Client) -> list[Audit]:
    """One finding per topic that ever landed."""
    return [found for found in (_audit(client, landing) for landing in LANDINGS) if found.batches]


def _audit(client: Client, landing: Landing) -> Audit:
    gaps, overlaps, batches, landed, poison, control = client.query(
        _RANGES, parameters={"topic": landing.topic}).result_rows[0]
    rows, unique = client.query(
        f"SELECT count(), uniqExact(_topic_id, _partition, _offset) FROM {landing.table}"
    ).result_rows[0]
    return Audit(landing.topic, batches, gaps, overlaps, landed, poison, control, rows, unique)
