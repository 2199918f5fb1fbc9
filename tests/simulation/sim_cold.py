"""The choose stage with next to no memory: rows leave it after every checkpoint, if the disk lets
them. Its twin has all the memory it wants."""

from __future__ import annotations

import errno
import random
from typing import Any

import numpy as np
import numpy.typing as npt
import sim_choose
from sim_choose import fill
from test_choose_crash import PLAYBOOKS

from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.engine.room import Room
from streams.kernel.side_inputs import SideInputs

__all__ = ["compare", "fill", "logic"]

ROWS_MAX = 1


class Disk:
    """An arena in memory, and a disk that is full now and then."""

    def __init__(self, dice: random.Random) -> None:
        self._dice, self._held = dice, np.zeros(0, np.uint8)

    def grow(self, size: int) -> npt.NDArray[np.uint8]:
        if self._dice.random() < 0.2:
            raise OSError(errno.ENOSPC, "No space left on device")
        grown = np.zeros(size, np.uint8)
        grown[:len(self._held)] = self._held
        self._held = grown
        return grown


def room() -> Room:
    dice = random.Random(1)
    return Room(ROWS_MAX * (compiled().people.row_bytes + 200), lambda: Disk(dice))


def logic() -> ChooseLogic:
    return ChooseLogic(SideInputs(), compiled(), lambda side, tenant: PLAYBOOKS, members_min=0,
                       room=room())


def compare(world: Any, when: str) -> None:
    """As `sim_choose.compare`: rows in memory and out of it are the twin's."""
    world.happened["rows out of memory"] += world.state().slab.people.cold_count
    sim_choose.compare(world, when)
