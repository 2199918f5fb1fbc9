"""Watching the processes of a system: start, CPU and memory of them and their children, stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from bisect import bisect_left
from pathlib import Path

from bench.signal.systems import Command

STOP_WAIT_S = 30.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Processes:
    """A system's processes, each in a session of its own; `samples`: (unix ms, CPU seconds)."""

    def __init__(self, commands: list[Command], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.samples: list[tuple[float, float]] = []
        self._children: list[subprocess.Popen[bytes]] = []
        self._cpu: dict[int, float] = {}
        self._rss_kb: dict[int, int] = {}
        with log.open("ab") as out:
            for command in commands:
                self._children.append(subprocess.Popen(
                    command.argv, env=dict(command.env), cwd=command.cwd, stdout=out,
                    stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True))

    def sample(self) -> None:
        """Note the CPU time so far. A process that has ended keeps what it had used."""
        sessions = {child.pid for child in self._children}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) in sessions:
                    self._cpu[int(entry)] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
                    self._rss_kb[int(entry)] = _peak_kb(int(entry))
        self.samples.append((time.time() * 1000, sum(self._cpu.values())))

    def cpu_at(self, unix_ms: float) -> float:
        """CPU seconds used up to a moment, between the samples around it."""
        index = bisect_left(self.samples, (unix_ms, 0.0))
        if index in (0, len(self.samples)):
            return self.samples[min(index, len(self.samples) - 1)][1]
        (before_ms, before), (after_ms, after) = self.samples[index - 1:index + 1]
        return before + (after - before) * (unix_ms - before_ms) / max(after_ms - before_ms, 1e-9)

    def rss_peak_mb(self) -> float:
        return sum(self._rss_kb.values()) / 1024

    def all_alive(self) -> bool:
        return all(child.poll() is None for child in self._children)

    def kill(self) -> None:
        """kill -9 of everything at once, as a crash would."""
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        for child in self._children:
            child.wait()

    def stop(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.terminate()
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(STOP_WAIT_S)
        self.kill()

    def last_words(self) -> str:
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-30:])


def _peak_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0
