"""What every test may ask for. `broker` and `clickhouse` are the real ones, started by the suite.

A part that does not start is a failure, never a skip; whatever was started is stopped, also when
the tests fail.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import hypothesis
import pytest

# The code's folders and those of its tests have the same names: the code's must be found first,
# however pytest was started.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from infra import parts, processes
from infra.kafka import broker as kafka
from streams.settings import PROJECT, Settings

# No test is timed: a machine may be busy, and compiled code compiles at the first call.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on; held together, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _free_pair() -> int:
    """A free port whose next one is free as well: the mail catcher listens on both."""
    while True:
        port = free_ports(1)[0]
        with socket.socket() as above, contextlib.suppress(OSError, OverflowError):
            above.bind(("127.0.0.1", port + 1))
            return port


def settings_at(home: Path, **values: object) -> Settings:
    """Settings with a home and ports of their own, independent of the caller's environment."""
    named = ("kafka_port", "kafka_controller_port", "clickhouse_port", "web_port")
    ports = dict(zip(named, free_ports(len(named)), strict=True)) | {"smtp_port": _free_pair()}
    fields = {name: field.default for name, field in Settings.model_fields.items()}
    return Settings.model_validate({**fields, "home": home, **ports, **values})


@contextlib.contextmanager
def running(argv: Sequence[str], *, env: Mapping[str, str] | None = None, log: Path | None = None,
            stop_wait_s: float = 20.0) -> Iterator[subprocess.Popen[bytes]]:
    """A process from the project's folder that is certainly gone at the end of the block."""
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("ab")) if log is not None else subprocess.DEVNULL
        child = subprocess.Popen(list(argv), cwd=PROJECT, env=None if env is None else dict(env),
                                 stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                 start_new_session=True)
        try:
            yield child
        finally:
            if child.poll() is None:
                child.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(stop_wait_s)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, 9)
            child.wait()


def kairos(*words: str) -> list[str]:
    """The argv of a `kairos` command under the interpreter that runs the tests."""
    return [sys.executable, "-m", "streams.cli.main", *words]


def share_jars(home: Path) -> None:
    """Let a home use the project's jars of Kafka when they are there, instead of fetching them."""
    ours = PROJECT / ".kairos" / "kafka" / "libs"
    theirs = home / "kafka" / "libs"
    if ours.is_dir() and not theirs.exists():
        theirs.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ours, theirs, copy_function=_link)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose home is the test's own folder; nothing runs there."""
    return settings_at(tmp_path / "home")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of ONE real Kafka for the whole session, with its topics applied."""
    yield from _brokered(tmp_path_factory)


@pytest.fixture(scope="module")
def module_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A broker of its own for a module whose tests break things: `broker = module_broker`."""
    yield from _brokered(tmp_path_factory)


@pytest.fixture(scope="module")
def module_stack(broker: Settings) -> Iterator[Settings]:
    """ClickHouse beside the module's own broker: `stack = module_stack`."""
    yield from _serving(broker, "clickhouse")


def _brokered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    ours = settings_at(tmp_path_factory.mktemp("broker") / "home")
    _jars(ours)
    wanted = [part for part in parts.roster(ours) if part.name in ("kafka", "topics")]
    try:
        processes.up(ours, wanted)
        yield ours
    finally:
        processes.down(ours, wanted)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of ONE real embedded ClickHouse for the whole session."""
    ours = settings_at(tmp_path_factory.mktemp("clickhouse") / "home")
    yield from _serving(ours, "clickhouse")


@pytest.fixture(scope="session")
def stack(broker: Settings) -> Iterator[Settings]:
    """Kafka and ClickHouse under one home, for tests that need both."""
    yield from _serving(broker, "clickhouse")


def _serving(settings: Settings, name: str) -> Iterator[Settings]:
    wanted = [part for part in parts.roster(settings) if part.name == name]
    try:
        processes.up(settings, wanted)
        yield settings
    finally:
        processes.down(settings, wanted)


def _jars(settings: Settings) -> None:
    """Jars that the first run fetched stay with the project: the next run needs no network."""
    project = settings.model_copy(update={"home": PROJECT / ".kairos"})
    kafka.ensure_jars(project)
    share_jars(settings.home)


def _link(source: str, target: str) -> object:
    """A hard link where the file system allows it, otherwise a copy: jars are never written to."""
    try:
        os.link(source, target)
    except OSError:
        return shutil.copy2(source, target)
    return target
