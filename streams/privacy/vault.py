"""The vault as the stages see it: identifiers go in at admit and come out at deliver only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

# The traits that say who somebody is. They are kept in the vault and nowhere else.
IDENTIFIERS: Final = ("email", "phone", "first_name", "last_name")


@dataclass(frozen=True, slots=True)
class Deposit:
    """Identifiers of one person, as they were at `as_of_ms` (event time); older ones yield."""

    profile_id: str
    fields: tuple[tuple[str, str], ...]
    as_of_ms: int


class VaultPort(Protocol):
    def put_many(self, deposits: Iterable[Deposit]) -> None:
        """Keep all of them, durably, before returning. Repeating it changes nothing."""
        ...

    def get(self, profile_id: str, name: str) -> str | None:
        """One identifier; None when unknown or erased."""
        ...

    def forget(self, profile_id: str) -> bool:
        """Destroy the person's key and values for good; True when there were any."""
        ...
