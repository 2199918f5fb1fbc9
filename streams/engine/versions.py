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
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import add

import numpy as np
import numpy.typing as npt

from streams.engine.judging import (
    COUNTS,
    KEY_BYTES,
    MAGIC,
    RESET,
    STAMP_BYTES,
    VOID,
    Judged,
    judge,
)
from streams.engine.snapshots import Row
from streams.engine.tags import NONE, Tags
from streams.kernel.errors import StateError

Entry = tuple[bytes, bytes | None]

EPOCHS_MAX = 48          # named in the lineage before rows of the oldest are written anew
MOVED_ROWS_MAX = 500     # per checkpoint, for that reason
_KEY = struct.Struct(">BI")
_NUMBER = struct.Struct("<Q")
_METADATA = "epochs="
_READ_AT_ONCE = 1024


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
                             "read", RESET) from None

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
        self._tags = Tags()                        # key -> tag of the version that counts
        self._held: Counter[int] = Counter()       # epoch -> keys whose version is its
        self._dropped: set[bytes] = set()          # keys whose version says: dropped
        self._spent: dict[bytes, None] = {}        # changelog keys to clear
        self._waiting: set[bytes] = set()          # dropped; cleared when no other version is left
        self._ripe: set[bytes] = set()
        self._written: tuple[list[bytes], list[int], set[bytes]] = ([], [], set())
        self._oldest_tag = 0                       # rows with tags up to this one are moved

    def __len__(self) -> int:
        return len(self._tags)

    @property
    def memory_bytes(self) -> int:
        """What the tags take."""
        return self._tags.memory_bytes

    def _adopt(self, keys: Sequence[bytes], tags: Sequence[int], dropped: Container[bytes]) -> None:
        """Each key stands under its tag."""
        olds = self._tags.change(keys, tags)
        for key, tag, old in zip(keys, tags, olds, strict=True):
            if (old ^ tag) > 1:                 # mostly it is the same epoch's other side
                self._succeed(key, old, tag)
        if dropped or self._dropped:
            self._dropped.difference_update(key for key in keys if key not in dropped)
            self._dropped.update(key for key in keys if key in dropped)

    def _succeed(self, key: bytes, old: int, tag: int) -> None:
        """The version that counts is another epoch's now; NONE: there was none."""
        if old != NONE:
            self._spend(key, old)
        self._held[tag >> 1] += 1

    def _spend(self, key: bytes, tag: int) -> None:
        """Nothing of this epoch is needed under `key` any more."""
        self._held[tag >> 1] -= 1
        for side in (tag & ~1, tag | 1):
            self._spent[full(side, key)] = None

    def read(self, changelog: Iterable[Entry]) -> Iterator[Entry]:
        """The (key, row bytes) that count, in the order of the log; None: the row is gone. Of
        entries that stand close together, only the newest of a key. Raises as `pieces` does."""
        for piece in self.pieces(changelog):
            for key, value in piece.items():
                yield key, None if value is None else value[STAMP_BYTES:]

    def pieces(self, changelog: Iterable[Entry]) -> Iterator[dict[bytes, bytes | None]]:
        """What counts, some thousand entries of the log at a time: of each key the newest value,
        its number in front; None: the row is gone.

        Raises StateError when a key is not one of ours, and when there are rows but no owner yet.
        """
        void, entries = dict[bytes, None](), iter(changelog)
        while some := list(islice(entries, _READ_AT_ONCE)):
            yield self._piece([stored for stored, _ in some], [value for _, value in some], void)
        self._after_reading(void)

    def _piece(self, stored: list[bytes], values: list[bytes | None], void: dict[bytes, None],
               ) -> dict[bytes, bytes | None]:
        if self.lineage.is_first:
            raise StateError("the changelog holds rows, but no offsets were ever committed: "
                             "state and offsets do not belong together", RESET)
        judged, ours = judge(stored, values, dict(self.lineage.ends), self.lineage.epoch)
        if ours < len(stored):
            split(stored[ours])           # says what it is
        keys = [each[KEY_BYTES:] for each in stored]
        if judged.has_row.all() and not judged.kinds.any():
            olds = self._tags.swap(keys, judged.tags, judged.clears)
            if (void.keys().isdisjoint(stored) and self._spent.keys().isdisjoint(stored)
                    and ((olds == NONE) | (olds >> 1 == judged.tags >> 1)).all()):
                self._count_new(judged.tags[olds == NONE])
                self._dropped.difference_update(keys)
                return dict(zip(keys, values, strict=True))
        else:
            counts = judged.kinds == COUNTS
            olds = np.zeros(len(keys), np.int64)
            olds[counts] = self._tags.swap([keys[n] for n in np.nonzero(counts)[0].tolist()],
                                           judged.tags[counts], judged.clears[counts])
        return self._one_by_one(stored, keys, values, judged, olds.tolist(), void)

    def _count_new(self, tags: npt.NDArray[np.int64]) -> None:
        for epoch, count in zip(*np.unique(tags >> 1, return_counts=True), strict=True):
            self._held[int(epoch)] += int(count)

    def _one_by_one(self, stored: list[bytes], keys: list[bytes], values: list[bytes | None],
                    judged: Judged, olds: list[int], void: dict[bytes, None],
                    ) -> dict[bytes, bytes | None]:
        """Where versions of several epochs meet, or keys are cleared: each entry may lean on the
        one before."""
        found: dict[bytes, bytes | None] = {}
        for n, (tag, kind) in enumerate(zip(judged.tags.tolist(), judged.kinds.tolist(),
                                            strict=True)):
            key, value, old = keys[n], values[n], olds[n]
            if kind != COUNTS:
                if kind == VOID:      # a newer owner's is not ours to judge
                    void[stored[n]] = None
                continue
            void.pop(stored[n], None)
            self._spent.pop(stored[n], None)
            if value is None and old != tag:
                continue
            if value is None:
                self._held[tag >> 1] -= 1
            elif old >> 1 != tag >> 1:
                self._succeed(key, old, tag)
            is_row = value is not None and len(value) > STAMP_BYTES
            (self._dropped.discard if is_row or value is None else self._dropped.add)(key)
            found[key] = value if is_row else None
        return found

    def _after_reading(self, void: dict[bytes, None]) -> None:
        owners = [split(stored) for stored in void]
        for stored, (tag, _), own in zip(void, owners, self._tags.find(
                [key for _, key in owners]), strict=True):
            if own >> 1 != tag >> 1:      # else cleared when the row is written
                self._spent[stored] = None
        self._waiting = set(self._dropped)
        for key in self._dropped:
            self._spent[full(self._tags.get(key) ^ 1, key)] = None
        surplus = len(self.lineage.ends) - EPOCHS_MAX
        self._oldest_tag = self.lineage.ends[surplus - 1][0] << 1 | 1 if surplus > 0 else 0

    def take_moving(self) -> list[bytes]:
        """Some keys of the oldest epochs, to be written anew with this checkpoint's rows."""
        if not self._oldest_tag:
            return []
        # Metadata has 4 KB: an owner that finds twice the epochs moves all at once.
        limit = MOVED_ROWS_MAX if len(self.lineage.ends) < 2 * EPOCHS_MAX else len(self._tags)
        return [key for key in self._tags.up_to(self._oldest_tag, limit)
                if key not in self._dropped]

    def writing(self, number: int,
                parts: Iterable[tuple[Sequence[bytes], Sequence[bytes | None]]],
                ) -> Iterator[Entry]:
        """What checkpoint `number` puts into the changelog: what to clear, then the rows of
        `parts`, each asked for when the one before was taken: (keys, rows behind `stamp_of`).

        Every key once. `settle` follows when all was taken and then the commit; if that was not,
        this is void and nothing may be written any more.
        """
        for spent in self._spent:
            yield spent, None
        written, tags, dropped = list[bytes](), list[int](), set[bytes]()
        stamp, (even, odd) = stamp_of(number), self._sides()
        prefixes = {even: full(even, b""), odd: full(odd, b"")}
        for given, bodies in parts:
            keys, values, olds = given, bodies, self._tags.find(given)
            if None in bodies:
                kept = [n for n, body in enumerate(bodies) if body is not None
                        or not (olds[n] == NONE or given[n] in self._dropped)]
                dropped.update(given[n] for n in kept if bodies[n] is None)
                keys, olds = [given[n] for n in kept], [olds[n] for n in kept]
                values = [bodies[n] or stamp for n in kept]
            own = [odd if old == even else even for old in olds]
            written += keys
            tags += own
            yield from zip(map(add, map(prefixes.__getitem__, own), keys), values, strict=True)
        if self._ripe or self._waiting:
            self._ripe.difference_update(written)
            self._waiting.difference_update(written)
            for key in sorted(self._ripe):
                yield full(self._tags.get(key), key), None
        self._written = written, tags, dropped

    def _sides(self) -> tuple[int, int]:
        """This epoch's tags. A row goes to the one that does not hold its committed version."""
        return self.lineage.epoch << 1, self.lineage.epoch << 1 | 1

    def next(self, number: int) -> Lineage:
        """The lineage to commit checkpoint `number` with."""
        kept = tuple(end for end in self.lineage.ends[:-1] if self._held[end[0]] > 0)
        return Lineage((*kept, (self.lineage.epoch, number)))

    def settle(self, lineage: Lineage) -> None:
        """The commit of what `writing` gave was taken: it counts, and what it replaced is spent."""
        self.lineage = lineage
        self._spent.clear()
        self._forget(list(self._ripe))
        self._ripe, self._waiting = self._waiting, set()
        written, tags, dropped = self._written
        self._adopt(written, tags, dropped)
        if dropped:
            tag_of = dict(zip(written, tags, strict=True))
            self._waiting |= dropped
            self._spent.update((full(tag_of[key] ^ 1, key), None) for key in dropped)
        self._written = [], [], set()

    def _forget(self, keys: Sequence[bytes]) -> None:
        for key, tag in zip(keys, tags := self._tags.find(keys), strict=True):
            self._held[tag >> 1] -= 1
            self._dropped.discard(key)
        self._tags.change(keys, tags, [True] * len(keys))

    def standing(self) -> Iterator[tuple[bytes, int, bool]]:
        """(key, tag, dropped) of every key as it is now, whatever happens while they are taken."""
        dropped = set(self._dropped)
        return ((key, tag, key in dropped) for key, tag in self._tags.copy().items())

    @property
    def spent(self) -> list[bytes]:
        return list(self._spent)

    def load(self, rows: Sequence[Row]) -> None:
        """Take what counts from a snapshot; `read` goes on from where it ends."""
        self._adopt([key for key, _, _ in rows], [tag for _, tag, _ in rows],
                    {key for key, _, row in rows if not row})

    def load_spent(self, spent: Iterable[bytes]) -> None:
        """After the rows."""
        self._spent = dict.fromkeys(spent)


def stamp_of(number: int) -> bytes:
    """What stands before the bytes of a row that checkpoint `number` writes."""
    return _NUMBER.pack(number)


def full(tag: int, key: bytes) -> bytes:
    """The changelog key of one version."""
    return _KEY.pack(MAGIC, tag) + key


def split(stored: bytes) -> tuple[int, bytes]:
    """(tag, row key) of a changelog key."""
    if len(stored) < _KEY.size or stored[0] != MAGIC:
        raise StateError(f"the changelog holds the key {stored[:40]!r}, which this build does not "
                         "read (an older build wrote it)", RESET)
    return _KEY.unpack_from(stored)[1], stored[_KEY.size:]


def is_decided(stored: bytes, value: bytes | None, ends: Mapping[int, int], epoch: int) -> bool:
    """Whether it is known for good what a changelog entry is: nothing that will be committed later
    makes it count, or not. `ends`, `epoch`: of a lineage that was committed at any time."""
    own = split(stored)[0] >> 1
    return value is None or own < epoch or _NUMBER.unpack_from(value)[0] <= ends.get(own, -1)
