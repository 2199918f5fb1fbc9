"""Moving: the segments and timers of people, as time alone moves them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streams.choose import kernel, lapsing, triggers
from streams.choose.features.layout import EVER_MS
from streams.choose.program import Program
from streams.choose.tables import Tables


class Moving:
    """Of the people in `tables`."""

    def __init__(self, program: Program, tables: Tables) -> None:
        self._program, self._tables, self._people = program, tables, tables.people

    def regroup(self, slot: int, at_ms: int) -> tuple[int, int]:
        """(segments before, after) as masks, as of `at_ms` or the newest event, if that is later;
        the row is changed."""
        before, after = lapsing.regroup(self._program.person, self._people.views, slot,
                                        self._program.moving, at_ms,
                                        self._people.index.arrays.hashes[slot])
        return int(before), int(after)

    def lapses(self, slot: int, until_ms: int) -> Iterator[int]:
        """The moments, up to `until_ms`, at which time alone moves the person and that nobody was
        told of. The caller regroups at each before it takes the next."""
        person, segments, views = self._program.person, self._program.moving, self._people.views
        who = self._people.index.arrays.hashes[slot]
        moment = 0
        while (moment := int(lapsing.next_lapse(person, views, slot, segments, moment, until_ms,
                                                who))) != EVER_MS:
            yield moment

    def arm(self, slot: int, tenant: str, *, after_ms: int) -> None:
        """Wake the person again at the next moment after `after_ms` that may matter."""
        lapse = int(lapsing.lapse_after(self._program.person, self._people.views, slot,
                                        self._program.moving, after_ms))
        waits = self.waits_until_ms(slot)
        moment = lapse if waits is None else min(lapse, waits)
        if moment < EVER_MS:
            self._tables.timers(tenant).arm(slot, moment)

    def arm_found(self, results: kernel.Results, start: int, end: int) -> None:
        """Hand the timers that the kernel marked to their heaps."""
        armed = np.nonzero(results.armed_ms[start:end])[0] + start
        if not len(armed):
            return
        slots = results.slot[armed]
        names = [self._tables.tenant_of(slot) for slot in slots.tolist()]
        for tenant in dict.fromkeys(names):
            assert tenant is not None, "the kernel arms rows of known tenants only"
            own = np.array([name == tenant for name in names])
            self._tables.timers(tenant).push(results.armed_ms[armed[own]], slots[own])

    def waits_until_ms(self, slot: int) -> int | None:
        """The earliest moment at which a trigger may have something to say of the person."""
        found = (triggers.next_deadline_ms(self._people.tails.get(slot, {}).get("w", {})),
                 self._tables.absences.next_deadline_ms(slot))
        return min((ms for ms in found if ms is not None), default=None)
