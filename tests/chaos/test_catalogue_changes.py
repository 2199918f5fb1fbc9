"""The catalogue says that things cost less: whoever looked at one hears of it, once, on the real
broker, although the worker is killed amid the catalogue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from chaos_findings import of_tenant, partitions_of
from chaos_workers import Workers, await_calm, until
from chaos_world import CONSENT, producer
from conftest import module_broker

from infra import secrets
from schemas import contract
from streams import pipeline
from streams.adapters.history import KafkaBus
from streams.kernel.moments import HOUR_MS
from streams.privacy.pseudonyms import Pseudonyms
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

TENANT, ITEMS, PEOPLE = "shop", 300, 40
START = 1_600_000_000_000
PLAYBOOK = """\
playbook: cheaper
trigger: {price_drop: {at_least: 10%}}
purpose: contact
channels: [email]
brief: Say that it costs less now.
facts: [item.title, item.price, item.url]
variants: {reminder: {strategy: reminder}, help: {strategy: helpful}}
cap: {messages: 100, per: 1d}
cooldown: 0s
expires: 24h
conversion: {event: purchase, within: 3d}
holdout: 10%
mode: shadow
clock: event
"""


def item(number: int, price: int, at_ms: int) -> dict[str, object]:
    return {"tenant": TENANT, "item_id": f"i{number}", "title": f"Thing {number}",
            "price_micros": price * 1_000_000, "currency": "EUR", "in_stock": True,
            "url": f"https://shop.example/{number}", "as_of_ms": at_ms}


def price_after(number: int) -> int:
    """A third of the items becomes cheaper, a third dearer, the rest stays."""
    return (80, 120, 100)[number % 3]


def looked_at(person: int) -> Iterator[int]:
    yield from (person * 7 % ITEMS, (person * 7 + 1) % ITEMS)


def look(settings: Settings, at_ms: int) -> None:
    out = producer(settings)
    for person in range(PEOPLE):
        for number in looked_at(person):
            out.produce(pipeline.RAW, orjson.dumps({
                "event_id": f"{person}-{number}", "event_type": "product_view", "event_ms": at_ms,
                "tenant": TENANT, "source": "test", "user_id": f"u{person}",
                "item_id": f"i{number}", "consent": CONSENT}), f"u{person}")
    assert out.flush(60) == 0


def test_a_lower_price_in_the_catalogue_reaches_who_looked_once(broker: Settings,
                                                                tmp_path: Path) -> None:
    secrets.ensure(broker)
    out = producer(broker)
    out.produce(pipeline.PLAYBOOKS, contract(pipeline.PLAYBOOKS).encode({
        "tenant": TENANT, "name": "cheaper", "version": 1, "yaml": PLAYBOOK, "checksum": "",
        "active": True, "published_ms": START}), f"{TENANT}|cheaper")
    assert out.flush(60) == 0
    bus, workers = KafkaBus(broker, "test"), Workers(broker, tmp_path)
    bus.clock(TENANT, START)
    for number in range(ITEMS):
        bus.item(item(number, 100, START))
    bus.settle()
    try:
        workers.start("all", "admit", "choose")
        workers.await_ready("all")
        look(broker, START + HOUR_MS)
        await_calm(broker, workers, ["admit", "choose"])
        for number in range(ITEMS):
            bus.item(item(number, price_after(number), START + 2 * HOUR_MS))
            if number == ITEMS // 2:
                bus.settle()
                time.sleep(0.3)         # in the middle of its work, or before, or behind it
                workers.kill("all")
        bus.settle()
        workers.start("again", "admit", "choose")
        await_calm(broker, workers, ["admit"])
        bus.clock(TENANT, START + 3 * HOUR_MS)
        bus.settle()
        expected = sorted((f"u{person}", f"i{number}") for person in range(PEOPLE)
                          for number in looked_at(person) if price_after(number) == 80)
        until(lambda: len({d["decision_id"] for d in of_tenant(broker, pipeline.DECISIONS, TENANT)})
              >= len(expected), "everybody who looked was decided about", workers)
        await_calm(broker, workers, ["admit", "choose"])
        assert workers.stop() == {"again": 0}
    finally:
        workers.kill_all()
        bus.close()
    names = Pseudonyms(bytes.fromhex(secrets.read(broker, "pseudonym_key")))
    decided = {d["decision_id"]: (d["profile_id"], d["object_id"], d["moment_ms"])
               for d in of_tenant(broker, pipeline.DECISIONS, TENANT)}
    assert sorted(decided.values()) == sorted(
        (names.known(TENANT, who), what, START + 2 * HOUR_MS) for who, what in expected)
    assert len(partitions_of(broker, pipeline.CATALOGUE)) > 1, "items of any partition reach all"
