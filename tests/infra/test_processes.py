"""The supervisor, on small stand-in processes: it starts in order, tells, stops, leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import free_ports, settings_at

from infra import daemons, processes
from infra.parts import Part, Port, environment, log_file, pid_file, ready_file, roster
from streams.kernel.errors import SetupError
from streams.settings import Settings

READY = "import sys, time, pathlib; pathlib.Path(sys.argv[1]).write_text('yes'); time.sleep(600)"
DIES = "print('the reason stands here'); raise SystemExit(3)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY


def stand_in(settings: Settings, name: str, code: str = READY, *, wave: int = 0,
             ports: tuple[Port, ...] = (), start_wait_s: float = 30.0,
             stop_wait_s: float = 10.0) -> Part:
    ready = ready_file(settings, name)
    return Part(name, wave, (sys.executable, "-c", code, str(ready)), ready.exists, ports=ports,
                start_wait_s=start_wait_s, stop_wait_s=stop_wait_s)


@pytest.fixture
def home(settings: Settings) -> Iterator[Settings]:
    yield settings
    processes.down(settings)


def gone(pid: int) -> bool:
    return daemons.start_mark(pid) is None


def pid_of(settings: Settings, name: str) -> int:
    daemon = daemons.recall(pid_file(settings, name))
    assert daemon is not None
    return daemon.pid


def test_parts_start_wave_by_wave_and_stop_in_reverse(home: Settings) -> None:
    said: list[tuple[str, str]] = []
    parts = [stand_in(home, "last", wave=2), stand_in(home, "first"),
             Part("middle", 1, (), lambda: True, prepare=lambda: said.append(("middle", "did")))]
    states = processes.up(home, parts, on_progress=lambda part, word: said.append((part, word)))
    assert said == [("first", "starting"), ("first", "ready"), ("middle", "starting"),
                    ("middle", "did"), ("middle", "ready"), ("last", "starting"),
                    ("last", "ready")]
    assert [(state.name, state.state) for state in states] == [("first", "running"),
                                                               ("last", "running")]
    pids = [state.pid for state in states]
    ended = processes.down(home, sorted(parts, key=lambda part: part.wave))
    assert [str(one) for one in ended] == ["last stopped", "first stopped"]
    assert all(pid is not None and gone(pid) for pid in pids)
    assert list((home.home / "run").glob("*.pid")) == []
    assert list((home.home / "run").glob("*.ready")) == []


def test_a_failed_start_quotes_the_log_and_leaves_nothing(home: Settings) -> None:
    started: list[int] = []

    def note(part: str, word: str) -> None:
        if (part, word) == ("steady", "ready"):
            started.append(pid_of(home, "steady"))

    with pytest.raises(SetupError) as caught:
        processes.up(home, [stand_in(home, "steady"), stand_in(home, "broken", DIES, wave=1)],
                     on_progress=note)
    assert "broken died at start" in caught.value.message
    assert "the reason stands here" in caught.value.message
    assert str(log_file(home, "broken")) in caught.value.remedy
    assert len(started) == 1 and gone(started[0])
    assert list((home.home / "run").glob("*.pid")) == []


def test_a_part_that_never_becomes_healthy_is_stopped(home: Settings) -> None:
    with pytest.raises(SetupError, match="slow is not healthy after 1 s"):
        processes.up(home, [stand_in(home, "slow", "import time; time.sleep(600)",
                                     start_wait_s=1.0)])
    assert processes.down(home) == []


def test_a_failed_start_leaves_what_ran_before(home: Settings) -> None:
    old, broken = stand_in(home, "old"), stand_in(home, "broken", DIES, wave=1)
    processes.up(home, [old])
    with pytest.raises(SetupError):
        processes.up(home, [old, broken])
    assert [state.state for state in processes.status(home, [old])] == ["running"]


def test_a_program_that_does_not_exist_is_one_sentence(home: Settings) -> None:
    part = Part("odd", 0, ("/nowhere/at-all",), lambda: True)
    with pytest.raises(SetupError, match="odd cannot be started"):
        processes.up(home, [stand_in(home, "steady"), part])
    assert list((home.home / "run").glob("*.pid")) == []


def test_up_twice_starts_nothing_twice(home: Settings) -> None:
    part = stand_in(home, "one")
    first = processes.up(home, [part])[0].pid
    said: list[str] = []
    second = processes.up(home, [part], on_progress=lambda _, word: said.append(word))[0].pid
    assert (first, said) == (second, ["running already"])


def test_a_killed_part_is_called_died_and_can_be_started_again(home: Settings) -> None:
    part = stand_in(home, "one")
    pid = processes.up(home, [part])[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while not gone(pid):
        time.sleep(0.01)
    assert processes.status(home, [part])[0].state == "died"
    assert processes.up(home, [part])[0].state == "running"


def test_a_part_that_ignores_sigterm_is_killed_with_a_sentence(home: Settings) -> None:
    part = stand_in(home, "deaf", DEAF, stop_wait_s=0.3)
    pid = processes.up(home, [part])[0].pid
    ended = processes.down(home, [part])
    assert [str(one) for one in ended] == ["deaf did not stop when asked and was killed"]
    assert pid is not None and gone(pid)


def test_a_pid_that_now_belongs_to_somebody_else_is_never_signalled(home: Settings) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        file = pid_file(home, "one")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'{{"pid": {stranger.pid}, "mark": "another:1", "started_ms": 1}}')
        assert processes.status(home, [stand_in(home, "one")])[0].state == "died"
        assert [str(one) for one in processes.down(home)] == ["one had died"]
        assert stranger.poll() is None and not file.exists()
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "12", "{}", '{"pid": "x"}', "\x00"])
def test_a_damaged_pid_file_counts_as_died(home: Settings, text: str) -> None:
    file = pid_file(home, "one")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    assert processes.status(home, [stand_in(home, "one")])[0].state == "died"
    assert processes.up(home, [stand_in(home, "one")])[0].state == "running"


def test_down_also_stops_what_other_settings_started(home: Settings) -> None:
    processes.up(home, [stand_in(home, "from-before")])
    assert [str(one) for one in processes.down(home)] == ["from-before stopped"]


def test_two_at_once_do_not_collide(home: Settings) -> None:
    refused: list[str] = []

    def try_as_well(part: str, word: str) -> None:
        try:
            processes.down(home)
        except SetupError as fault:
            refused.append(fault.message)

    processes.up(home, [stand_in(home, "one")], on_progress=try_as_well)
    assert refused and all("another `kairos up`" in sentence for sentence in refused)


def test_a_taken_port_names_the_setting_and_the_process(home: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        part = stand_in(home, "one", ports=(Port(number, "KAIROS_WEB_PORT"),))
        with pytest.raises(SetupError) as caught:
            processes.up(home, [part])
    assert f"port {number} for one is taken" in caught.value.message
    assert "KAIROS_WEB_PORT" in caught.value.remedy
    if Path("/proc/net/tcp").exists():
        assert f"process {os.getpid()}" in caught.value.message


def test_the_log_of_the_run_before_is_kept_beside(home: Settings) -> None:
    part = stand_in(home, "one", "print('hello', flush=True);" + READY)
    processes.up(home, [part])
    processes.down(home, [part])
    processes.up(home, [part])
    before = log_file(home, "one").with_suffix(".log.1")
    assert "hello" in before.read_text() and "hello" in log_file(home, "one").read_text()


def test_children_read_back_the_same_settings(home: Settings) -> None:
    code = "from streams import settings; print(settings.load().model_dump_json())"
    said = subprocess.run([sys.executable, "-c", code], env=environment(home), check=True,
                          capture_output=True, text=True).stdout
    assert Settings.model_validate_json(said) == home


ROSTERS: list[tuple[dict[str, object], list[str]]] = [
    ({}, ["kafka", "clickhouse", "mail", "topics", "web", "worker-1", "worker-2", "sink"]),
    ({"kafka": "there:9092"},
     ["clickhouse", "mail", "topics", "web", "worker-1", "worker-2", "sink"]),
    ({"clickhouse": "clickhouse://there/kairos"},
     ["kafka", "mail", "topics", "web", "worker-1", "worker-2", "sink"]),
    ({"smtp_host": "there"},
     ["kafka", "clickhouse", "topics", "web", "worker-1", "worker-2", "sink"]),
]


@pytest.mark.parametrize(("values", "names"), ROSTERS)
def test_what_your_settings_replace_is_not_started(tmp_path: Path, values: dict[str, object],
                                                   names: list[str]) -> None:
    parts = roster(settings_at(tmp_path, **values))
    assert [part.name for part in parts] == names
    assert [part.wave for part in parts] == sorted(part.wave for part in parts)


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20
