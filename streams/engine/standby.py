"""Standby: rows of a partition that another worker owns, nearly up to date.

    changelog -> pending (may yet be committed, or not) -> base (counts for good)

Whoever takes the partition over goes on from the base and reads only what lies behind it. An entry
is *decided* when the committed lineage says what it is and cannot say otherwise any more: it
counts; it is of an epoch that is over and does not count; it clears a key. What lies behind the
first undecided entry waits, so the base is the changelog up to one place, as a snapshot is.
"""

from __future__ import annotations

from collections.abc import Iterable

from streams.engine.checkpoints import Base
from streams.engine.snapshots import AGE_MS_MAX
from streams.engine.versions import Lineage, is_decided

Placed = tuple[int, bytes, bytes | None]            # offset, changelog key, value


class Follower:
    """Follows the changelog of one partition from where `base` ends, as of `now_ms`.

    Tombstones are cleaned away after a day: whoever did not look for half of that missed some.
    """

    def __init__(self, base: Base, now_ms: int) -> None:
        self._base, self._end, self._heard_ms = base, base.next_offset, now_ms
        self._pending: list[tuple[Placed, int]] = []       # and when it was read
        self._missed = False

    @property
    def next_offset(self) -> int:
        """What to read next."""
        return self._end

    def is_usable(self, now_ms: int) -> bool:
        """False when it must begin anew."""
        waits_ms = self._pending[0][1] if self._pending else self._heard_ms
        return not self._missed and 0 <= now_ms - waits_ms <= AGE_MS_MAX

    def take(self, entries: Iterable[Placed], end: int, now_ms: int) -> None:
        """What the changelog holds from `next_offset` to `end`, as of `now_ms`."""
        self._missed |= not 0 <= now_ms - self._heard_ms <= AGE_MS_MAX
        self._pending += ((entry, now_ms) for entry in entries)
        self._end, self._heard_ms = end, now_ms

    def settle(self, lineage: Lineage) -> None:
        """Take into the base what is decided. Raises StateError for what is not ours.

        lineage   as committed, whenever it was asked for
        """
        ends, count = dict(lineage.ends), 0
        for (_, key, value), _ in self._pending:
            if not is_decided(key, value, ends, lineage.epoch):
                break
            count += 1
        decided, self._pending = self._pending[:count], self._pending[count:]
        self._base.read(((key, value) for (_, key, value), _ in decided), lineage)
        self._base.next_offset = self._pending[0][0][0] if self._pending else self._end

    def base(self, lineage: Lineage, now_ms: int) -> Base | None:
        """What to go on from under `lineage`; None: from something else. Not to be used after."""
        if not self.is_usable(now_ms) or self._base.versions.lineage.number > lineage.number:
            return None
        return self._base
