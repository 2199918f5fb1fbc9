"""Versions: a changelog in which nothing that the last commit needs is ever overwritten.

    changelog key     \x01, tag, row key            tag = 2 * epoch + side
    changelog value   checkpoint number, row bytes  no bytes: the row was dropped
    commit metadata   lineage: per epoch the number of its last committed checkpoint

An *epoch* is one lane's time of owning a partition. It begins with a commit, and the broker takes a
commit from the owner only: so epochs are numbered without dice, and what the lineage says of
earlier ones is final. A version *counts* when its number is not beyond its epoch's last committed
one; of those, the newest in the log is the row. So recovery finds the rows exactly as of the
committed offsets, whatever a lane left half written, and whatever a *zombie* (a lane that was
stopped, lost its partition, and goes on) still writes.

Compaction keeps the last message of a key. So a lane writes a row on the *side* that does not hold
its committed version, and never under another epoch's tag. Keys are cleared (tombstones) only
when the commit that made them needless is known to have been taken: clearing is then right
whenever it happens, by a zombie too.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from streams.engine.snapshots import Snapshot
from streams.kernel.errors import StateError

Entry = tuple[bytes, bytes | None]

EPOCHS_MAX = 48          # named in the lineage before rows of the oldest are written anew
MOVED_ROWS_MAX = 500     # per checkpoint, for that reason
_KEY = struct.Struct(">BI")
_NUMBER = struct.Struct("<Q")
_MAGIC = 1
_METADATA = "epochs="
_RESET = ("reset the stage: stop it, delete its changelog topic and its consumer group, and start "
          "again from the beginning of its input")


@dataclass(frozen=True, slots=True)
class Lineage:
    """(epoch, number of its last committed checkpoint) of every epoch that still holds rows.

    In order; the last one is the owner's.
    """

    ends: tuple[tuple[int, int], ...] = ()

    @classmethod
    def read(cls, metadata: str | None) -> Lineage:
        """What commit metadata says. Raises StateError for metadata that is not ours."""
        if not metadata:
            return cls()
        try:
            if not metadata.startswith(_METADATA):
                raise ValueError
            pairs = [pair.split(":") for pair in metadata.removeprefix(_METADATA).split(",")]
            return cls(tuple((int(epoch), int(number)) for epoch, number in pairs))
        except ValueError:
            raise StateError(f"offsets are committed with {metadata!r}, which this build does not "
                             "read", _RESET) from None

    def metadata(self) -> str:
        return _METADATA + ",".join(f"{epoch}:{number}" for epoch, number in self.ends)

    @property
    def epoch(self) -> int:
        return self.ends[-1][0] if self.ends else 0

    @property
    def number(self) -> int:
        """Of the last committed checkpoint; 0 when there was none."""
        return self.ends[-1][1] if self.ends else 0

    @property
    def is_first(self) -> bool:
        """True for the very first owner, before whom there can be no rows."""
        return self.ends == ((1, 0),)

    def claimed(self) -> Lineage:
        """With one more owner. Epochs that never made a checkpoint hold nothing and are left out,
        so that a worker that dies again and again adds nothing."""
        kept, before = [], 0
        for epoch, number in self.ends:
            if number > before:
                kept.append((epoch, number))
            before = number
        return Lineage((*kept, (self.epoch + 1, self.number)))


class Versions:
    """Which version of every key counts, and what may be cleared. One lane's, for one epoch."""

    def __init__(self, lineage: Lineage) -> None:
        self.lineage = lineage
        self._tags: dict[bytes, int] = {}          # key -> tag of the version that counts
        self._held: Counter[int] = Counter()       # epoch -> keys whose version is its
        self._dropped: set[bytes] = set()          # keys whose version says: dropped
        self._spent: dict[bytes, None] = {}        # changelog keys to clear
        self._waiting: set[bytes] = set()          # dropped; cleared when no other version is left
        self._ripe: set[bytes] = set()
        self._written: list[tuple[bytes, int, bool]] = []
        self._moving: list[bytes] = []

    def __len__(self) -> int:
        return len(self._tags)

    def adopt(self, key: bytes, tag: int, *, dropped: bool) -> None:
        """`key` stands under `tag`."""
        old = self._tags.get(key)
        if old is None or old >> 1 != tag >> 1:
            if old is not None:
                self._spend(key, old)
            self._held[tag >> 1] += 1
        self._tags[key] = tag
        (self._dropped.add if dropped else self._dropped.discard)(key)

    def _spend(self, key: bytes, tag: int) -> None:
        """Nothing of this epoch is needed under `key` any more."""
        self._held[tag >> 1] -= 1
        for side in (tag & ~1, tag | 1):
            self._spent[full(side, key)] = None

    def _forget(self, key: bytes) -> None:
        self._held[self._tags.pop(key) >> 1] -= 1
        self._dropped.discard(key)

    def read(self, changelog: Iterable[Entry]) -> Iterator[Entry]:
        """The (key, row bytes) that count, in the order of the log; None: the row is gone.

        Raises StateError when a key is not one of ours, and when there are rows but no owner yet.
        """
        ends, void = dict(self.lineage.ends), dict[bytes, None]()
        for stored, value in changelog:
            if self.lineage.is_first:
                raise StateError("the changelog holds rows, but no offsets were ever committed: "
                                 "state and offsets do not belong together", _RESET)
            tag, key = split(stored)
            epoch = tag >> 1
            if value is None:
                void.pop(stored, None)
                self._spent.pop(stored, None)
                if self._tags.get(key) == tag:
                    self._forget(key)
                    yield key, None
            elif _NUMBER.unpack_from(value)[0] <= ends.get(epoch, -1):
                void.pop(stored, None)
                self._spent.pop(stored, None)
                body = value[_NUMBER.size:]
                self.adopt(key, tag, dropped=not body)
                yield key, body or None
            elif epoch < self.lineage.epoch:      # a newer owner's is not ours to judge
                void[stored] = None
        self._after_reading(void)

    def _after_reading(self, void: Iterable[bytes]) -> None:
        for stored in void:
            tag, key = split(stored)
            if self._tags.get(key, 0) >> 1 != tag >> 1:      # else cleared when the row is written
                self._spent[stored] = None
        self._waiting = set(self._dropped)
        for key in self._dropped:
            self._spent[full(self._tags[key] ^ 1, key)] = None
        surplus = len(self.lineage.ends) - EPOCHS_MAX
        if surplus > 0:
            oldest = {epoch for epoch, _ in self.lineage.ends[:surplus]}
            self._moving = [key for key, tag in self._tags.items()
                            if tag >> 1 in oldest and key not in self._dropped]

    def take_moving(self) -> list[bytes]:
        """Some keys of the oldest epochs, to be written anew with this checkpoint's rows."""
        # Metadata has 4 KB: an owner that finds twice the epochs moves all at once.
        limit = MOVED_ROWS_MAX if len(self.lineage.ends) < 2 * EPOCHS_MAX else len(self._moving)
        taken, self._moving = self._moving[:limit], self._moving[limit:]
        return [key for key in taken if self._tags.get(key, 0) >> 1 != self.lineage.epoch]

    def write(self, number: int, rows: Iterable[Entry]) -> list[Entry]:
        """What checkpoint `number` puts into the changelog: what to clear, then `rows`.

        Every key once. `settle` follows when the commit was taken; if it was not, this is void and
        nothing may be written any more.
        """
        entries: list[Entry] = [(stored, None) for stored in self._spent]
        written: list[tuple[bytes, int, bool]] = []
        find, stamp, (even, odd) = self._tags.get, _NUMBER.pack(number), self._sides()
        even_key, odd_key = full(even, b""), full(odd, b"")
        for key, body in rows:
            old = find(key)
            if body is None and (old is None or key in self._dropped):
                continue
            if old == even:
                tag, stored = odd, odd_key + key
            else:
                tag, stored = even, even_key + key
            written.append((key, tag, body is None))
            entries.append((stored, stamp if body is None else stamp + body))
        if self._ripe or self._waiting:
            again = {key for key, _, _ in written}
            self._ripe -= again
            self._waiting -= again
            entries += [(full(self._tags[key], key), None) for key in sorted(self._ripe)]
        self._written = written
        return entries

    def _sides(self) -> tuple[int, int]:
        """This epoch's tags. A row goes to the one that does not hold its committed version."""
        return self.lineage.epoch << 1, self.lineage.epoch << 1 | 1

    def next(self, number: int) -> Lineage:
        """The lineage to commit checkpoint `number` with."""
        kept = tuple(end for end in self.lineage.ends[:-1] if self._held[end[0]] > 0)
        return Lineage((*kept, (self.lineage.epoch, number)))

    def settle(self, lineage: Lineage) -> None:
        """The commit of what `write` gave was taken: it counts, and what it replaced is spent."""
        self.lineage = lineage
        self._spent.clear()
        for key in self._ripe:
            self._forget(key)
        self._ripe, self._waiting = self._waiting, set()
        for key, tag, dropped in self._written:
            self.adopt(key, tag, dropped=dropped)
            if dropped:
                self._waiting.add(key)
                self._spent[full(tag ^ 1, key)] = None
        self._written = []

    def standing(self) -> Iterator[tuple[bytes, int, bool]]:
        """(key, tag, dropped) of every key."""
        return ((key, tag, key in self._dropped) for key, tag in self._tags.items())

    @property
    def spent(self) -> list[bytes]:
        return list(self._spent)

    def load(self, snapshot: Snapshot) -> None:
        """Take what counts from a snapshot; `read` goes on from where it ends."""
        for key, tag, row in snapshot.rows:
            self.adopt(key, tag, dropped=not row)
        self._spent = dict.fromkeys(snapshot.spent)


def full(tag: int, key: bytes) -> bytes:
    """The changelog key of one version."""
    return _KEY.pack(_MAGIC, tag) + key


def split(stored: bytes) -> tuple[int, bytes]:
    """(tag, row key) of a changelog key."""
    if len(stored) < _KEY.size or stored[0] != _MAGIC:
        raise StateError(f"the changelog holds the key {stored[:40]!r}, which this build does not "
                         "read (an older build wrote it)", _RESET)
    return _KEY.unpack_from(stored)[1], stored[_KEY.size:]
