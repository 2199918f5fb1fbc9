"""A file for rows that do not fit into memory: mapped, without a name, gone with the process."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt


class SpillFile:
    """An arena in a file of `folder`. A crash leaves nothing behind: the file has no name.

    Raises OSError when there can be no file.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = tempfile.TemporaryFile(dir=folder)      # noqa: SIM115 - closed with the arena
        self._size = 0

    def grow(self, size: int) -> npt.NDArray[np.uint8]:
        """The file as bytes, `size` of them; what is new is zero.

        Raises OSError where there is no room on the disk, or for one more mapping; it may be asked
        again. The space is taken at once. A page of a sparse file that meets a full disk when it is
        written would end the process, not raise.
        """
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), self._size, size - self._size)
        else:
            self._write_zeros(size)
        mapped = mmap.mmap(self._file.fileno(), size)
        self._size = size                # not before: of no bytes at all there is no space to take
        if hasattr(mmap, "MADV_RANDOM"):
            mapped.madvise(mmap.MADV_RANDOM)
        return np.frombuffer(mapped, np.uint8)

    def _write_zeros(self, size: int) -> None:
        at, zeros = self._size, bytes(1 << 20)
        while at < size:
            at += os.pwrite(self._file.fileno(), zeros[:size - at], at)
