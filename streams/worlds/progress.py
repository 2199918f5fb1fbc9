"""How far a replay has come, in a small file that is always whole: written aside, then renamed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from streams.kernel.errors import KairosError


@dataclass(frozen=True, slots=True)
class Progress:
    """`position` events, in order of time, are acknowledged by the broker; `clock_ms` was told.

    signature   of the file, the mapping and the tenant; another one means another replay
    """

    signature: str
    position: int = 0
    clock_ms: int = -1
    done: bool = False


class ProgressFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, signature: str, *, restart: bool) -> Progress:
        """The progress so far, or a fresh one. Raises KairosError when it is another replay's."""
        if restart or not self.path.exists():
            return Progress(signature)
        try:
            found = Progress(**orjson.loads(self.path.read_bytes()))
        except (OSError, orjson.JSONDecodeError, TypeError) as fault:
            raise KairosError(f"{self.path} cannot be read ({fault})",
                              "start again with --restart") from None
        if found.signature != signature:
            raise KairosError("file, mapping, tenant or broker is not that of the last run",
                              "start again with --restart, or give the mapping another `name`")
        return found

    def write(self, progress: Progress) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(".writing")
        with aside.open("wb") as file:
            file.write(orjson.dumps(asdict(progress)))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)


def signature(file: Path, mapping: Path, *, tenant: str, rows_max: int, broker: str) -> str:
    """Tells replays apart: the file's size and ends, the mapping, the tenant, the broker's id."""
    digest = hashlib.blake2b(digest_size=16)
    size = file.stat().st_size
    digest.update(f"{size}/{tenant}/{rows_max}/{broker}/".encode())
    with file.open("rb") as content:
        digest.update(content.read(1 << 20))
        content.seek(max(size - (1 << 20), 0))
        digest.update(content.read())
    digest.update(mapping.read_bytes())
    return digest.hexdigest()
