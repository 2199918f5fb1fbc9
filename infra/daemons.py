"""Processes that outlive the command that started them: start, find again, stop for sure.

A pid file says which process it meant by number *and* start mark, so that a number which the
system has since given to somebody else is never mistaken for ours, and never signalled.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

POLL_S = 0.05

Ended = Literal["not running", "had died", "stopped", "killed"]


@dataclass(frozen=True, slots=True)
class Daemon:
    """A process by number and by the moment it started (`mark`, opaque, unique per boot)."""

    pid: int
    mark: str
    started_ms: int


def start_mark(pid: int) -> str | None:
    """When the process started, as an opaque text; None when it is gone or a zombie."""
    _reap(pid)
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The name stands in brackets and may hold spaces: state is the first field after it.
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"
    answer = subprocess.run(["ps", "-p", str(pid), "-o", "state=,lstart="],
                            capture_output=True, text=True, check=False).stdout.strip()
    return None if not answer or answer.startswith("Z") else answer.partition(" ")[2].strip()


def spawn(argv: Sequence[str], *, pid_file: Path, log: Path, cwd: Path,
          env: Mapping[str, str]) -> Daemon:
    """Start `argv` in a session of its own, output to `log`, and write the pid file.

    Raises OSError when the program cannot be started.
    """
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    rotate(log)
    with log.open("ab") as out:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT, cwd=cwd, env=dict(env),
                                 start_new_session=True)
    daemon = Daemon(child.pid, start_mark(child.pid) or "gone", int(time.time() * 1000))
    _CHILDREN[child.pid] = child
    written = pid_file.with_suffix(".tmp")
    written.write_text(json.dumps(asdict(daemon)))
    written.replace(pid_file)
    return daemon


def recall(pid_file: Path) -> Daemon | None:
    """The process that the pid file names, dead or alive; None when there is no such file."""
    try:
        found = json.loads(pid_file.read_text())
        return Daemon(int(found["pid"]), str(found["mark"]), int(found["started_ms"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return Daemon(0, "unreadable", 0)


def alive(daemon: Daemon) -> bool:
    return daemon.pid > 0 and start_mark(daemon.pid) == daemon.mark


def ask_to_stop(pid_file: Path) -> None:
    """SIGTERM to the process that the pid file names, if it lives; `stop` then waits for it."""
    daemon = recall(pid_file)
    if daemon is not None and alive(daemon):
        _signal(daemon.pid, signal.SIGTERM)


def stop(pid_file: Path, *, wait_s: float, asked: bool = False) -> Ended:
    """End the process that the pid file names and remove the file.

    SIGTERM first, unless `asked` before: many servers take a second one for impatience. After
    `wait_s` seconds SIGKILL, to its whole session. Comes back only when the process is gone.
    """
    daemon = recall(pid_file)
    if daemon is None:
        return "not running"
    if not alive(daemon):
        pid_file.unlink(missing_ok=True)
        return "stopped" if asked else "had died"
    if not asked:
        _signal(daemon.pid, signal.SIGTERM)
    ended: Ended = "stopped"
    if not _gone(daemon, wait_s=wait_s):
        ended = "killed"
        _signal(-daemon.pid, signal.SIGKILL)
        _gone(daemon, wait_s=30)
    pid_file.unlink(missing_ok=True)
    return ended


def rotate(log: Path) -> None:
    """Begin a new log; the one before stays beside it as `.1`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > 0:
        log.replace(log.with_suffix(log.suffix + ".1"))


def tail(log: Path, *, lines: int = 12) -> str:
    """The last lines of a log that say something, or a sentence when there is none."""
    try:
        with log.open("rb") as source:
            source.seek(max(0, log.stat().st_size - 65536))
            text = source.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return "(no log)"
    said = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(said[-lines:]) if said else "(the log is empty)"


_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


def _reap(pid: int) -> None:
    """Collect our own child when it has ended: until then it is a zombie that looks alive."""
    child = _CHILDREN.get(pid)
    if child is not None and child.poll() is not None:
        del _CHILDREN[pid]


def _gone(daemon: Daemon, *, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while alive(daemon):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    """Signal a process, or with a negative number its group; one that is gone is fine."""
    try:
        if pid < 0:
            os.killpg(-pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        pass


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "boot"
