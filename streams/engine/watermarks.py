"""Watermarks: up to which event time everything has been heard.

A stage with several upstream partitions knows no more than the slowest of them: the watermark of a
tenant is the minimum over all upstream partitions, and nothing until each has spoken. It never goes
back. Source: Akidau et al., "The Dataflow Model", VLDB 2015, section 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping

NEVER = -1


class Watermarks:
    def __init__(self, upstream: int, marks: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """`upstream`: number of partitions that report; `marks`: what `dump` gave."""
        assert upstream >= 1
        self.upstream = upstream
        self._marks: dict[str, dict[int, int]] = {
            tenant: {int(part): ms for part, ms in by.items()}
            for tenant, by in (marks or {}).items()}

    def advance(self, tenant: str, partition: int, watermark_ms: int) -> int:
        """Take one report; returns the tenant's watermark now, NEVER when some are silent."""
        by = self._marks.setdefault(tenant, {})
        if watermark_ms > by.get(partition, NEVER):
            by[partition] = watermark_ms
        return self.of(tenant)

    def of(self, tenant: str) -> int:
        by = self._marks.get(tenant, {})
        return min(by.values()) if len(by) == self.upstream else NEVER

    def dump(self) -> dict[str, dict[str, int]]:
        return {tenant: {str(part): ms for part, ms in by.items()}
                for tenant, by in self._marks.items()}
