"""Quix Streams, Bytewax, Pathway and stock Faust, each in a locked environment of its own."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from bench.signal.systems import Command, Job, System
from streams.kernel.errors import SetupError
from streams.settings import PROJECT

PEERS = PROJECT / "bench" / "peers"
INSTALL_WAIT_S = 900


@dataclass(frozen=True)
class InPython:
    """A script of bench/peers/python under the environment that its lock file pins.

    peer   whose lock and script these are, where `name` says more
    """

    name: str
    package: str
    durable: str
    workloads: tuple[str, ...]
    events_share: float
    why_not: str = ""
    commits: bool = True
    words: tuple[str, ...] = ()
    forms: tuple[str, ...] = ("json",)
    peer: str = ""

    def prepare(self, home: Path) -> str:
        lock = PEERS / f"requirements-{self.peer or self.name}.lock"
        environment(home / "venvs" / (self.peer or self.name), lock)
        version = re.search(rf"^{self.package}==(\S+)", lock.read_text(), re.MULTILINE)
        assert version, f"{lock.name} does not pin {self.package}"
        return f"{self.package} {version[1]}, Python {sys.version.split()[0]}"

    def commands(self, job: Job) -> list[Command]:
        peer = self.peer or self.name
        python = job.state.parent.parent / "venvs" / peer / "bin" / "python"
        script = PEERS / "python" / f"{peer}_job.py"
        return [Command((str(python), str(script), *self.words), job.environment())]


def environment(folder: Path, lock: Path) -> None:
    """A virtual environment with exactly what `lock` pins; made anew when the lock has changed.

    Raises SetupError when a package cannot be installed.
    """
    stamp = folder / ".lock.sha256"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    done = subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet",
                           "--disable-pip-version-check", "--require-hashes", "-r", str(lock)],
                          capture_output=True, text=True, check=False, timeout=INSTALL_WAIT_S)
    if done.returncode != 0:
        raise SetupError(f"{lock.name} could not be installed: {done.stderr[-800:]}",
                         "check the network, or leave the peer out with --systems")
    stamp.write_text(digest)


SYSTEMS: list[System] = [
    InPython("quixstreams", "quixstreams", "changelog, at least once",
             ("W1", "W2", "W3"), 0.2, why_not="see quixstreams-sessions"),
    # Closing a session passes over all that are open: what it costs grows with the users.
    InPython("quixstreams-sessions", "quixstreams", "changelog, at least once", ("W4",), 0.01,
             why_not="see quixstreams", peer="quixstreams"),
    InPython("bytewax", "bytewax", "recovery store", ("W1", "W2", "W3"), 0.5, commits=False,
             why_not="its event clock is kept per key and moves on with the wall clock, so that "
             "silence cannot be told by event time"),
    InPython("pathway", "pathway", "input journal", ("W1", "W2", "W3"), 1.0, commits=False,
             why_not="its sessions give results before they close, and take them back"),
    InPython("faust", "faust-streaming", "changelog", ("W1", "W2"), 0.02,
             why_not="its windows lie by the record's own time stamp, not the event's, and it has "
             "no timers by event time",
             words=("worker", "--without-web", "-l", "warn")),
]
