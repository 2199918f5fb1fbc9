"""Circuit: a model that keeps failing is left alone for a while, then asked once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Circuit:
    """Opens after `failures_max` failures in a row, for `rest_ms`; then one call may try."""

    failures_max: int = 5
    rest_ms: int = 30_000
    failures_count: int = 0
    open_until_ms: int = 0

    def allows(self, now_ms: int) -> bool:
        """Whether a call may be made. After the rest, exactly one: the next must wait again."""
        if self.failures_count < self.failures_max:
            return True
        if now_ms < self.open_until_ms:
            return False
        self.open_until_ms = now_ms + self.rest_ms
        return True

    def succeeded(self) -> None:
        self.failures_count = 0

    def failed(self, now_ms: int) -> None:
        self.failures_count += 1
        if self.failures_count >= self.failures_max:
            self.open_until_ms = now_ms + self.rest_ms
