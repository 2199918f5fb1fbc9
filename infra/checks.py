"""`kairos doctor`: every check of the machine and of what runs, all of them, none that raises."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from infra import parts, processes, secrets
from infra import preflight as machine
from infra.kafka import broker, topics
from infra.preflight import preflight
from streams.kernel.errors import KairosError, SetupError, UnreachableError
from streams.settings import Settings

__all__ = ["Check", "doctor", "names", "preflight"]

READER = "kairos_reader"  # the analysts' read-only user at the embedded engine


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    detail: str
    remedy: str = ""


def doctor(settings: Settings, only: Collection[str] = (),
           more: Mapping[str, Callable[[], str]] | None = None) -> list[Check]:
    """All checks (or those named in `only`), the machine's first, then `more`. Reads only.

    Topics are compared only where the broker answers: otherwise its own check says enough.
    """
    found: list[Check] = []
    for name, ask in {**_asked(settings), **(more or {})}.items():
        silent = name == "topics" and not all(one.ok for one in found if one.name == "broker")
        if (not only or name in only) and not silent:
            found.append(_check(name, ask))
    return found


def names(settings: Settings) -> list[str]:
    """The checks that `doctor` knows under these settings."""
    return list(_asked(settings))


def _asked(settings: Settings) -> dict[str, Callable[[], str]]:
    asked: dict[str, Callable[[], str]] = {
        "python": machine.check_python, "home": lambda: machine.check_home(settings),
        "disk": lambda: machine.check_disk(settings)}
    if settings.embedded_kafka:
        asked |= {"java": machine.check_java, "jars": lambda: machine.check_jars(settings)}
    asked["secrets"] = lambda: _secrets(settings)
    for part in parts.roster(settings):
        if part.argv:
            asked[part.name] = partial(_part, settings, part)
    return asked | {"broker": lambda: _broker(settings), "topics": lambda: _topics(settings),
                    "tables": lambda: _clickhouse(settings)}


def _check(name: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(name, True, ask())
    except KairosError as fault:
        return Check(name, False, fault.message, fault.remedy)


def _secrets(settings: Settings) -> str:
    loose = secrets.loose(settings)
    if loose:
        raise SetupError(f"others may read {', '.join(map(str, loose))}",
                         f"chmod 600 {' '.join(map(str, loose))}")
    there = [name for name in secrets.NAMES if secrets.path(settings, name).exists()]
    return f"{len(there)} in {secrets.folder(settings)}" if there else "`kairos up` will make them"


def _part(settings: Settings, part: parts.Part) -> str:
    status = processes.status(settings, [part])[0]
    if status.state == "running":
        return f"running (process {status.pid})"
    if status.state == "unhealthy":
        raise UnreachableError(f"runs (process {status.pid}) but does not answer",
                               f"see {status.log}")
    if status.state == "died":
        raise UnreachableError("died", f"see {status.log}, then `kairos up`")
    machine.check_ports(settings, part)
    raise UnreachableError("stopped", "`kairos up` starts it")


def _broker(settings: Settings) -> str:
    if not broker.answers(settings):
        raise UnreachableError(f"no Kafka broker answers at {settings.bootstrap}",
                               "`kairos up` starts the local one; for your own check KAIROS_KAFKA "
                               "and KAIROS_KAFKA_OPTIONS")
    return f"answers at {settings.bootstrap}"


def _topics(settings: Settings) -> str:
    drifts = topics.drift(settings)
    if drifts:
        shown = "; ".join(map(str, drifts[:5]))
        more = f"; and {len(drifts) - 5} more" if len(drifts) > 5 else ""
        raise SetupError(shown + more, "`kairos up` applies infra/kafka/topics.yml")
    return f"{len(topics.declared(settings))} as in topics.yml"


def _clickhouse(settings: Settings) -> str:
    """Asks as the analysts' reader does, so that a refused password shows here."""
    # The driver logs what it raises; here the check's own sentence is enough.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        with clickhouse_connect.get_client(**_clickhouse_access(settings)) as client:
            return f"version {client.command('SELECT version()')}"
    except (ClickHouseError, OSError) as fault:
        raise UnreachableError(f"ClickHouse does not answer: {_short(fault)}",
                               "`kairos up` starts the embedded one; for your own check "
                               "KAIROS_CLICKHOUSE") from fault


def _clickhouse_access(settings: Settings) -> dict[str, Any]:
    if not settings.embedded_clickhouse:
        return {"dsn": settings.clickhouse, "connect_timeout": 3}
    return {"host": parts.reachable(settings), "port": settings.clickhouse_port,
            "username": READER, "password": secrets.read(settings, "clickhouse_reader"),
            "connect_timeout": 3}


def _short(fault: Exception) -> str:
    """The refused connection, without the driver's chain of causes around it."""
    text = " ".join(str(fault).split())
    return "the connection is refused" if "refused" in text else text[:160]
