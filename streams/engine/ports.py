"""What the engine needs from the outside, so that a test can hand it a model of a broker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from streams.engine.checkpoints import Base
from streams.engine.records import Emission
from streams.engine.versions import Lineage

Offsets = dict[tuple[str, int], int]


class BarrierPort(Protocol):
    @property
    def pending(self) -> int: ...

    @property
    def fault(self) -> str: ...

    def end_of(self, topic: str, partition: int) -> int:
        """Offset after the last acknowledged message there; -1 when there was none."""
        ...


class OutboxPort(Protocol):
    """Produces messages and tells when every one under a barrier is acknowledged."""

    def barrier(self) -> BarrierPort: ...

    def send(self, emissions: Iterable[Emission], barrier: BarrierPort) -> None: ...

    def wait(self, barrier: BarrierPort) -> None:
        """Block until all is acknowledged. Raises UnreachableError when it will not be."""
        ...


class SourcePort(Protocol):
    """The consumer group of a stage."""

    def commit(self, offsets: Offsets, metadata: str) -> None: ...

    def committed(self, partitions: Sequence[int]) -> dict[tuple[str, int],
                                                           tuple[int, str | None]]: ...

    def seek(self, offsets: Offsets) -> None: ...

    def end_of(self, topic: str, partition: int) -> int: ...


class ChangelogPort(Protocol):
    def read(self, partition: int, start: int) -> Iterable[tuple[bytes, bytes | None]]:
        """Everything from offset `start` to the end."""
        ...

    def end(self, partition: int) -> int:
        """The offset after the last message."""
        ...


class SnapshotFilePort(Protocol):
    """A snapshot that is being written. What cannot be written is given up, and said."""

    def write(self, part: bytes) -> None: ...

    def finish(self) -> None:
        """All is written: it replaces the snapshot before, or (a crash) does not. Blocks."""
        ...

    def abandon(self) -> None: ...


class SnapshotPort(Protocol):
    def load(self, partition: int) -> BinaryIO | None: ...

    def begin(self, partition: int) -> SnapshotFilePort: ...


class StandbyPort(Protocol):
    """Partitions of others that this process follows."""

    def release(self, partition: int, lineage: Lineage) -> Base | None:
        """Stop following; the partition's rows up to some place of the changelog, if there are."""
        ...


class ArenaPort(Protocol):
    """Room for rows that are not in memory. A cache: it need not outlive the process."""

    def grow(self, size: int) -> npt.NDArray[np.uint8]:
        """All of it, `size` bytes now; what it held stays, what is new is zero. Raises OSError."""
        ...


class ClockPort(Protocol):
    def now_ms(self) -> int: ...
