"""`kill -9` of workers on the real broker: the same features and decisions as an undisturbed run.

A few thousand events of people with carts and purchases go through admit and choose, run by two
worker processes that are killed again and again in the middle. What they leave is compared with two
twins: the stages walked once over the whole log in this process, and plain counts over the events.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from conftest import kairos, module_broker

from infra import secrets
from infra.parts import environment
from schemas import contract
from streams import pipeline
from streams.adapters.control import publish
from streams.adapters.reading import read_whole
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.choose.tables import is_group
from streams.engine import checkpoints
from streams.engine.records import Seen
from streams.engine.stage import PartitionState
from streams.kernel.moments import DAY_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks import loading
from streams.privacy.pseudonyms import Pseudonyms
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

START = 1_600_000_000_000
TENANT = "chaos"
PEOPLE = 60
KILLS = 6
PLAYBOOK = """\
playbook: left-behind
trigger: {absence: {after: cart_add, without: purchase, within: 30m, per: cart_id}}
purpose: contact
channels: [email]
brief: Remind the person of what they left in the cart.
facts: [item.title, item.price, item.url]
variants: {reminder: {strategy: reminder}, help: {strategy: helpful}}
cap: {messages: 100, per: 1d}
cooldown: 0s
expires: 24h
conversion: {event: purchase, within: 3d}
holdout: 20%
clock: event
mode: shadow
"""
CONSENT = {"measure": True, "personalise": True, "contact": True, "train": True}


def story(seed: int) -> list[dict[str, Any]]:
    """Events in the order of their time: carts filled, some bought, some left."""
    dice, events, at_ms = random.Random(seed), [], START
    for number in range(6000):
        at_ms += dice.randrange(0, 2 * MINUTE_MS)
        person = f"u{dice.randrange(PEOPLE)}"
        kind = dice.choice(["product_view", "product_view", "cart_add", "purchase"])
        events.append({"event_id": f"{seed}-{number}", "event_type": kind, "event_ms": at_ms,
                       "tenant": TENANT, "source": "test", "user_id": person,
                       "item_id": f"i{dice.randrange(30)}",
                       "cart_id": f"{person}-c{dice.randrange(3)}", "value": 10.0,
                       "currency": "EUR", "consent": CONSENT})
    return events


def produce(settings: Settings, events: list[dict[str, Any]]) -> None:
    """In slices of event time, with the tenant's clock to every partition after each slice."""
    producer = Producer({**settings.kafka_client, "partitioner": "murmur2_random", "acks": "all"})
    clock(producer, settings, START, "start")
    for at in range(0, len(events), 300):
        for event in events[at:at + 300]:
            producer.produce(pipeline.RAW, orjson.dumps(event), event["user_id"].encode())
        producer.flush(30)
        clock(producer, settings, events[min(at + 299, len(events) - 1)]["event_ms"], f"{at}")
        time.sleep(0.8)
    clock(producer, settings, events[-1]["event_ms"] + DAY_MS, "end")


def clock(producer: Producer, settings: Settings, at_ms: int, name: str) -> None:
    for partition in range(settings.partitions):
        value = {"event_id": f"clock-{name}-{partition}", "event_type": "clock",
                 "event_ms": at_ms, "tenant": TENANT}
        producer.produce(pipeline.RAW, orjson.dumps(value), b"clock", partition=partition)
    assert producer.flush(30) == 0


class Workers:
    """Two worker processes that may be killed and come back."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                kairos("work", "--stages", "admit,choose", "--name", name), stdout=log,
                stderr=log, env=environment(self._settings))

    def kill(self, name: str) -> None:
        self._running[name].send_signal(signal.SIGKILL)
        self._running[name].wait()

    def stop(self) -> list[int]:
        for child in self._running.values():
            child.terminate()
        return [child.wait(120) for child in self._running.values()]

    def alive(self) -> bool:
        return all(child.poll() is None for child in self._running.values())


def lag(settings: Settings, group: str, topic: str) -> int:
    consumer = Consumer({**settings.kafka_client, "group.id": group})
    try:
        total = 0
        for partition in range(settings.partitions):
            place = TopicPartition(topic, partition)
            _, end = consumer.get_watermark_offsets(place, timeout=10)
            total += end - max(consumer.committed([place], timeout=10)[0].offset, 0)
        return total
    finally:
        consumer.close()


def wait_until_done(settings: Settings, workers: Workers) -> None:
    end = time.monotonic() + 180
    calm = 0
    while calm < 3:
        assert time.monotonic() < end, "the workers did not catch up"
        assert workers.alive(), "a worker ended by itself"
        time.sleep(0.7)
        behind = (lag(settings, "kairos-admit", pipeline.RAW)
                  + lag(settings, "kairos-choose", pipeline.ADMITTED))
        calm = calm + 1 if behind == 0 else 0


def decisions_on(settings: Settings) -> Counter[tuple[str, str, bool]]:
    """What a reader that knows repeats takes from decisions.made, of this tenant."""
    found: Counter[tuple[str, str, bool]] = Counter()
    kind = contract(pipeline.DECISIONS)
    for partition in range(settings.partitions):
        seen = Seen()
        for _, value in read_whole(settings, pipeline.DECISIONS, partition):
            if value is not None and kind.is_mine(value):
                fields = kind.decode(value)
                if not seen.is_repeat(pipeline.DECISIONS, fields) and fields["tenant"] == TENANT:
                    found[fields["decision_id"], fields["arm"], fields["holdout"]] += 1
    return found


def rows_on(settings: Settings) -> dict[str, dict[str, float | None]]:
    """{profile id: feature values} from the changelog, as a recovering worker would read them."""
    at_ms, found = START + 60 * DAY_MS, {}
    program = compiled()
    logic = ChooseLogic(SideInputs(), program, lambda side, tenant: ())
    for partition in range(settings.partitions):
        tables = recovered(settings, logic, partition).slab
        for key in tables:
            if not is_group(key):
                slot = tables.people.slot(key)
                found[key.decode()] = {name: program.feature(tables.people, slot, name, at_ms)
                                       for name in ("orders_lifetime", "purchases_365d",
                                                    "spend_365d", "days_since_purchase")}
    return found


def recovered(settings: Settings, logic: ChooseLogic, partition: int) -> PartitionState:
    """The state that the partition's next owner would find."""
    asking = Consumer({**settings.kafka_client, "group.id": "kairos-choose"})
    try:
        (place,) = asking.committed([TopicPartition(pipeline.ADMITTED, partition)], timeout=30)
    finally:
        asking.close()
    return checkpoints.recover(
        logic, partition, upstream=settings.partitions,
        lineage=checkpoints.newest([place.metadata]),
        changelog=read_whole(settings, pipeline.BY_NAME["choose"].keeps, partition))[0]


