"""Every command of docker-compose.yml, started with the environment it sets, without a container.

Only the addresses differ: the services' host names become loopback, and the ClickHouse server is
the embedded engine reached by the DSN, as a server would be.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import urllib.request
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from conftest import free_ports, kairos, running
from test_compose import OURS, filled

from infra import secrets
from sinks.client import connect
from streams.settings import Settings

pytestmark = pytest.mark.integration

WAIT_S = 90.0


def environment(service: dict[str, object], stack: Settings, home: Path,
                ports: dict[str, int]) -> dict[str, str]:
    """What compose would set, with the hosts of the containers replaced."""
    password = secrets.read(stack, "clickhouse_writer")
    asked = service["environment"]
    assert isinstance(asked, dict)
    ours = {name: filled(str(value)) for name, value in asked.items()} | {
        "KAIROS_HOST": "127.0.0.1", "KAIROS_KAFKA": stack.bootstrap,
        "KAIROS_CLICKHOUSE": f"clickhouse://kairos_writer:{password}@127.0.0.1:"
                             f"{stack.clickhouse_port}/kairos",
        "KAIROS_SMTP_HOST": "127.0.0.1", "KAIROS_SMTP_PORT": str(ports["mail"]),
        "KAIROS_WEB_PORT": str(ports["web"]), "KAIROS_HOME": str(home)}
    others = {k: v for k, v in os.environ.items() if not k.startswith("KAIROS_")}
    return {**others, **ours}


def is_healthy(service: dict[str, object], home: Path, ports: dict[str, int]) -> bool:
    """The service's own health check: a ready file, or a page that answers."""
    check = service["healthcheck"]
    assert isinstance(check, dict)
    words = check["test"]
    if "test" in words:
        return (home / "run" / Path(words[-1]).name).exists()
    port = ports["web"] if "18080" in words[-1] else ports["mail"] + 1
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz",
                                           timeout=2).status == 200)
    return False


def two_free_ports_in_a_row() -> int:
    """The first of two: the mail catcher's API listens behind its SMTP port."""
    for _ in range(100):
        (first,) = free_ports(1)
        with contextlib.suppress(OSError), socket.socket() as behind:
            behind.bind(("127.0.0.1", first + 1))
            return first
    raise AssertionError("no two free ports in a row")


def wait_for(what: str, holds: object) -> None:
    assert callable(holds)
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.3)


def test_every_command_starts_and_an_event_reaches_clickhouse_by_its_dsn(
        stack: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    ports = {"web": free_ports(1)[0], "mail": two_free_ports_in_a_row()}
    with contextlib.ExitStack() as started:
        for name, service in sorted(OURS.items(), key=lambda pair: pair[0] != "setup"):
            words = [str(word) for word in service["command"]]
            env = environment(service, stack, home, ports)
            log = tmp_path / f"{name}.log"
            child = started.enter_context(running(kairos(*words), env=env, log=log,
                                                  stop_wait_s=60))
            if name == "setup":
                assert child.wait(WAIT_S) == 0, log.read_text()
        for name, service in OURS.items():
            if name != "setup":
                wait_for(f"{name}: {(tmp_path / f'{name}.log').read_text()[-2000:]}",
                         lambda service=service: is_healthy(service, home, ports))
        producer = Producer({"bootstrap.servers": stack.bootstrap})
        producer.produce("events.raw", orjson.dumps({
            "event_id": "compose-1", "event_type": "page_view", "tenant": "compose",
            "timestamp": time.time(), "user_id": "u", "consent": {"measure": True}}), b"u")
        assert producer.flush(30) == 0
        client = connect(stack, user="reader")
        wait_for("the event is not in ClickHouse", lambda: client.query(
            "SELECT count() FROM events WHERE tenant = 'compose'").result_rows[0][0] == 1)
