"""The limits of admission, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class AdmitLimits:
    """late_ms      how far an event may lie behind its tenant's clock
    future_ms       how far it may lie ahead of the broker's time
    dedup_ms        how long, in broker time, an id is remembered
    event_bytes_max largest value taken
    ids_max         most ids remembered per partition; beyond it the oldest are forgotten early
    tenants_max     most tenants per partition: a clock is kept for each
    """

    late_ms: int = 30 * DAY_MS
    future_ms: int = 5 * MINUTE_MS
    dedup_ms: int = 24 * HOUR_MS
    event_bytes_max: int = 65536
    ids_max: int = 2_000_000
    tenants_max: int = 1000

    @classmethod
    def from_settings(cls, settings: Settings) -> AdmitLimits:
        return cls(late_ms=settings.late_days * DAY_MS,
                   future_ms=settings.future_minutes * MINUTE_MS,
                   dedup_ms=settings.dedup_hours * HOUR_MS,
                   event_bytes_max=settings.event_bytes_max)
