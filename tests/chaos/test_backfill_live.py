"""A feature is declared while the shop runs, and filled from the log beside the workers: its value
is what everybody's events say, those before it and those that come meanwhile."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from chaos_workers import Workers, await_calm
from chaos_world import START, Sending, World
from conftest import kairos, module_broker

from infra.parts import environment
from streams.choose.definitions import SHIPPED
from streams.kernel.moments import DAY_MS
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker
TWO = ("admit", "choose")
NEW = """\
  adds_30d:            {event: cart_add, kind: count, window: 30d}
  basket_30d:          {event: purchase, kind: mean, of: value, window: 30d}
  first_view:          {event: product_view, kind: first, of: value}
"""


def command(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(kairos(*words), env=environment(settings), capture_output=True,
                          text=True, timeout=200)


def features(settings: Settings, person: str) -> dict[str, Any]:
    said = command(settings, "profile", "--user", person, "--tenant", "filled", "--row", "--json")
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)["features"]
    return found


def test_what_is_declared_later_is_filled_from_the_log(broker: Settings, tmp_path: Path) -> None:
    world = World("filled", count=1500, people=14, pause_s=0.3)
    world.prepare(broker)
    folder = tmp_path / "definitions"
    folder.mkdir()
    shutil.copy(SHIPPED / "segments.yml", folder)
    (folder / "features.yml").write_text(
        (SHIPPED / "features.yml").read_text().rstrip("\n") + "\n" + NEW)
    changed = broker.model_copy(update={"definitions": folder})
    workers, later = Workers(broker, tmp_path), Workers(changed, tmp_path)
    try:
        workers.start("old", *TWO)
        workers.await_ready("old")
        half = World("filled", count=1500, people=14, pause_s=0.3)
        del half.events[700:]
        Sending(half, broker).join()
        await_calm(broker, workers, TWO)
        early = command(changed, "backfill")
        assert early.returncode != 0 and "not kept by these definitions yet" in early.stderr
        assert workers.stop() == {"old": 0}
        later.start("new", *TWO)
        later.await_ready("new")
        rest = World("filled", count=1500, people=14, pause_s=0.5)
        del rest.events[:700]
        app = Sending(rest, broker)
        app.join()
        await_calm(broker, later, TWO)
        lacking = json.loads(command(changed, "backfill", "--check", "--json").stdout)["lacking"]
        assert {"adds_30d", "basket_30d", "first_view"} <= set(lacking)
        assert "since_ms" in features(changed, "u3")["adds_30d"]
        done = command(changed, "backfill", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["rows"] == 14 and told["since_ms"] == 0 and told["events"] > 500
        await_calm(broker, later, TWO)
        for number in range(14):
            compare(features(changed, f"u{number}"), world, f"u{number}")
        assert "nothing to fill" in command(changed, "backfill").stdout
        assert later.stop() == {"new": 0}
    finally:
        workers.kill_all()
        later.kill_all()


def compare(found: dict[str, Any], world: World, person: str) -> None:
    own = [e for e in world.events if e["user_id"] == person]
    adds = [e for e in own if e["event_type"] == "cart_add"]
    assert found["adds_30d"]["value"] == len(adds)
    assert found["basket_30d"]["value"] == 10.0 and found["first_view"]["value"] == 10.0
    assert found["orders_lifetime"]["value"] == sum(e["event_type"] == "purchase" for e in own)
    assert world.events[-1]["event_ms"] < START + 30 * DAY_MS
    assert not any("since_ms" in each for each in found.values())
