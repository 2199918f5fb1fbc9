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
    profile_rate    events a second of one person in one partition; 0: no limit
    profile_burst   how many may come at once, where nothing came for a while
    newcomer_rate   people a second whom a partition does not know yet, per tenant and over all
                    partitions; 0: no limit
    newcomer_burst  how many of them may come at once
    """

    late_ms: int = 30 * DAY_MS
    future_ms: int = 5 * MINUTE_MS
    dedup_ms: int = 24 * HOUR_MS
    event_bytes_max: int = 65536
    ids_max: int = 2_000_000
    tenants_max: int = 1000
    profile_rate: int = 50
    profile_burst: int = 1000
    newcomer_rate: int = 200
    newcomer_burst: int = 100_000

    @classmethod
    def from_settings(cls, settings: Settings) -> AdmitLimits:
        return cls(late_ms=settings.late_days * DAY_MS,
                   future_ms=settings.future_minutes * MINUTE_MS,
                   dedup_ms=settings.dedup_hours * HOUR_MS,
                   event_bytes_max=settings.event_bytes_max,
                   profile_rate=settings.profile_events_per_s,
                   profile_burst=settings.profile_events_burst,
                   newcomer_rate=settings.new_profiles_per_s,
                   newcomer_burst=settings.new_profiles_burst)
