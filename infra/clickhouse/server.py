"""Runs the embedded engine behind HTTP: lock, socket, engine, uvicorn, and an end that ends."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import uvicorn

from infra import secrets
from infra.clickhouse import config
from infra.clickhouse.answer import KEEP_ALIVE_S
from infra.clickhouse.engine import Engine
from infra.clickhouse.http import Account, Application
from streams.kernel.errors import SetupError
from streams.settings import Settings

DATABASE = "kairos"
WRITER, READER = "kairos_writer", "kairos_reader"
STOP_WAIT_S = 5
WATCHDOG_S = 12.0
BACKLOG = 512


def serve(settings: Settings, announce: Callable[[str], None] = print) -> None:
    """Own HOME/clickhouse and answer on `host:clickhouse_port` until SIGTERM or SIGINT.

    announce    is told once, in one line, when clients may come
    Raises SetupError when another process owns the path, the port is taken, the settings name a
    server instead of the embedded engine, or the engine cannot open the path.
    """
    _check(settings)
    os.environ["TZ"] = "UTC"
    secrets.ensure(settings)
    with _locked(settings.path("run", "clickhouse.lock")), _bound(settings) as listener:
        engine = Engine(_data(settings), _config(settings), DATABASE)
        app = Application(engine, accounts(settings))
        host, port = listener.getsockname()[:2]
        announce(f"ClickHouse engine {engine.version} answers at http://{host}:{port} "
                 f"(database {DATABASE}, users {WRITER} and {READER})")
        _Server(app).run([listener])
        app.sessions.close()
        app.verdicts.close()
        engine.close()
        sys.stdout.flush()
        # Threads of the engine may outlive it; all is closed, nothing is left to wait for.
        os._exit(0)


def accounts(settings: Settings) -> tuple[Account, ...]:
    """The two users of the front, with their generated passwords."""
    return (Account(WRITER, secrets.read(settings, "clickhouse_writer"), writes=True),
            Account(READER, secrets.read(settings, "clickhouse_reader"), writes=False))


def _check(settings: Settings) -> None:
    if not settings.embedded_clickhouse:
        raise SetupError("KAIROS_CLICKHOUSE names a server, so there is no embedded engine to run",
                         "unset KAIROS_CLICKHOUSE")
    if any(sign in str(settings.home) for sign in "?&#"):
        raise SetupError(f"the engine cannot open a path with ?, & or # in it: {settings.home}",
                         "set KAIROS_HOME to another folder")


def _data(settings: Settings) -> Path:
    return settings.path("clickhouse", "data").parent


def _config(settings: Settings) -> Path:
    return config.render(settings.home / "run" / "clickhouse", database=DATABASE,
                         memory_bytes=settings.clickhouse_memory_mb << 20,
                         free_bytes=settings.clickhouse_free_mb_min << 20)


@contextmanager
def _locked(where: Path) -> Iterator[IO[str]]:
    """The path's own lock, because the engine's error for a second owner says nothing."""
    with open(where, "a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            held.seek(0)
            owner = held.read().strip() or "unknown"
            raise SetupError(f"another process (pid {owner}) already serves this ClickHouse path",
                             "stop it (`kairos down`) or set another KAIROS_HOME") from fault
        held.truncate(0)
        held.write(f"{os.getpid()}\n")
        held.flush()
        yield held


@contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.clickhouse_port))
        except OSError as fault:
            raise SetupError(f"{settings.host}:{settings.clickhouse_port} cannot be listened on: "
                             f"{fault.strerror}", "free the port or set another "
                             "KAIROS_CLICKHOUSE_PORT") from fault
        listener.listen(BACKLOG)
        yield listener


def _is_news(record: logging.LogRecord) -> bool:
    """An answer that we break off on purpose is none."""
    return "without completing response" not in record.getMessage()


class _Server(uvicorn.Server):
    """uvicorn that stops running queries when it is told to stop, so that stopping is quick."""

    def __init__(self, app: Application) -> None:
        super().__init__(uvicorn.Config(
            app, loop="uvloop", http="httptools", lifespan="off", log_config=None,
            access_log=False, server_header=False, timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_WAIT_S, backlog=BACKLOG))
        self._app = app
        logging.getLogger("uvicorn.error").addFilter(_is_news)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Our own handlers instead: once is enough to end, and the exit code is 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        if self.should_exit:
            return
        self.should_exit = True
        watchdog = threading.Timer(WATCHDOG_S, os._exit, (3,))
        watchdog.daemon = True
        watchdog.start()
        self._app.killers.submit(self._app.engine.kill_all)
