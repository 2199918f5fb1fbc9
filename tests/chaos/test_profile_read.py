"""A profile is read over HTTP and by a command while workers write it, on the real broker."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from chaos_findings import of_tenant
from chaos_workers import Workers, await_calm, until
from chaos_world import START, Sending, World
from conftest import kairos, module_broker

from infra import secrets
from infra.parts import environment
from streams import pipeline
from streams.assembly import Deps
from streams.kernel.moments import DAY_MS
from streams.settings import Settings

pytestmark = [pytest.mark.integration]
broker = module_broker
TWO = ("admit", "choose")


def asked(settings: Settings, profile_id: str, key: str) -> httpx.Response:
    return httpx.get(f"http://{settings.host}:{settings.web_port}/v1/profiles/{profile_id}",
                     headers={"Authorization": f"Bearer {key}"}, timeout=60)


def command(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(kairos("profile", *words, "--row"), env=environment(settings),
                          capture_output=True, text=True, timeout=120)


def is_up(settings: Settings) -> bool:
    try:
        return bool(httpx.get(f"http://{settings.host}:{settings.web_port}/healthz").json()["ok"])
    except httpx.TransportError:
        return False


def test_a_row_is_read_as_the_events_say_while_workers_run(broker: Settings, tmp_path: Path,
                                                           ) -> None:
    world = World("reading", count=900, people=12, pause_s=0.3)
    world.prepare(broker)
    people = {person: world.profile(broker, person)
              for person in sorted({e["user_id"] for e in world.events})}
    key, workers = secrets.read(broker, "operator_key"), Workers(broker, tmp_path)
    amid: list[httpx.Response] = []
    try:
        workers.start("one", *TWO)
        workers.run("web", "web", "serve")
        workers.await_ready("one")
        until(lambda: is_up(broker), "the web process is up", workers)
        app = Sending(world, broker)
        reading = threading.Thread(target=lambda: amid.extend(
            asked(broker, each, key) for each in people.values()))
        reading.start()
        app.join()
        reading.join()
        await_calm(broker, workers, TWO)
        found = {person: asked(broker, each, key) for person, each in people.items()}
        for person, profile_id in people.items():
            assert found[person].status_code == 200, found[person].text
            compare(found[person].json(), world, person, profile_id)
        assert asked(broker, "0" * 32, key).status_code == 404
        assert asked(broker, profile_id, key[:-1]).status_code == 401
        one = command(broker, "--user", "u3", "--tenant", "reading", "--json")
        assert json.loads(one.stdout) == found["u3"].json(), one.stderr
        said = command(broker, people["u3"]).stdout
        assert people["u3"] in said and "days_since_purchase" in said
        nobody = command(broker, "0" * 32)
        assert nobody.returncode != 0 and "no row" in nobody.stderr
        forgotten(broker, workers, world, people, key, found)
        workers.stop()
    finally:
        workers.kill_all()
    # In the middle of it all: nobody yet, or what counted by then.
    assert {answer.status_code for answer in amid} <= {200, 404}
    for answer, person in zip(amid, people, strict=True):
        if answer.status_code == 200:
            bought = answer.json()["features"]["orders_lifetime"]["value"]
            assert bought <= found[person].json()["features"]["orders_lifetime"]["value"]


def forgotten(settings: Settings, workers: Workers, world: World, people: dict[str, str],
              key: str, before: dict[str, httpx.Response]) -> None:
    """Who asks for it is gone, also from the vault; nobody else has changed."""
    vault = Deps(settings).vault
    vault.put(people["u3"], {"email": "u3@example.org"})
    answer = httpx.post(f"http://{settings.host}:{settings.web_port}/v1/events", json={
        "event_id": "forget-me", "event_type": "erase", "tenant": "reading", "user_id": "u3",
        "event_ms": world.events[-1]["event_ms"] + 1})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    await_calm(settings, workers, TWO)
    assert asked(settings, people["u3"], key).status_code == 404
    assert vault.get(people["u3"], "email") is None
    for person, profile_id in people.items():
        if person != "u3":
            assert asked(settings, profile_id, key).json() == before[person].json()
    left = [change for change in of_tenant(settings, pipeline.SEGMENT_CHANGES, "reading")
            if change["profile_id"] == people["u3"] and change["cause"] == "erasure"]
    assert {change["segment"] for change in left} == set(before["u3"].json()["segments"])
    assert not any(change["entered"] for change in left)
    said = {change["purpose"]: change["granted"] for change in of_tenant(
        settings, pipeline.CONSENTS, "reading") if change["profile_id"] == people["u3"]}
    assert said == dict.fromkeys(("measure", "personalise", "contact", "train"), False)


def compare(row: dict[str, Any], world: World, person: str, profile_id: str) -> None:
    own = [e for e in world.events if e["user_id"] == person]
    bought = [e["event_ms"] for e in own if e["event_type"] == "purchase"]
    newest_ms, end_ms = max(e["event_ms"] for e in own), world.events[-1]["event_ms"]
    assert (row["profile_id"], row["tenant"], row["newest_event_ms"]) == (
        profile_id, "reading", newest_ms)
    assert row["purposes"] == ["measure", "personalise", "contact", "train"]
    assert end_ms < row["as_of_ms"] <= end_ms + 5 * DAY_MS and row["watermark_ms"] > START
    features = row["features"]
    assert features["orders_lifetime"]["value"] == len(bought)
    assert features["spend_365d"]["value"] == 10.0 * len(bought)
    assert features["days_since_seen"]["age_ms"] == row["as_of_ms"] - newest_ms
    assert features["days_since_purchase"]["refused"] is False
    assert ("active" in row["segments"]) == bool(bought) and row["segments_stated"]
    assert not any("since_ms" in each for each in features.values())
