"""What the engine asks of a stage, and what it keeps for it per partition.

`walk` is the stage as a plain function over one partition's batch. It may change `state` and add to
`out`; it reads no clock and throws no dice: time comes in, chance comes from ids. Stages that talk
to the world (compose, deliver) make `walk` a coroutine and get their ports when they are built.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from streams.engine.records import Out, Record, Seen
from streams.engine.timers import Timers
from streams.engine.watermarks import Watermarks


class SlabPort(Protocol):
    """What the engine asks of a partition's rows: save them, and take them back."""

    @property
    def layout(self) -> int: ...

    @property
    def width(self) -> int:
        """With `layout`, what tells rows apart that cannot be read as these."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def encode_all(self, keys: Sequence[bytes], front: bytes = b"") -> list[bytes | None]:
        """The bytes of each row, behind `front` (whole words); None: it was dropped."""
        ...

    def apply(self, key: bytes, value: bytes | None) -> None: ...

    def expect(self, rows: int) -> None:
        """So many rows are about to be applied: room for them may be made at once."""
        ...

    def apply_all(self, rows: Mapping[bytes, bytes], behind: int = 0) -> None:
        """`apply` of each row, in any order. A row stands `behind` so many bytes."""
        ...

    def take_dirty(self) -> list[bytes]: ...

    def make_room(self) -> None:
        """A checkpoint is done and nothing is under way: rows may leave memory."""
        ...

    def settle(self) -> None:
        """All that counts was applied: rows are as the changelog has them. Raises StateError when
        one of them cannot be read."""
        ...


@dataclass(slots=True)
class PartitionState:
    """Everything a stage keeps for one partition. Cut, saved and recovered as one.

    `notes` is small JSON-able state that belongs to the partition and not to a key; it is saved
    with every checkpoint, exactly as of the committed offsets (rows may be ahead, hence stamps).
    `epoch`: the owner's, see `versions`; a greater one came later.
    """

    partition: int
    slab: Any            # what the stage's own `make_slab` made: a Slab, or tables of its own
    seen: Seen
    watermarks: Watermarks
    timers: Timers
    notes: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0


class StageLogic(Protocol):
    """One stage. `topics` in the order of the row stamps."""

    name: str

    @property
    def topics(self) -> tuple[str, ...]: ...

    def make_slab(self) -> SlabPort:
        """Empty state of one partition."""
        ...

    def walk(self, state: PartitionState, batch: Sequence[Record], out: Out,
             ) -> Awaitable[None] | None:
        """Process one partition's records in order. Total: bad input becomes an emission."""
        ...

    def recovered(self, state: PartitionState) -> None:
        """Rows are back: arm the timers, rebuild whatever is derived from rows."""
        ...

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None:
        """The partition has been read to its end and nothing came for `idle_ms`."""
        ...

    def before_checkpoint(self, state: PartitionState, out: Out) -> None:
        """A checkpoint is about to be cut: emit what goes out per interval, not per batch."""
        ...
