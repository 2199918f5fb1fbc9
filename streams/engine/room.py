"""What rows look like to whoever works on them, and how much memory they may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from streams.engine.ports import ArenaPort

Slots = npt.NDArray[np.int64]


class Views(NamedTuple):
    """The same rows as numbers of several widths; index = byte offset // width."""

    u8: npt.NDArray[np.uint8]
    u16: npt.NDArray[np.uint16]
    i64: npt.NDArray[np.int64]
    f64: npt.NDArray[np.float64]
    dirty: npt.NDArray[np.uint8]
    # Not part of a row: when its timer comes up (0: none), and whether it waits for somebody.
    armed: npt.NDArray[np.int64]
    waits: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Room:
    """Memory for the rows of one partition, in bytes, and how to open what holds the others.

    What is due for the changelog stays in memory beyond it, until the next checkpoint.
    """

    memory_bytes: int
    arena: Callable[[], ArenaPort]


class Beside(Protocol):
    """What a stage keeps of rows in memory in arrays of its own, and writes with their tails."""

    def told(self, slots: Slots) -> dict[int, dict[str, Any]]:
        """What is added to the tails of these rows when they are written; by slot."""
        ...

    def taken(self, slot: int, tail: dict[str, Any]) -> None:
        """The row was read back with this tail; what `told` added is to be taken out of it."""
        ...

    @property
    def memory_bytes(self) -> int:
        """What it takes; that of rows that leave memory goes with them."""
        ...

    def forget(self, slots: Slots) -> None:
        """These rows are gone from memory, or are about to be read anew."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows: those in memory, or copies of some that are out of it. `key` names one by slot."""

    views: Views
    slots: Slots
    tails: dict[int, dict[str, Any]]
    in_memory: bool
    key: Callable[[int], bytes]


def view_of(rows: npt.NDArray[np.uint8], dirty: Any, armed: Any, waits: Any) -> Views:
    return Views(rows, rows.view(np.uint16), rows.view(np.int64), rows.view(np.float64),
                 dirty, armed, waits)
