"""The budget ledger: worst cases are reserved before a call and settled after it.

Accounts stand in a hierarchy (the day's total, then each playbook's share of it); a reservation
holds in all of them or in none. So many callers at once can never spend more than the limit, as
long as no call costs more than it reserved.

One worker may hold several partitions and partitions move between workers. So the day's budget is
cut into equal shares, one for each partition: the sum stays within the limit without the workers
talking to each other, at the price that a busy partition cannot use a quiet one's share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from streams.kernel.moments import DAY_MS


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits for a day (UTC). `playbook_share`: the most of it that one playbook may take."""

    day_usd_micros: int
    partitions: int = 1
    playbook_share: float = 1.0

    def __post_init__(self) -> None:
        if self.day_usd_micros < 0 or self.partitions < 1 or not 0 < self.playbook_share <= 1:
            raise ValueError(f"no such budget: {self}")

    @property
    def share_usd_micros(self) -> int:
        return self.day_usd_micros // self.partitions

    @property
    def playbook_usd_micros(self) -> int:
        return int(self.share_usd_micros * self.playbook_share)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money put aside; give it back to the ledger by `settle` or `release`, once."""

    number: int
    day: int
    playbook: str
    usd_micros: int


@dataclass(slots=True)
class Ledger:
    """The accounts of one partition for the present day."""

    budget: Budget
    _day: int = -1
    _spent: dict[str, int] = field(default_factory=dict)
    _held: dict[int, Reservation] = field(default_factory=dict)
    _number: int = 0
    _lock: Lock = field(default_factory=Lock)

    def reserve(self, playbook: str, usd_micros: int, now_ms: int) -> Reservation | None:
        """Put `usd_micros` aside in the day's account and the playbook's; None when either is
        spent, and then nothing is put aside."""
        assert usd_micros >= 0
        with self._lock:
            self._turn(now_ms // DAY_MS)
            if (self._taken() + usd_micros > self.budget.share_usd_micros
                    or self._taken(playbook) + usd_micros > self.budget.playbook_usd_micros):
                return None
            self._number += 1
            held = Reservation(self._number, self._day, playbook, usd_micros)
            self._held[held.number] = held
            return held

    def settle(self, held: Reservation, usd_micros: int) -> None:
        """The call cost `usd_micros`; the rest of the reservation is free again."""
        assert usd_micros >= 0
        with self._lock:
            if self._held.get(held.number) is not held:
                return                                    # settled before, or another ledger's
            del self._held[held.number]
            if held.day == self._day:
                self._spent[held.playbook] = self._spent.get(held.playbook, 0) + usd_micros

    def release(self, held: Reservation) -> None:
        """The call was not made or cost nothing."""
        self.settle(held, 0)

    @property
    def spent_usd_micros(self) -> int:
        return sum(self._spent.values())

    @property
    def left_usd_micros(self) -> int:
        with self._lock:
            return max(0, self.budget.share_usd_micros - self._taken())

    def dump(self) -> dict[str, Any]:
        """JSON-able state for a checkpoint. What is still held counts as spent: after a crash
        nobody knows whether those calls were billed."""
        with self._lock:
            spent = dict(self._spent)
            for held in self._held.values():
                if held.day == self._day:
                    spent[held.playbook] = spent.get(held.playbook, 0) + held.usd_micros
            return {"day": self._day, "spent": spent}

    def restore(self, state: Mapping[str, Any]) -> None:
        with self._lock:
            self._day = int(state.get("day", -1))
            self._spent = {str(name): int(micros)
                           for name, micros in state.get("spent", {}).items()}

    def _turn(self, day: int) -> None:
        """A new day starts with empty accounts; a clock that steps back does not."""
        if day > self._day:
            self._day, self._spent = day, {}

    def _taken(self, playbook: str | None = None) -> int:
        held = sum(h.usd_micros for h in self._held.values()
                   if h.day == self._day and playbook in (None, h.playbook))
        spent = self._spent.values() if playbook is None else (self._spent.get(playbook, 0),)
        return held + sum(spent)
