"""Where the wall time of lanes goes: for whoever asks why a stage is slow.

Lanes of one process overlap: while one waits for the broker, another walks. So the shares are of
one lane's time, not of a core's. A lane walks on while its checkpoint is under way: its waits for
acknowledgements and commits are not times in which no batch was taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from streams.engine.ports import ClockPort

What = Literal["walks", "acknowledgements", "commits"]
_ALL: Final[tuple[What, ...]] = ("walks", "acknowledgements", "commits")


class Spent:
    """Milliseconds that one lane has spent on each of its doings so far; it decides nothing."""

    def __init__(self, clock: ClockPort) -> None:
        self._clock = clock
        self.ms: dict[str, int] = dict.fromkeys(_ALL, 0)

    @contextmanager
    def on(self, what: What) -> Iterator[None]:
        began_ms = self._clock.now_ms()
        try:
            yield
        finally:
            self.ms[what] += self._clock.now_ms() - began_ms


@dataclass(frozen=True, slots=True)
class Tally:
    """What several lanes have done up to a moment of the steady clock."""

    at_s: float
    lanes: int
    records: int
    ms: Mapping[str, int]

    @classmethod
    def of(cls, at_s: float, lanes: Sequence[tuple[int, Spent]]) -> Tally:
        """`lanes`: the records that each has taken, and what it has spent."""
        return cls(at_s, len(lanes), sum(records for records, _ in lanes),
                   {what: sum(spent.ms[what] for _, spent in lanes) for what in _ALL})

    def since(self, before: Tally) -> str:
        """One line for the log; "" when nothing was done, or lanes have come or gone."""
        records, wall_s = self.records - before.records, self.at_s - before.at_s
        if records <= 0 or self.lanes != before.lanes:
            return ""
        told = ", ".join(f"{what} {(ms - before.ms[what]) / 1000 / self.lanes / wall_s:.1%}"
                         for what, ms in self.ms.items())
        return (f"{records:,} records in {wall_s:.0f} s, {records / wall_s:,.0f} a second; of the "
                f"time of {self.lanes} lanes: {told}; the rest is waiting for records")
