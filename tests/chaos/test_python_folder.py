"""Workers start on definitions in Python and keep them; a broken file is refused at once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from chaos_workers import Workers, await_calm
from chaos_world import World
from conftest import kairos, module_broker

from infra.parts import environment
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker
TWO = ("admit", "choose")
OWN = """\
from streams.choose.declaring import about, feature, segment

about(version=1, purpose="personalise")
for event in ("product_view", "cart_add", "purchase"):
    feature(f"{event}s_ever", event=event, kind="lifetime")
segment("buyers", {"feature": "purchases_ever", "at_least": 1})
"""


def command(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(kairos(*words), env=environment(settings), capture_output=True,
                          text=True, timeout=120)


def test_workers_keep_what_is_declared_in_python(broker: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "own.py").write_text(OWN)
    settings = broker.model_copy(update={"definitions": folder})
    world, workers = World("python", count=300, people=6, pause_s=0.0), Workers(settings, tmp_path)
    world.prepare(settings)
    try:
        workers.start("one", *TWO)
        workers.await_ready("one")
        world.produce(settings)
        await_calm(settings, workers, TWO)
        for number in range(6):
            said = command(settings, "profile", "--user", f"u{number}", "--tenant", "python",
                           "--row", "--json")
            assert said.returncode == 0, said.stderr
            told = json.loads(said.stdout)
            of_them = [e["event_type"] for e in world.events if e["user_id"] == f"u{number}"]
            assert {name: each["value"] for name, each in told["features"].items()} == {
                f"{event}s_ever": float(of_them.count(event))
                for event in ("product_view", "cart_add", "purchase")}
            assert ("buyers" in told["segments"]) == ("purchase" in of_them)
        assert workers.stop() == {"one": 0}
        (folder / "own.py").write_text(OWN + "segment('late', {'feature': 'buys'})\n")
        refused = command(settings, "work", "--stages", "choose", "--name", "two")
        assert refused.returncode != 0 and "Traceback" not in refused.stderr
        assert "own.py:7: segments.late: " in refused.stderr
    finally:
        workers.kill_all()