def obvious_rows(settings: Settings, events: list[dict[str, Any]]) -> dict[str, Any]:
    """The slow twin of the features: plain counts over the events."""
    pseudonyms = Pseudonyms(bytes.fromhex(secrets.read(settings, "pseudonym_key")))
    at_ms, found = START + 60 * DAY_MS, {}
    for person in {e["user_id"] for e in events}:
        bought = [e for e in events if e["user_id"] == person and e["event_type"] == "purchase"]
        found[pseudonyms.known(TENANT, person)] = {
            "orders_lifetime": float(len(bought)), "purchases_365d": float(len(bought)),
            "spend_365d": 10.0 * len(bought),
            "days_since_purchase": (at_ms - max(e["event_ms"] for e in bought)) / DAY_MS}
    return found


def obvious_decisions(settings: Settings, events: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """The slow twin of the trigger: (profile, deadline) of every cart that was left for good."""
    pseudonyms = Pseudonyms(bytes.fromhex(secrets.read(settings, "pseudonym_key")))
    found, within = set(), 30 * MINUTE_MS
    for cart in {e["cart_id"] for e in events}:
        own = [e for e in events if e["cart_id"] == cart]
        added = [e["event_ms"] for e in own if e["event_type"] == "cart_add"]
        bought = [e["event_ms"] for e in own if e["event_type"] == "purchase"]
        for ms in added:
            if not any(ms < other <= ms + within for other in added) and not any(
                    ms <= other <= ms + within for other in bought):
                found.add((pseudonyms.known(TENANT, own[0]["user_id"]), ms + within))
    return found


def test_killed_workers_leave_the_same_features_and_decisions(broker: Settings,
                                                              tmp_path: Path) -> None:
    secrets.ensure(broker)
    seed = int(os.environ.get("CHAOS_SEED", "11"))
    events, dice = story(seed), random.Random(seed)
    publish_playbook(broker)
    workers = Workers(broker, tmp_path)
    app = threading.Thread(target=produce, args=(broker, events))
    try:
        for name in ("one", "two"):
            workers.start(name)
        app.start()
        for _ in range(KILLS):
            name = dice.choice(["one", "two"])
            time.sleep(dice.uniform(2.0, 5.0))
            workers.kill(name)
            workers.start(name)
        app.join()
        wait_until_done(broker, workers)
    finally:
        codes = workers.stop()
    assert codes == [0, 0], (tmp_path / "one.log").read_text()[-3000:]
    assert rows_on(broker) == obvious_rows(broker, events), f"{seed=}"
    found = decisions_on(broker)
    assert max(found.values()) == 1, "a decision was heard twice"
    expected = obvious_decisions(broker, events)
    assert len(found) == len({d for d, _, _ in found}) == len(expected), f"{seed=}"
    assert expected == moments_on(broker), f"{seed=}"


def moments_on(settings: Settings) -> set[tuple[str, int]]:
    kind, found = contract(pipeline.DECISIONS), set()
    for partition in range(settings.partitions):
        for _, value in read_whole(settings, pipeline.DECISIONS, partition):
            if value is not None and kind.is_mine(value):
                fields = kind.decode(value)
                if fields["tenant"] == TENANT:
                    found.add((fields["profile_id"], fields["moment_ms"]))
    return found


def publish_playbook(settings: Settings) -> None:
    playbook = loading.from_yaml(PLAYBOOK, TENANT, 1)
    publish(settings, pipeline.PLAYBOOKS, f"{TENANT}|{playbook.name}", {
        "tenant": TENANT, "name": playbook.name, "version": 1, "yaml": PLAYBOOK,
        "checksum": "", "active": True, "published_ms": START})
