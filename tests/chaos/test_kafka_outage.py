"""Kafka is not there at the start, goes away in the middle, comes back: said clearly, nothing lost.

The broker is this file's own, because others would suffer with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos_findings import await_landed, decisions_once, mails, messages_once, outcomes
from chaos_workers import STAGES, Workers, await_calm, until
from chaos_world import Sending, World
from conftest import kairos, settings_at, share_jars

from infra import daemons, processes
from infra.kafka import broker as kafka
from infra.parts import environment, pid_file, roster
from sinks.offsets import produced
from streams import pipeline
from streams.settings import PROJECT, Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

OUTAGE_S = 10.0          # longer than a member of a group may be silent
MAPPING = """\
name: late
tenant: late
type: page_view
time: when
fields: {user_id: who}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings under which ClickHouse and the mail catcher run, and Kafka may be up or not."""
    ours = settings_at(tmp_path_factory.mktemp("outage") / "home")
    kafka.ensure_jars(ours.model_copy(update={"home": PROJECT / ".kairos"}))
    share_jars(ours.home)
    try:
        processes.up(ours, parts_of(ours, "clickhouse", "mail"))
        yield ours
    finally:
        processes.down(ours, parts_of(ours, "kafka", "clickhouse", "mail", "topics"))


def parts_of(settings: Settings, *names: str) -> list[processes.Part]:
    return [part for part in roster(settings) if part.name in names]


def replay(settings: Settings, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "shop.yml").write_text(MAPPING)
    (folder / "shop.csv").write_text("when,who\n2024-01-02T03:04:05Z,ada\n")
    return subprocess.run(kairos("replay", "--mapping", str(folder / "shop.yml"),
                                 str(folder / "shop.csv")),
                          env=environment(settings), capture_output=True, text=True, check=False)


def test_started_before_the_broker_all_say_so_and_go_on_when_it_is_there(
        home: Settings, tmp_path: Path) -> None:
    world = World("early", count=300, pause_s=0.0)
    workers, silence = Workers(home, tmp_path), f"Kafka does not answer at {home.bootstrap}"
    try:
        workers.start("early bird", "admit", "choose")
        workers.run("sink", "sink", "run")
        failed = replay(home, tmp_path)
        assert failed.returncode == 1
        said = [line for line in failed.stderr.splitlines() if line.startswith(("kairos", " "))]
        assert home.bootstrap in said[0] and "does not answer" in said[0], failed.stderr
        assert "kairos up" in said[1] and len(failed.stderr.splitlines()) < 8, failed.stderr
        until(lambda: silence in workers.said("sink"), "the sink says what it misses", workers)
        until(lambda: silence in workers.said("early bird"), "so does the worker", workers)
        assert "restarting from the last checkpoint in 1 s" in workers.said("early bird")
        assert "Traceback" not in workers.said("early bird") + workers.said("sink")
        processes.up(home, parts_of(home, "kafka", "topics"))
        workers.await_ready("early bird", "sink")
        assert replay(home, tmp_path).returncode == 0
        world.prepare(home)
        world.produce(home)
        await_calm(home, workers, ("admit", "choose"))
        await_landed(home, workers)
        codes = workers.stop()
    finally:
        workers.kill_all()
    assert codes == {"early bird": 0, "sink": 0}
    found = outcomes(home)
    assert (found["admitted"], found["refused"]) == (len(world.events), 1), "ada never agreed"
    decisions_once(home, world)


def test_told_to_stop_while_the_broker_is_away_they_stop_promptly(home: Settings,
                                                                  tmp_path: Path) -> None:
    nowhere = home.model_copy(update={"kafka": "127.0.0.1:1"})
    workers = Workers(nowhere, tmp_path)
    try:
        workers.start("waiting", "admit")
        until(lambda: "restarting from" in workers.said("waiting"), "it waits", workers)
        began = time.monotonic()
        # Between two tries the new image may not listen to signals yet, and holds nothing either.
        assert workers.stop()["waiting"] in (0, -signal.SIGTERM)
        assert time.monotonic() - began < 30
    finally:
        workers.kill_all()


def admitted(settings: Settings) -> int:
    return sum(produced(settings, pipeline.ADMITTED).values())


def await_admission(settings: Settings, workers: Workers) -> None:
    """Wait until more is admitted than now: the road is at work."""
    before = admitted(settings)
    until(lambda: admitted(settings) > before, "events are admitted", workers)


def test_the_broker_stops_and_is_killed_in_the_middle(home: Settings, tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "14"))
    world = World("outage", seed=seed, count=3000, pause_s=1.0, mode="live")
    processes.up(home, parts_of(home, "kafka", "topics"))
    world.prepare(home)
    workers = Workers(home, tmp_path)
    try:
        workers.start("all", *STAGES)
        workers.run("sink", "sink", "run")
        workers.await_ready("all", "sink")
        app = Sending(world, home)
        await_admission(home, workers)
        processes.down(home, parts_of(home, "kafka"))
        time.sleep(OUTAGE_S)
        processes.up(home, parts_of(home, "kafka"))
        await_admission(home, workers)
        daemon = daemons.recall(pid_file(home, "kafka"))
        assert daemon is not None
        os.kill(daemon.pid, signal.SIGKILL)
        time.sleep(OUTAGE_S)
        processes.up(home, parts_of(home, "kafka"))
        app.join()
        await_calm(home, workers)
        await_landed(home, workers)
        codes = workers.stop()
    finally:
        workers.kill_all()
    assert codes == {"all": 0, "sink": 0}
    assert "Traceback" not in workers.said("all") + workers.said("sink")
    assert outcomes(home)["admitted"] >= len(world.events)
    sent = messages_once(home, world, decisions_once(home, world))
    assert Counter(mail.decision_id for mail in mails(home, world)) == Counter(sent), f"{seed=}"
