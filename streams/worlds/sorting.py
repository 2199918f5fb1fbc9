"""Sort more than memory holds: sorted runs on disk, merged on reading.

Items are (key, payload) with keys that compare; within `memory_items` nothing touches the disk.
The order is total and repeatable as long as keys are unique, which a line number in them ensures.
"""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

Item = tuple[tuple[Any, ...], bytes]


class Sorter:
    """Add items in any order, then iterate once or more, in order of their keys.

    folder   where runs go, in a folder of their own that `close` removes
    """

    def __init__(self, folder: Path, memory_items: int = 500_000) -> None:
        assert memory_items >= 1
        self._folder, self._memory_items = folder, memory_items
        self._items: list[Item] = []
        self._runs: list[Path] = []
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self.count = 0

    def add(self, key: tuple[Any, ...], payload: bytes) -> None:
        self._items.append((key, payload))
        self.count += 1
        if len(self._items) >= self._memory_items:
            self.spill()

    def spill(self) -> None:
        """Move what is held in memory to disk, as one sorted run."""
        if not self._items:
            return
        if self._place is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._place = tempfile.TemporaryDirectory(dir=self._folder, prefix="runs-")
        self._items.sort(key=_key)
        path = Path(self._place.name) / str(len(self._runs))
        with path.open("wb") as run:
            for item in self._items:
                pickle.dump(item, run, pickle.HIGHEST_PROTOCOL)
        self._runs.append(path)
        self._items = []

    def __iter__(self) -> Iterator[Item]:
        self._items.sort(key=_key)
        if not self._runs:
            return iter(self._items)
        return heapq.merge(*(_read(run) for run in self._runs), self._items, key=_key)

    def close(self) -> None:
        self._runs, self._items = [], []
        if self._place is not None:
            self._place.cleanup()

    def __enter__(self) -> Sorter:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def _key(item: Item) -> tuple[Any, ...]:
    return item[0]


def _read(path: Path) -> Iterator[Item]:
    with path.open("rb") as run:
        while True:
            try:
                yield pickle.load(run)
            except EOFError:
                return
