"""Features of items, told by two workers on the real broker and put together by whoever asks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from chaos_workers import Workers, await_calm, until
from chaos_world import World
from conftest import kairos, module_broker
from test_profile_read import is_up

from infra import secrets
from infra.parts import environment
from streams.settings import Settings

pytestmark = [pytest.mark.integration]
broker = module_broker
TWO, PEOPLE_MIN = ("admit", "choose"), 5
FEATURES = """version: 1
purpose: personalise
features:
  orders: {event: purchase, kind: lifetime}
  views_30d: {entity: item, event: product_view, kind: count, window: 30d}
  sold: {entity: item, event: purchase, kind: sum, of: value, window: 30d, bestseller_from: 30}
  item_buyers: {entity: item, event: purchase, kind: distinct, window: 30d}
entities:
  item: {keep: 100}
"""
SEGMENTS = "version: 1\nsegments:\n  buyers: {feature: orders, at_least: 1}\n"


def asked(settings: Settings, item: str, key: str) -> httpx.Response:
    return httpx.get(f"http://{settings.host}:{settings.web_port}/v1/entities/item/{item}",
                     params={"tenant": "things"}, headers={"Authorization": f"Bearer {key}"},
                     timeout=60)


def command(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(kairos("entity", *words, "--tenant", "things"), capture_output=True,
                          env=environment(settings), text=True, timeout=120)


def expected(world: World, item: str) -> tuple[int, dict[str, float]]:
    """(people, values) of an item by everything that was sent: all of it lies within a month.
    Features look at views and purchases, so nothing else is heard of it."""
    own = [e for e in world.events if e.get("item_id") == item
           and e["event_type"] in ("product_view", "purchase")]
    bought = [e for e in own if e["event_type"] == "purchase"]
    return len({e["user_id"] for e in own}), {
        "views_30d": float(sum(e["event_type"] == "product_view" for e in own)),
        "sold": 10.0 * len(bought), "item_buyers": float(len({e["user_id"] for e in bought}))}


def says(answer: httpx.Response, people: int, values: dict[str, float]) -> bool:
    if answer.status_code != 200:
        return False
    told: dict[str, Any] = answer.json()
    return (told["people"] == people and told["bestseller"] == (values["sold"] >= 30)
            and {name: each["value"] for name, each in told["features"].items()} == values)


def test_an_item_is_read_as_the_events_say(broker: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "features.yml").write_text(FEATURES)
    (folder / "segments.yml").write_text(SEGMENTS)
    settings = broker.model_copy(update={"definitions": folder,
                                         "segment_members_min": PEOPLE_MIN})
    world = World("things", count=400, people=12, pause_s=0.0)
    world.prepare(settings)
    key, workers = secrets.read(settings, "operator_key"), Workers(settings, tmp_path)
    items = {item: expected(world, item) for item in (f"i{n}" for n in range(30))}
    shown = {item: told for item, told in items.items() if told[0] >= PEOPLE_MIN}
    try:
        workers.start("one", *TWO)
        workers.start("two", *TWO)
        workers.run("web", "web", "serve")
        workers.await_ready("one", "two")
        until(lambda: is_up(settings), "the web process is up", workers)
        world.produce(settings)
        await_calm(settings, workers, TWO)
        assert len(shown) > 15
        for item, (people, values) in shown.items():
            until(lambda item=item, people=people, values=values: says(     # type: ignore[misc]
                asked(settings, item, key), people, values), f"{item} is {values}", workers)
        for item in items.keys() - shown.keys():
            assert asked(settings, item, key).status_code == 404
        some = min(shown)
        one = command(settings, "item", some, "--json")
        assert json.loads(one.stdout) == asked(settings, some, key).json(), one.stderr
        assert some in command(settings, "item", some).stdout
        unknown = command(settings, "item", "nothing")
        assert unknown.returncode == 1 and "nothing is said" in unknown.stderr
        undeclared = command(settings, "category", "shirts")
        assert undeclared.returncode == 1 and "there are: item" in undeclared.stderr
        workers.stop()
    finally:
        workers.kill_all()
