"""The embedded engine as a process of its own, for integration tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx

START_WAIT_S = 60.0
PROJECT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ClickHouseProcess:
    """`kairos clickhouse serve` on a free port with its own home."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {key: value for key, value in os.environ.items()
                     if not key.startswith("KAIROS_")}
        self.environment = {**inherited, "KAIROS_HOME": str(home),
                            "KAIROS_CLICKHOUSE_PORT": str(self.port), **settings}
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        return [sys.executable, "-m", "streams.cli.main", "clickhouse", "serve"]

    def start(self) -> ClickHouseProcess:
        self.home.mkdir(parents=True, exist_ok=True)
        with open(self.home / "serve.log", "ab") as log:
            self.process = subprocess.Popen(self.command(), cwd=PROJECT, env=self.environment,
                                            stdout=log, stderr=log)
        deadline = time.monotonic() + START_WAIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/ping", trust_env=False).text == "Ok.\n":
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the engine did not start: {self.log()}")

    def log(self) -> str:
        return (self.home / "serve.log").read_text()

    def signal(self, number: int) -> int:
        """Send a signal and wait for the end; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGTERM)

    def password(self, user: str) -> str:
        name = user.replace("kairos_", "clickhouse_")
        return (self.home / "secrets" / name).read_text().strip()

    def auth(self, user: str = "kairos_writer") -> tuple[str, str]:
        return user, self.password(user)

    def post(self, body: bytes | str = b"", *, user: str = "kairos_writer",
             headers: dict[str, str] | None = None, **params: str) -> httpx.Response:
        """One raw request, as curl would send it."""
        return httpx.post(self.url, params=params, content=body, auth=self.auth(user),
                          headers=headers, timeout=60, trust_env=False)

    def sql(self, body: str, **params: str) -> str:
        """Run as the writer; the body of a good answer without its last line feed."""
        answer = self.post(body.encode(), **params)
        assert answer.status_code == 200, answer.text
        return answer.text.rstrip("\n")

    def client(self, user: str = "kairos_writer", **options: Any) -> Any:
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, username=user, password=self.password(user),
            **options)
