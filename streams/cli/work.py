"""`kairos work`: run any subset of the stages in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence

import click

from infra.parts import ready_file
from streams import pipeline
from streams.adapters.producing import Outbox
from streams.app import build
from streams.assembly import Deps, logic_of
from streams.kernel.errors import KairosError, SettingsError
from streams.settings import Settings, load

log = logging.getLogger("kairos.work")

_STOP_S = 90.0
_RESTART_WAIT_S = (1, 2, 5, 10, 30)


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
    started = time.monotonic()
    fault = asyncio.run(_run(load(), names, name))
    if fault is not None:
        healthy = time.monotonic() - started > 60
        _restart(fault, 0 if healthy else restarts)


def _restart(fault: BaseException, restarts: int) -> None:
    """Start this process anew, in place: same pid, nothing kept. Threads end with the image."""
    wait_s = _RESTART_WAIT_S[min(restarts, len(_RESTART_WAIT_S) - 1)]
    log.error("restarting from the last checkpoint in %d s: %s", wait_s, fault,
              exc_info=None if isinstance(fault, KairosError) else fault)
    time.sleep(wait_s)
    argv = [word for i, word in enumerate(sys.argv)
            if word != "--restarts" and (i == 0 or sys.argv[i - 1] != "--restarts")]
    os.execv(sys.executable, [sys.executable, "-m", "streams.cli.main", *argv[1:],
                              "--restarts", str(restarts + 1)])


async def _run(settings: Settings, names: Sequence[str], name: str) -> BaseException | None:
    """Run until told to stop (None) or until something fails (the fault)."""
    stop, faults = asyncio.Event(), list[BaseException]()
    loop = asyncio.get_running_loop()

    def failed(fault: BaseException) -> None:
        faults.append(fault)
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    deps = Deps(settings)
    outbox = Outbox(settings, name)
    logics = {stage: logic_of(stage, deps) for stage in names}
    app, services, control = build(settings, logics, deps.side, outbox, failed)
    try:
        await control.start()
        await app.start()
        for service in services:
            await service.start()
        ready = asyncio.create_task(_announce(settings, name, services))
        await stop.wait()
        ready.cancel()
        if faults:
            return faults[0]
        log.info("stopping: finishing what was taken")
        await asyncio.wait_for(_stop(services, app, control, deps), _STOP_S)
        outbox.close()
    except Exception as fault:
        return faults[0] if faults else fault
    return None


async def _stop(services: Sequence[object], app: object, control: object, deps: Deps) -> None:
    for service in (*reversed(services), app, control):
        await service.stop()  # type: ignore[attr-defined]
    await deps.close()


async def _announce(settings: Settings, name: str, services: Sequence[object]) -> None:
    """Leave a file when every stage has joined its group: `kairos up` waits for it."""
    for service in services:
        await service.feed.subscribed.wait()  # type: ignore[attr-defined]
    ready_file(settings, name).write_text(f"{os.getpid()}\n")
    log.info("ready")
