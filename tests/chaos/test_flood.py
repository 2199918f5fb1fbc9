"""A bot and a flood of invented people, on the real broker: nobody else notices.

What is refused is exactly what a textbook's token bucket would refuse, by the times at which the
broker appended; every record has one outcome; every purchase is answered, the bot's own too.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson
import pytest
from chaos_findings import of_tenant, outcomes, partitions_of
from chaos_workers import Workers, await_calm, until
from chaos_world import CONSENT, START, producer
from confluent_kafka import Consumer, TopicPartition
from conftest import module_broker

from bench import load
from infra import secrets
from schemas import contract
from sinks.offsets import reach
from streams import pipeline
from streams.adapters.vault import SqliteVault
from streams.privacy.pseudonyms import Pseudonyms
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

TENANT, BOT = "flooded", "bot"
PEOPLE, INVENTED, ROUNDS, VIEWS = 20, 800, 10, 400
BURST, NEW_BURST, NEW_PER_S = 1000, 400, 4


class Buckets:
    """A textbook's: so many tokens at first, and more as time goes by."""

    def __init__(self, *, per_s: Fraction, burst: int) -> None:
        self._per_ms, self._burst = per_s / 1000, Fraction(burst)
        self._kept: dict[object, tuple[int, Fraction]] = {}

    def take(self, who: object, now_ms: int) -> bool:
        then_ms, tokens = self._kept.get(who, (now_ms, self._burst))
        tokens = min(self._burst, tokens + (now_ms - then_ms) * self._per_ms)
        self._kept[who] = now_ms, tokens - 1 if tokens >= 1 else tokens
        return tokens >= 1


def publish(settings: Settings) -> None:
    out, text = producer(settings), load.playbook("bought", "wall")
    out.produce(pipeline.PLAYBOOKS, contract(pipeline.PLAYBOOKS).encode({
        "tenant": TENANT, "name": "bought", "version": 1, "yaml": text, "checksum": "",
        "active": True, "published_ms": START}), f"{TENANT}|bought")
    for item in load.items(TENANT, int(time.time() * 1000)):
        out.produce(pipeline.CATALOGUE, contract(pipeline.CATALOGUE).encode(item),
                    f"{TENANT}|{item['item_id']}")
    assert out.flush(60) == 0


def send(settings: Settings) -> set[tuple[str, int]]:
    """People buy, a bot looks at pages as fast as it can, the invented come; {(who, bought at)}."""
    out, bought, count = producer(settings), set[tuple[str, int]](), 0
    base_ms = int(time.time() * 1000) - 60_000

    def happens(who: str, kind: str, **more: Any) -> int:
        nonlocal count
        count += 1
        out.produce(pipeline.RAW, orjson.dumps({
            "event_id": str(count), "event_type": kind, "event_ms": base_ms + count,
            "tenant": TENANT, "source": "test", "user_id": who, "consent": CONSENT, **more}), who)
        return base_ms + count

    for number in range(PEOPLE):
        happens(f"u{number}", "page_view")
    for part in range(ROUNDS):
        for _ in range(VIEWS):
            happens(BOT, "product_view", item_id="item1")
        for number in range(INVENTED // ROUNDS):
            happens(f"new{part}-{number}", "identify", traits={"email": f"{part}.{number}@b.c"})
        for who in (*(f"u{number}" for number in range(PEOPLE)), BOT):
            bought.add((who, happens(who, "purchase", item_id="item2", value=20.0, currency="EUR")))
        out.poll(0)
    assert out.flush(60) == 0
    return bought


def appended(settings: Settings) -> list[tuple[int, int, dict[str, Any]]]:
    """(partition, broker time, event) of everything in events.raw, partition by partition."""
    found = []
    with closing(Consumer({**settings.kafka_client, "group.id": "test"})) as reader:
        for part in reach(settings, pipeline.RAW):
            reader.assign([TopicPartition(pipeline.RAW, part.partition, 0)])
            taken = 0
            while taken < part.end:
                for message in reader.consume(part.end - taken, 10):
                    assert message.error() is None
                    taken += 1
                    found.append((part.partition, message.timestamp()[1],
                                  orjson.loads(message.value() or b"")))
    return found


def judged(settings: Settings) -> tuple[Counter[str], set[str]]:
    """({reason: count}, the people who got in) by the plain buckets."""
    people = Buckets(per_s=Fraction(50), burst=BURST)
    partitions = len(partitions_of(settings, pipeline.RAW))
    newcomers = Buckets(per_s=Fraction(NEW_PER_S, partitions), burst=NEW_BURST // partitions)
    found, known = Counter[str](), set[str]()
    for partition, now_ms, event in appended(settings):
        who = event["user_id"]
        if who not in known and not newcomers.take(partition, now_ms):
            found["too_many_new"] += 1
            continue
        known.add(who)
        is_view = event["event_type"] in ("page_view", "product_view")
        found["admitted" if people.take((who, is_view), now_ms) else "too_many"] += 1
    return found, known


def test_a_bot_and_a_flood_of_invented_people_cost_nobody_else_anything(
        broker: Settings, tmp_path: Path) -> None:
    settings = broker.model_copy(update={
        "new_profiles_burst": NEW_BURST, "new_profiles_per_s": NEW_PER_S})
    secrets.ensure(settings)
    publish(settings)
    workers = Workers(settings, tmp_path)
    try:
        workers.start("all", "admit", "choose")
        workers.await_ready("all")
        bought = send(settings)
        await_calm(settings, workers, ["admit"])
        until(lambda: len(of_tenant(settings, pipeline.DECISIONS, TENANT)) >= len(bought),
              "every purchase is answered", workers,
              lambda: len(of_tenant(settings, pipeline.DECISIONS, TENANT)))
        assert workers.stop() == {"all": 0}
    finally:
        workers.kill_all()
    names = Pseudonyms(bytes.fromhex(secrets.read(settings, "pseudonym_key")))
    decided = [(d["profile_id"], d["moment_ms"])
               for d in of_tenant(settings, pipeline.DECISIONS, TENANT)]
    assert sorted(decided) == sorted((names.known(TENANT, who), ms) for who, ms in bought)
    expected, known = judged(settings)
    assert expected["too_many"] > 1000 and expected["too_many_new"] > 200, expected
    fates = outcomes(settings)                      # every record has one outcome
    assert fates == {"admitted": expected["admitted"],
                     "refused": expected["too_many"] + expected["too_many_new"]}
    reasons = Counter(each["reason"] for each in {
        each["refusal_id"]: each for each in of_tenant(settings, pipeline.REFUSALS, TENANT)
        if each["stage"] == "admit"}.values())
    assert reasons == {name: expected[name] for name in ("too_many", "too_many_new")}
    vault = SqliteVault(settings.path("vault", "vault.db"),
                        bytes.fromhex(secrets.read(settings, "vault_key")))
    with closing(vault):
        kept = {who for part in range(ROUNDS) for number in range(INVENTED // ROUNDS)
                if vault.get(names.known(TENANT, who := f"new{part}-{number}"), "email")}
    assert kept == {who for who in known if who.startswith("new")}
