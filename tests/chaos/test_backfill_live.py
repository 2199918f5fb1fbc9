"""Features of people and of things are declared while the shop runs, and filled from the log beside
the workers: they are what all events say, those before them and those that come meanwhile; and the
landed events, counted anew in ClickHouse, say the same of everybody and of every thing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from chaos_workers import Workers, await_calm, until
from chaos_world import START, Sending, World
from conftest import kairos, module_broker, module_stack

from infra.parts import environment
from streams.choose.definitions import SHIPPED
from streams.kernel.moments import DAY_MS
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker, stack = module_broker, module_stack
PEOPLE_MIN = 5
TWO = ("admit", "choose")
NEW = """\
  adds_30d:            {event: cart_add, kind: count, window: 30d}
  basket_30d:          {event: purchase, kind: mean, of: value, window: 30d}
  first_view:          {event: product_view, kind: first, of: value}
  item_adds:           {entity: item, event: cart_add, kind: count, window: 30d}
  item_sold:           {entity: item, event: purchase, kind: sum, of: value, window: 30d}
  item_buyers:         {entity: item, event: purchase, kind: distinct, window: 30d}
entities:
  item: {keep: 100}
"""
ITEMS = [f"i{n}" for n in range(30)]
FILLED = ("adds_30d", "everybody: adds_30d", "everybody: basket_30d", "item: item_adds",
          "item: item_sold", "item: item_buyers")


def command(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(kairos(*words), env=environment(settings), capture_output=True,
                          text=True, timeout=200)


def features(settings: Settings, person: str) -> dict[str, Any]:
    said = command(settings, "profile", "--user", person, "--tenant", "filled", "--row", "--json")
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)["features"]
    return found


def part(first: int, end: int, pause_s: float) -> World:
    """Some of the world's events, in their order."""
    some = whole(pause_s)
    some.events[:] = some.events[first:end]
    return some


def whole(pause_s: float = 0.3) -> World:
    return World("filled", count=1500, people=14, pause_s=pause_s)


def test_what_is_declared_later_is_filled_from_the_log(stack: Settings, tmp_path: Path) -> None:
    broker, world = stack.model_copy(update={"segment_members_min": PEOPLE_MIN}), whole()
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
        later.run("sink", "sink", "run")
        Sending(part(0, 700, 0.3), broker).join()
        await_calm(broker, workers, TWO)
        early = command(changed, "backfill")
        assert early.returncode != 0 and "not kept by these definitions yet" in early.stderr
        assert workers.stop() == {"old": 0}
        later.start("new", *TWO)
        later.await_ready("new")
        Sending(part(700, 1200, 0.5), broker).join()
        await_calm(broker, later, TWO)
        lacking = json.loads(command(changed, "backfill", "--check", "--json").stdout)["lacking"]
        assert {"adds_30d", "basket_30d", "first_view"} <= set(lacking)
        assert "since_ms" in features(changed, "u3")["adds_30d"]
        done = command(changed, "backfill", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["rows"] == 14 and told["since_ms"] == 0 and told["events"] > 500
        Sending(part(1200, len(world.events), 0.3), broker).join()
        await_calm(broker, later, TWO)
        for number in range(14):
            compare(features(changed, f"u{number}"), world, f"u{number}")
        assert "nothing to fill" in command(changed, "backfill").stdout
        until(lambda: all(of_item(changed, item) == expected(world, item) for item in ITEMS),
              "items are as the events say", later)
        until(lambda: is_counted(changed), "what partitions said has landed", later)
        assert later.stop() == {"new": 0, "sink": 0}
    finally:
        workers.kill_all()
        later.kill_all()


def of_item(settings: Settings, item: str) -> dict[str, float]:
    said = command(settings, "entity", "item", item, "--tenant", "filled", "--json")
    assert said.returncode == 0, said.stderr
    told: dict[str, Any] = json.loads(said.stdout)["features"]
    return {name: each["value"] for name, each in told.items() if "since_ms" not in each}


def expected(world: World, item: str) -> dict[str, float]:
    own = [e for e in world.events if e.get("item_id") == item]
    bought = [e for e in own if e["event_type"] == "purchase"]
    return {"item_adds": float(sum(e["event_type"] == "cart_add" for e in own)),
            "item_sold": 10.0 * len(bought),
            "item_buyers": float(len({e["user_id"] for e in bought}))}


def is_counted(settings: Settings) -> bool:
    """Has each filled feature landed, and never with another value than a recount's?"""
    said = command(settings, "drift", "--tenant", "filled", "--shares", "1000", "--json")
    if said.returncode and "no decision" in said.stderr:
        return False
    assert said.returncode == 0, said.stdout + said.stderr
    drift = json.loads(said.stdout)["drift"]
    return all(drift.get(name, {}).get("compared") for name in FILLED)


def compare(found: dict[str, Any], world: World, person: str) -> None:
    own = [e for e in world.events if e["user_id"] == person]
    adds = [e for e in own if e["event_type"] == "cart_add"]
    assert found["adds_30d"]["value"] == len(adds)
    assert found["basket_30d"]["value"] == 10.0 and found["first_view"]["value"] == 10.0
    assert found["orders_lifetime"]["value"] == sum(e["event_type"] == "purchase" for e in own)
    assert world.events[-1]["event_ms"] < START + 30 * DAY_MS
    assert not any("since_ms" in each for each in found.values())
