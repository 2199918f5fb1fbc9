"""A world for faults: people who fill carts, the app that sends what they do, and a slow twin.

What hurts the workers is in `chaos_workers`, what they leave behind in `chaos_findings`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Producer

from infra import secrets
from schemas import contract
from streams import pipeline
from streams.kernel.moments import DAY_MS, MINUTE_MS
from streams.playbooks import loading
from streams.privacy.pseudonyms import Pseudonyms
from streams.settings import Settings

START = 1_600_000_000_000
CONSENT = {"measure": True, "personalise": True, "contact": True, "train": True}
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
mode: MODE
"""
SLICE = 300
OUTLASTS_S = 300          # an app waits out a broker that is away, on a slow machine as well
Event = dict[str, Any]


@dataclass(frozen=True)
class World:
    """One tenant: its events in the order of time, and how fast its app sends them."""

    tenant: str
    seed: int = 11
    count: int = 6000
    people: int = 60
    pause_s: float = 0.8
    mode: str = "shadow"
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Carts filled, some bought, some left; everybody says first who they are."""
        dice, at_ms = random.Random(self.seed), START
        for number in range(self.people):
            self._happens("identify", f"u{number}", f"who-{number}", START, traits={
                "email": f"u{number}@{self.tenant}.example", "first_name": "Ada", "locale": "en"})
        for number in range(self.count):
            at_ms += dice.randrange(0, 2 * MINUTE_MS)
            kind = dice.choice(["product_view", "product_view", "cart_add", "purchase"])
            person = f"u{dice.randrange(self.people)}"
            self._happens(kind, person, str(number), at_ms, item_id=f"i{dice.randrange(30)}",
                          cart_id=f"{person}-c{dice.randrange(3)}", value=10.0, currency="EUR")

    def _happens(self, kind: str, person: str, name: str, at_ms: int, **more: Any) -> None:
        self.events.append({
            "event_id": f"{self.seed}-{name}", "event_type": kind, "event_ms": at_ms,
            "tenant": self.tenant, "source": "test", "user_id": person, "consent": CONSENT, **more})

    def prepare(self, settings: Settings) -> None:
        """Publish the playbook and the catalogue."""
        secrets.ensure(settings)
        text = PLAYBOOK.replace("MODE", self.mode)
        name = loading.from_yaml(text, self.tenant, 1).name
        out = producer(settings)
        out.produce(pipeline.PLAYBOOKS, contract(pipeline.PLAYBOOKS).encode({
            "tenant": self.tenant, "name": name, "version": 1, "yaml": text, "checksum": "",
            "active": True, "published_ms": START}), f"{self.tenant}|{name}")
        for number in range(30):
            out.produce(pipeline.CATALOGUE, contract(pipeline.CATALOGUE).encode({
                "tenant": self.tenant, "item_id": f"i{number}", "title": "Linen shirt",
                "category": "shirts", "price_micros": 19_900_000, "currency": "EUR",
                "url": f"https://shop.example/i{number}", "in_stock": True,
                "attributes_json": "", "as_of_ms": START}), f"{self.tenant}|i{number}")
        assert out.flush(30) == 0

    def produce(self, settings: Settings, amid: Callable[[int], Sequence[bytes]] = lambda _: (),
                ) -> None:
        """Send all, in slices of event time, with the tenant's clock to every partition after each.

        amid   bytes to throw in among the events of the slice that begins at a number
        """
        out = producer(settings)
        self._clock(out, settings, START, "start")
        for at in range(0, len(self.events), SLICE):
            part, strange = self.events[at:at + SLICE], list(amid(at))
            for number, event in enumerate(part):
                out.produce(pipeline.RAW, orjson.dumps(event), event["user_id"].encode())
                for value in strange[number::len(part)]:
                    out.produce(pipeline.RAW, value, event["user_id"].encode())
            assert out.flush(OUTLASTS_S) == 0
            self._clock(out, settings, part[-1]["event_ms"], str(at))
            time.sleep(self.pause_s)
        self._clock(out, settings, self.events[-1]["event_ms"] + 5 * DAY_MS, "end")

    def _clock(self, out: Producer, settings: Settings, at_ms: int, name: str) -> None:
        for partition in range(settings.partitions):
            value = {"event_id": f"clock-{name}-{partition}", "event_type": "clock",
                     "event_ms": at_ms, "tenant": self.tenant}
            out.produce(pipeline.RAW, orjson.dumps(value), b"clock", partition=partition)
        assert out.flush(OUTLASTS_S) == 0

    def left_carts(self, settings: Settings) -> set[tuple[str, int]]:
        """The slow twin of the trigger: (profile, deadline) of every cart left for good."""
        found, within = set(), 30 * MINUTE_MS
        for cart in {e["cart_id"] for e in self.events if "cart_id" in e}:
            own = [e for e in self.events if e.get("cart_id") == cart]
            added = [e["event_ms"] for e in own if e["event_type"] == "cart_add"]
            bought = [e["event_ms"] for e in own if e["event_type"] == "purchase"]
            for ms in added:
                if not any(ms < other <= ms + within for other in added) and not any(
                        ms <= other <= ms + within for other in bought):
                    found.add((self.profile(settings, own[0]["user_id"]), ms + within))
        return found

    def profile(self, settings: Settings, person: str) -> str:
        key = bytes.fromhex(secrets.read(settings, "pseudonym_key"))
        return Pseudonyms(key).known(self.tenant, person)

    def vault_key(self, settings: Settings) -> bytes:
        return bytes.fromhex(secrets.read(settings, "vault_key"))


class Sending:
    """An app that sends a world's events beside the test."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world, self._settings = world, settings
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="app", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._world.produce(self._settings)
        except BaseException as fault:
            self._fault = fault

    def join(self) -> None:
        """Come back when all is sent; raises what kept the app from it."""
        self._thread.join()
        if self._fault is not None:
            raise self._fault


def producer(settings: Settings) -> Producer:
    """As an app's: it waits out an outage of the broker, and repeats nothing."""
    return Producer({**settings.kafka_client, "partitioner": "murmur2_random", "acks": "all",
                     "enable.idempotence": True, "delivery.timeout.ms": OUTLASTS_S * 1000,
                     "log_level": 2})
