"""Snapshots on disk: HOME/state/<stage>/<partition>.snapshot, replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


class SnapshotFiles:
    """The snapshots of one stage. What cannot be written is only slower to recover."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, partition: int) -> Path:
        return self._folder / f"{partition}.snapshot"

    def load(self, partition: int) -> bytes | None:
        try:
            return self._path(partition).read_bytes()
        except OSError:
            return None

    def save(self, partition: int, stored: bytes) -> None:
        """Write beside, flush to disk, rename over: a crash leaves the old one or the new one."""
        path = self._path(partition)
        beside = path.with_suffix(f".{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with beside.open("wb") as file:
                file.write(stored)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as fault:
            log.warning("no snapshot of partition %d (%s); recovery will read the whole "
                        "changelog", partition, fault)
            with contextlib.suppress(OSError):
                beside.unlink()
