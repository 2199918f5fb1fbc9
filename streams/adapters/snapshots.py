"""Snapshots on disk: HOME/state/<stage>/<partition>.snapshot, replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger(__name__)

_numbers = itertools.count()


class SnapshotFile:
    """Written beside, flushed to disk, renamed over: a crash leaves the old one or the new one."""

    def __init__(self, path: Path, partition: int) -> None:
        self._path, self._partition = path, partition
        self._beside = path.with_suffix(f".{os.getpid()}-{next(_numbers)}")
        self._file: BinaryIO | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._beside.open("wb")
        except OSError as fault:
            self._give_up(fault)

    def write(self, part: bytes) -> None:
        """Add to it. What cannot be written is only slower to recover."""
        if self._file is None:
            return
        try:
            self._file.write(part)
        except OSError as fault:
            self._give_up(fault)

    def finish(self) -> None:
        """All is there: flush it, and put it in place of the one before."""
        if self._file is None:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._beside.replace(self._path)
        except OSError as fault:
            self._give_up(fault)

    def abandon(self) -> None:
        """Leave the one before."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = None
        with contextlib.suppress(OSError):
            self._beside.unlink()

    def _give_up(self, fault: OSError) -> None:
        log.warning("no snapshot of partition %d (%s); recovery will read more of the changelog",
                    self._partition, fault)
        self.abandon()


class SnapshotFiles:
    """The snapshots of one stage."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, partition: int) -> Path:
        return self._folder / f"{partition}.snapshot"

    def load(self, partition: int) -> BinaryIO | None:
        try:
            return self._path(partition).open("rb")
        except OSError:
            return None

    def begin(self, partition: int) -> SnapshotFile:
        """A new snapshot; what processes left unfinished that are gone is removed."""
        for left in self._folder.glob(f"{partition}.*-*"):
            if not _lives(left.suffix[1:].partition("-")[0]):
                left.unlink(missing_ok=True)
        return SnapshotFile(self._path(partition), partition)


def _lives(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:
        return True         # somebody else's
    return True
