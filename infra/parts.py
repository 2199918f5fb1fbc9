"""The roster: which processes make up a local Kairos, in start order, and when each is healthy.

A part that your settings replace (your own broker, ClickHouse or SMTP server) is not in the roster.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from infra.kafka import broker, topics
from streams.settings import Settings

HTTP_WAIT_S = 2.0
# Two processes for the two cores of a small machine: what the events cost, and what messages cost.
WORKERS = {"worker-1": "admit,choose", "worker-2": "compose,deliver,learn"}


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a part listens on, and the setting that moves it."""

    number: int
    setting: str


def _nothing() -> None:
    """A part that needs no preparation."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process, or with an empty `argv` one action (`prepare`) at its place in the order.

    Parts of one `wave` start together; the next wave begins when all of them are healthy.
    """

    name: str
    wave: int
    argv: tuple[str, ...]
    healthy: Callable[[], bool]
    address: str = ""
    ports: tuple[Port, ...] = ()
    prepare: Callable[[], None] = _nothing
    start_wait_s: float = 60.0
    stop_wait_s: float = 20.0


def pid_file(settings: Settings, part: str) -> Path:
    return settings.home / "run" / f"{part}.pid"


def log_file(settings: Settings, part: str) -> Path:
    return settings.home / "logs" / f"{part}.log"


def ready_file(settings: Settings, part: str) -> Path:
    """The file that a worker or the sink writes (any content) once it is subscribed."""
    return settings.path("run", f"{part}.ready")


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a part's process reads back exactly these settings."""
    fields = type(settings).model_fields
    ours = {f"KAIROS_{name.upper()}": str(getattr(settings, name)) for name in fields
            if getattr(settings, name) != fields[name].default}
    others = {key: value for key, value in os.environ.items() if not key.startswith("KAIROS_")}
    return {**others, **ours, "PYTHONUNBUFFERED": "1"}


def roster(settings: Settings) -> tuple[Part, ...]:
    """The parts of a local Kairos under these settings, in start order."""
    parts: list[Part] = []
    if settings.embedded_kafka:
        parts.append(_kafka(settings))
    if settings.embedded_clickhouse:
        parts.append(_served(settings, "clickhouse", 0, settings.clickhouse_port,
                             "KAIROS_CLICKHOUSE_PORT", "/ping", stop_wait_s=30.0))
    if not settings.smtp_host:
        parts.append(_mail(settings))
    parts.append(Part("topics", 1, (), lambda: True, prepare=lambda: _apply(settings)))
    parts.append(_served(settings, "web", 2, settings.web_port, "KAIROS_WEB_PORT", "/healthz"))
    parts += [_subscriber(settings, name, "work", "--stages", stages, "--name", name)
              for name, stages in WORKERS.items()]
    parts.append(_subscriber(settings, "sink", "sink", "run"))
    return tuple(parts)


def _apply(settings: Settings) -> None:
    topics.apply(settings)


def _kairos(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "streams.cli.main", *words)


def _kafka(settings: Settings) -> Part:
    return Part("kafka", 0, ("java",), lambda: broker.serves(settings, wait_s=1.0),
                address=settings.bootstrap, prepare=lambda: broker.prepare(settings),
                ports=(Port(settings.kafka_port, "KAIROS_KAFKA_PORT"),
                       Port(settings.kafka_controller_port, "KAIROS_KAFKA_CONTROLLER_PORT")),
                stop_wait_s=broker.STOP_WAIT_S)


def _served(settings: Settings, name: str, wave: int, port: int, setting: str, path: str, *,
            stop_wait_s: float = 20.0) -> Part:
    url = f"http://{reachable(settings)}:{port}"
    return Part(name, wave, _kairos(name, "serve"), lambda: _http_ok(url + path), address=url,
                ports=(Port(port, setting),), stop_wait_s=stop_wait_s)


def _mail(settings: Settings) -> Part:
    host, port = reachable(settings), settings.smtp_port
    # Its HTTP interface listens one port above; each must answer.
    return Part("mail", 0, _kairos("mail", "serve"),
                lambda: _greets(host=host, port=port) and _http_ok(
                    f"http://{host}:{port + 1}/healthz"),
                address=f"smtp://{host}:{port}",
                ports=(Port(port, "KAIROS_SMTP_PORT"), Port(port + 1, "KAIROS_SMTP_PORT")))


def _subscriber(settings: Settings, name: str, *words: str) -> Part:
    where = ready_file(settings, name)
    # Where nothing was compiled before, a worker does that first: half a minute, on a busy machine
    # some. It stops when what is in flight is durable, and gives itself up to 90 s for that.
    return Part(name, 2, _kairos(*words), where.exists, start_wait_s=300.0, stop_wait_s=100.0)


def argv(settings: Settings, part: Part) -> tuple[str, ...]:
    """The command line to run; Kafka's is known only once its jars and Java have been found."""
    return tuple(broker.command(settings)) if part.name == "kafka" else part.argv


def reachable(settings: Settings) -> str:
    """Where this machine itself reaches a server that binds to `host`."""
    return "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host


def _http_ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=HTTP_WAIT_S, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _greets(*, host: str, port: int) -> bool:
    """An SMTP server greets with 220; asking for the greeting leaves no trace in a mailbox."""
    try:
        with socket.create_connection((host, port), timeout=HTTP_WAIT_S) as line:
            greeting = line.recv(64)
            line.sendall(b"QUIT\r\n")
            return greeting.startswith(b"220")
    except OSError:
        return False
