"""The supervisor: brings the parts up in order, says how they are, takes them down again.

A failed start leaves nothing behind: what this call started, this call stops. A part that was
running before is left as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from infra import daemons, secrets
from infra.parts import (
    Part,
    argv,
    environment,
    log_file,
    pid_file,
    ready_file,
    roster,
)
from infra.preflight import preflight
from streams.kernel.errors import SetupError
from streams.settings import PROJECT, Settings

__all__ = ["Part", "PartStatus", "Stopped", "down", "log_file", "ready_file", "roster", "status",
           "up"]

State = Literal["running", "unhealthy", "died", "stopped"]
Progress = Callable[[str, str], None]
FAILED_WAIT_S = 20.0
STRANGER_WAVE = 99  # started under other settings: first to go


@dataclass(frozen=True, slots=True)
class PartStatus:
    """`died`: its pid file is there and its process is not. `unhealthy`: it does not answer."""

    name: str
    state: State
    pid: int | None
    started_ms: int | None
    address: str
    log: str


@dataclass(frozen=True, slots=True)
class Stopped:
    name: str
    how: daemons.Ended

    def __str__(self) -> str:
        if self.how == "killed":
            return f"{self.name} did not stop when asked and was killed"
        return f"{self.name} {self.how}"


def _wave(part: Part) -> int:
    return part.wave


def _silent(part: str, word: str) -> None:
    """Nobody watches."""


def up(settings: Settings, parts: Sequence[Part] | None = None, *,
       on_progress: Progress = _silent) -> list[PartStatus]:
    """Start what is not running and come back when every part is healthy.

    parts        the parts to start, in order of `wave`; the whole roster by default
    on_progress  called with the part's name and one of starting, ready, running already, stopping

    Raises SetupError with the last lines of the log of the part that failed.
    """
    wanted = tuple(sorted(roster(settings) if parts is None else parts, key=_wave))
    with _alone(settings):
        preflight(settings, wanted)
        secrets.ensure(settings)
        started: list[Part] = []
        try:
            for _, wave in groupby(wanted, key=_wave):
                _start_wave(settings, tuple(wave), started, on_progress)
        except BaseException:
            # What never became healthy owes nobody a slow farewell.
            _stop_all(settings, [(part.wave, part.name, min(part.stop_wait_s, FAILED_WAIT_S))
                                 for part in started], on_progress)
            raise
    return status(settings, wanted)


def down(settings: Settings, parts: Sequence[Part] | None = None, *,
         on_progress: Progress = _silent) -> list[Stopped]:
    """Stop the parts in reverse start order (all by default) and say how each ended.

    By default also what an earlier call started under other settings: nothing is left.
    """
    wanted = tuple(roster(settings) if parts is None else parts)
    with _alone(settings):
        known = [(part.wave, part.name, part.stop_wait_s) for part in wanted if part.argv]
        names = {name for _, name, _ in known}
        strangers = [] if parts is not None else [
            (STRANGER_WAVE, file.stem, FAILED_WAIT_S)
            for file in sorted((settings.home / "run").glob("*.pid")) if file.stem not in names]
        return _stop_all(settings, [*known, *strangers], on_progress)


def status(settings: Settings, parts: Iterable[Part] | None = None) -> list[PartStatus]:
    """How each part is, in start order; asks each living one whether it is healthy."""
    wanted = roster(settings) if parts is None else parts
    return [_status(settings, part) for part in wanted if part.argv]


def _start_wave(settings: Settings, wave: tuple[Part, ...], started: list[Part],
                on_progress: Progress) -> None:
    waiting: list[Part] = []
    for part in wave:
        if part.argv and _alive(settings, part.name):
            on_progress(part.name, "running already")
            continue
        on_progress(part.name, "starting")
        part.prepare()
        if part.argv:
            # Noted first: a process that starts and then fails to be written down must be stopped.
            started.append(part)
            waiting.append(part)
            _spawn(settings, part)
        else:
            on_progress(part.name, "ready")
    for part in waiting:
        _await(settings, part)
        on_progress(part.name, "ready")


def _spawn(settings: Settings, part: Part) -> None:
    pid_file(settings, part.name).unlink(missing_ok=True)
    ready_file(settings, part.name).unlink(missing_ok=True)
    try:
        daemons.spawn(argv(settings, part), pid_file=pid_file(settings, part.name),
                      log=log_file(settings, part.name), cwd=PROJECT, env=environment(settings))
    except OSError as fault:
        raise SetupError(f"{part.name} cannot be started: {fault.strerror} ({fault.filename})",
                         "`kairos doctor` says what is missing") from fault


def _await(settings: Settings, part: Part) -> None:
    deadline = time.monotonic() + part.start_wait_s
    log = log_file(settings, part.name)
    while not part.healthy():
        if not _alive(settings, part.name):
            raise SetupError(f"{part.name} died at start:\n{daemons.tail(log)}", f"see {log}")
        if time.monotonic() >= deadline:
            raise SetupError(f"{part.name} is not healthy after {part.start_wait_s:.0f} s:\n"
                             f"{daemons.tail(log)}", f"see {log}")
        time.sleep(daemons.POLL_S)
    # Somebody else may be answering at its address while it dies of just that.
    if not _alive(settings, part.name):
        raise SetupError(f"{part.name} died at start:\n{daemons.tail(log)}", f"see {log}")


def _alive(settings: Settings, name: str) -> bool:
    daemon = daemons.recall(pid_file(settings, name))
    return daemon is not None and daemons.alive(daemon)


def _stop_all(settings: Settings, leaving: list[tuple[int, str, float]],
              on_progress: Progress) -> list[Stopped]:
    """Stop (wave, name, wait_s) in reverse order: a wave together, the next when it is gone."""
    ended: list[Stopped] = []
    backwards = sorted(reversed(leaving), key=lambda one: -one[0])
    for _, wave in groupby(backwards, key=lambda one: one[0]):
        there = [(name, wait_s) for _, name, wait_s in wave if pid_file(settings, name).exists()]
        living = {name for name, _ in there if _alive(settings, name)}
        for name, _ in there:
            on_progress(name, "stopping")
            daemons.ask_to_stop(pid_file(settings, name))
        for name, wait_s in there:
            how = daemons.stop(pid_file(settings, name), wait_s=wait_s, asked=name in living)
            ready_file(settings, name).unlink(missing_ok=True)
            ended.append(Stopped(name, how))
    return ended


def _status(settings: Settings, part: Part) -> PartStatus:
    daemon = daemons.recall(pid_file(settings, part.name))
    state: State = "stopped"
    if daemon is not None:
        state = "died"
        if daemons.alive(daemon):
            state = "running" if part.healthy() else "unhealthy"
    living = daemon if state in ("running", "unhealthy") else None
    return PartStatus(part.name, state, None if living is None else living.pid,
                      None if living is None else living.started_ms, part.address,
                      str(log_file(settings, part.name)))


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One `up` or `down` at a time per home. Raises SetupError when another is at work."""
    file: Path = settings.home / "run" / "lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("w")
    except OSError as fault:
        raise SetupError(f"{settings.home} cannot be written: {fault.strerror}",
                         "set KAIROS_HOME to a folder that you may write") from fault
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise SetupError(f"another `kairos up` or `kairos down` is at work in {settings.home}",
                             "wait until it is done, or use another KAIROS_HOME") from fault
        yield
