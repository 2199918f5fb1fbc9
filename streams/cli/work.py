"""`kairos work`: run any subset of the stages in this process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import click

from infra.parts import ready_file
from streams import pipeline
from streams.adapters.producing import Outbox
from streams.app import StageService, build
from streams.assembly import Deps, logic_of, rehearse
from streams.kernel.errors import KairosError, SettingsError, UnreachableError
from streams.settings import Settings, load

log = logging.getLogger("kairos.work")

_STOP_S = 90.0
_HEALTHY_S = 60.0
_RESTART_WAIT_S = (1, 2, 5, 10, 30)
# A batch makes thousands of objects that all live until it is produced; with Python's own limits
# (700, 10, 10) the collector would walk over them dozens of times and find nothing.
_COLLECT_AFTER = (50_000, 20, 20)


@click.command()
@click.option("--stages", default=",".join(stage.name for stage in pipeline.STAGES),
              show_default=True, help="Stages to run here, separated by commas.")
@click.option("--name", default="worker", show_default=True, help="Name of this process.")
@click.option("--restarts", default=0, hidden=True, help="How often it has restarted itself.")
def work(stages: str, name: str, restarts: int) -> None:
    """Run stages. Any number of such processes share the work.

    A fault that cannot be gone on from (the broker gone for minutes, state that cannot be read)
    ends in a restart from the last checkpoint, in place, after a pause.
    """
    names = [stage.strip() for stage in stages.split(",") if stage.strip()]
    unknown = [stage for stage in names if stage not in pipeline.BY_NAME]
    if unknown:
        raise SettingsError("--stages", f"there is no stage {unknown[0]!r}",
                            f"one or more of {', '.join(pipeline.BY_NAME)}")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr,
                        format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(_live(load(), names, name, restarts))


async def _live(settings: Settings, names: Sequence[str], name: str, restarts: int) -> None:
    """Run until told to stop; does not come back from what cannot be gone on from."""
    ends = _Ends(asyncio.get_running_loop())
    ready_file(settings, name).unlink(missing_ok=True)
    if restarts and await ends.told_within(_wait_s(restarts)):
        return
    began = time.monotonic()
    process = _Process(settings, name, ends)
    try:
        process.make(names)
        fault = await ends.watch(process.run(), until_told=True)
    except UnreachableError as missing:
        fault = missing
    if fault is not None:
        ready_file(settings, name).unlink(missing_ok=True)
        _restart(fault, 0 if time.monotonic() - began > _HEALTHY_S else restarts)
    if not process.is_serving:
        _leave(0)
    log.info("stopping: finishing what was taken")
    fault = await ends.watch(asyncio.wait_for(process.stop(), _STOP_S), until_told=False)
    ready_file(settings, name).unlink(missing_ok=True)
    if fault is not None:
        log.warning("stopped without a last checkpoint; nothing is lost, the next start goes on "
                    "from the one before: %s", fault or type(fault).__name__)
        _leave(1)


class _Ends:
    """What ends a process: somebody tells it to stop, or a part of it fails."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._told = asyncio.Event()
        self._broken: asyncio.Future[BaseException] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told.set)

    def failed(self, fault: BaseException) -> None:
        """Something cannot go on. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._note, fault)

    def _note(self, fault: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_result(fault)

    async def told_within(self, wait_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), wait_s)
        return self._told.is_set()

    async def watch(self, work: Coroutine[Any, Any, None], *,
                    until_told: bool) -> BaseException | None:
        """Carry out `work`; the fault that ended it, its own or another part's, else None."""
        task, told = asyncio.create_task(work), asyncio.create_task(self._told.wait())
        ends: set[asyncio.Future[Any]] = {task, self._broken}
        await asyncio.wait(ends | {told} if until_told else ends,
                           return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if self._broken.done():
            return self._broken.result()
        return task.exception() if task.done() else None


class _Process:
    """The stages of this process, from their making to their stop."""

    def __init__(self, settings: Settings, name: str, ends: _Ends) -> None:
        self._settings, self._name, self._ends = settings, name, ends
        self._stages: Sequence[str] = ()
        self._deps = Deps(settings)
        self._outbox = Outbox(settings, name)
        self._services: list[StageService] = []
        self.is_serving = False

    def make(self, names: Sequence[str]) -> None:
        """Raises UnreachableError (the vault), SetupError and StateError."""
        self._stages = names
        logics = {stage: logic_of(stage, self._deps) for stage in names}
        self._app, self._services, self._control = build(
            self._settings, logics, self._deps.side, self._outbox, self._ends.failed)

    async def run(self) -> None:
        """Start everything, and leave a file when every stage has joined its group.

        `kairos up` waits for that file. Does not come back by itself.
        """
        await self._rehearse()
        await self._control.start()
        await self._app.start()
        self.is_serving = True
        spare_the_collector()
        for service in self._services:
            await service.start()
        for service in self._services:
            await service.joined()
        ready_file(self._settings, self._name).write_text(f"{os.getpid()}\n")
        log.info("ready")
        await asyncio.Event().wait()

    async def _rehearse(self) -> None:
        """Compile, or read from disk, while no partition is held: events would wait for it. A fault
        stops nobody: whether there is one with real events, these will show."""
        began = time.monotonic()
        try:
            await asyncio.to_thread(rehearse, self._stages, self._settings)
        except Exception:
            log.exception("compiled code could not be made ready; the first events wait for it")
        else:
            log.info("compiled code was made ready in %.1f s", time.monotonic() - began)

    async def stop(self) -> None:
        """Finish what was taken, make it durable, leave the groups."""
        await asyncio.gather(*(service.stop() for service in self._services))
        await self._app.stop()
        await self._control.stop()
        await self._deps.close()
        await asyncio.to_thread(self._outbox.close)


def spare_the_collector() -> None:
    """Collect cycles less often, and never among what was there before the first batch."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _wait_s(restarts: int) -> int:
    return _RESTART_WAIT_S[min(restarts, len(_RESTART_WAIT_S)) - 1]


def _restart(fault: BaseException, restarts: int) -> None:
    """Start this process anew, in place: same pid, nothing kept. Threads end with the image.

    What waits in the producer's queue is dropped with them, on purpose: it must not reach a
    changelog after the partition's next owner has read it. The new image makes the pause.
    """
    log.error("restarting from the last checkpoint in %d s: %s", _wait_s(restarts + 1), fault,
              exc_info=None if isinstance(fault, KairosError) else fault)
    argv = [word for i, word in enumerate(sys.argv)
            if word != "--restarts" and (i == 0 or sys.argv[i - 1] != "--restarts")]
    os.execv(sys.executable, [sys.executable, "-m", "streams.cli.main", *argv[1:],
                              "--restarts", str(restarts + 1)])


def _leave(code: int) -> None:
    """End now: a thread that waits for a broker that is gone cannot be told to stop waiting."""
    logging.shutdown()
    os._exit(code)
