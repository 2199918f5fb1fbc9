"""A world for faults: people who fill carts, workers that can be hurt, and what must hold after.

What the workers leave on the broker is read back as any reader would and compared with slow twins:
plain counts over the events, and stages walked once, undisturbed, over the finished log.
"""

from __future__ import annotations

import random
import resource
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from conftest import kairos

from infra import secrets
from infra.parts import environment, ready_file
from schemas import contract
from sinks.audit import audit
from sinks.client import connect
from sinks.offsets import reach
from sinks.topics import BY_TOPIC
from streams import pipeline
from streams.adapters.mailbox import Mail, Mailbox
from streams.adapters.reading import read_whole
from streams.app import take_control
from streams.engine import checkpoints
from streams.engine.records import Out, Record, Seen
from streams.kernel.moments import DAY_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.learn.agent import LearnLogic
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
CAUGHT_UP_S = 120.0
STAGES = ("admit", "choose", "compose", "deliver", "learn")
SLICE = 300
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
            assert out.flush(60) == 0
            self._clock(out, settings, part[-1]["event_ms"], str(at))
            time.sleep(self.pause_s)
        self._clock(out, settings, self.events[-1]["event_ms"] + 5 * DAY_MS, "end")

    def _clock(self, out: Producer, settings: Settings, at_ms: int, name: str) -> None:
        for partition in range(settings.partitions):
            value = {"event_id": f"clock-{name}-{partition}", "event_type": "clock",
                     "event_ms": at_ms, "tenant": self.tenant}
            out.produce(pipeline.RAW, orjson.dumps(value), b"clock", partition=partition)
        assert out.flush(60) == 0

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


def producer(settings: Settings) -> Producer:
    """As an app's: it waits out an outage of the broker, and repeats nothing."""
    return Producer({**settings.kafka_client, "partitioner": "murmur2_random", "acks": "all",
                     "enable.idempotence": True, "delivery.timeout.ms": 90_000, "log_level": 2})


class Workers:
    """Processes of `kairos`, by name, that may be killed, stopped and started again."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *stages: str) -> None:
        """Run `stages` as a worker of this name."""
        self.run(name, "work", "--stages", ",".join(stages), "--name", name)

    def run(self, name: str, *words: str) -> None:
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(kairos(*words), stdout=log, stderr=log,
                                                  env=environment(self._settings))

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def said(self, name: str) -> str:
        return self.log(name).read_text(errors="replace") if self.log(name).exists() else ""

    def await_ready(self, *names: str) -> None:
        for name in names:
            until(ready_file(self._settings, name).exists, f"{name} is ready", self)

    def kill(self, name: str) -> None:
        """`kill -9`; its ready file is taken away, as whoever starts it again does."""
        child = self.running.pop(name)
        child.kill()
        child.wait()
        ready_file(self._settings, name).unlink(missing_ok=True)

    def stop(self, *names: str) -> dict[str, int]:
        """SIGTERM to these (all by default); their exit codes."""
        leaving = {name: self.running.pop(name) for name in names or tuple(self.running)}
        for child in leaving.values():
            child.terminate()
        return {name: child.wait(110) for name, child in leaving.items()}

    def kill_all(self) -> None:
        for name in tuple(self.running):
            self.kill(name)

    def check(self) -> None:
        for name, child in self.running.items():
            assert child.poll() is None, f"{name} ended by itself:\n{self.said(name)[-3000:]}"


def until(holds: Callable[[], bool], what: str, workers: Workers | None = None,
          wait_s: float = CAUGHT_UP_S) -> None:
    """Wait until something holds, as long as no worker ends by itself."""
    end = time.monotonic() + wait_s
    while not holds():
        if workers is not None:
            workers.check()
        told = "" if workers is None else "".join(
            f"\n--- {name}\n{workers.said(name)[-1500:]}" for name in workers.running)
        assert time.monotonic() < end, f"{what}: not within {wait_s:g} s{told}"
        time.sleep(0.2)


def await_calm(settings: Settings, workers: Workers, stages: Sequence[str] = STAGES) -> None:
    """Wait until these stages have committed the end of all their inputs, and stay there."""
    calm, end = 0, time.monotonic() + CAUGHT_UP_S
    with ExitStack() as stack:
        probes = {stage: Consumer({**settings.kafka_client, "log_level": 2,
                                   "group.id": pipeline.BY_NAME[stage].group})
                  for stage in stages}
        for probe in probes.values():
            stack.callback(probe.close)
        while calm < 3:
            behind = {stage: lag(probe, settings, stage) for stage, probe in probes.items()}
            calm = calm + 1 if not any(behind.values()) else 0
            workers.check()
            assert time.monotonic() < end, f"the workers did not catch up: {behind}\n" + "".join(
                workers.said(name)[-2000:] for name in workers.running)
            time.sleep(0.5)


def lag(probe: Consumer, settings: Settings, stage: str) -> int:
    """Records that the stage has not committed; at least 1 while nobody answers."""
    total = 0
    try:
        for topic in pipeline.BY_NAME[stage].inputs:
            for partition in range(settings.partitions):
                place = TopicPartition(topic, partition)
                _, end = probe.get_watermark_offsets(place, timeout=10)
                total += end - max(probe.committed([place], timeout=10)[0].offset, 0)
    except KafkaException:
        return 1
    return total


TOLD_BY_ORIGIN = {pipeline.ADMITTED, pipeline.DECISIONS, pipeline.MESSAGES, pipeline.DELIVERIES}


def records(settings: Settings, topic: str) -> Iterator[dict[str, Any]]:
    """Everything on a topic that keeps its contract, repeats left out where origins tell them.

    A reward may be caused by an event or by a decision: the origins of two topics share one
    counter there, so rewards are told apart by their ids, as the sink does.
    """
    kind = contract(topic)
    for partition in partitions_of(settings, topic):
        seen = Seen()
        for _, value in read_whole(settings, topic, partition):
            with suppress(ValueError):           # of strangers, or a watermark
                fields = kind.decode(value or b"")
                if topic not in TOLD_BY_ORIGIN or not seen.is_repeat(topic, fields):
                    yield fields


def of_tenant(settings: Settings, topic: str, tenant: str) -> list[dict[str, Any]]:
    return [fields for fields in records(settings, topic) if fields["tenant"] == tenant]


def outcomes(settings: Settings) -> Counter[str]:
    """{outcome: count} of events.raw; proves that every record of it has exactly one."""
    fates: dict[tuple[int, int], set[str]] = {}
    for fields in records(settings, pipeline.ADMITTED):
        if fields["origin_partition"] < settings.partitions:      # else a stranger's
            fates.setdefault((fields["origin_partition"], fields["origin_offset"]),
                             set()).add("admitted")
    for fields in records(settings, pipeline.REFUSALS):
        if fields["stage"] == "admit":
            fates.setdefault((fields["partition"], fields["offset"]), set()).add(fields["outcome"])
    for fields in records(settings, pipeline.QUARANTINE):
        if fields["topic"] == pipeline.RAW:
            fates.setdefault((fields["partition"], fields["offset"]), set()).add("quarantined")
    raw = {(part.partition, offset) for part in reach(settings, pipeline.RAW)
           for offset in range(part.end)}
    assert fates.keys() == raw, (f"no outcome: {sorted(raw - fates.keys())[:5]}, "
                                 f"from nowhere: {sorted(fates.keys() - raw)[:5]}")
    assert all(len(fate) == 1 for fate in fates.values()), "a record has two outcomes"
    return Counter(fate for one in fates.values() for fate in one)


def landed(settings: Settings) -> bool:
    """Whether ClickHouse has every offset that Kafka holds, and its ledger no gap."""
    found = {one.topic: one for one in audit(connect(settings, user="reader"))}
    held = {topic: sum(part.end - part.begin for part in reach(settings, topic))
            for topic in BY_TOPIC}
    entered = {topic: one.ledger_rows + one.poison_rows + one.control_rows
               for topic, one in found.items()}
    return (all(one.verdict == "holds" for one in found.values())
            and all(count == entered.get(topic, 0) for topic, count in held.items()))


@contextmanager
def full_disk(pid: int, file_bytes: int) -> Iterator[None]:
    """While this lasts, no file that the process writes grows beyond `file_bytes`.

    The system refuses its writes as on a full disk, for this process only and without any rights.
    """
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def partitions_of(settings: Settings, topic: str) -> list[int]:
    return [part.partition for part in reach(settings, topic)]


def decisions_once(settings: Settings, world: World) -> list[dict[str, Any]]:
    """The decisions of a world, each heard once, about exactly the carts that were left."""
    found = of_tenant(settings, pipeline.DECISIONS, world.tenant)
    ids = Counter(fields["decision_id"] for fields in found)
    assert not ids or max(ids.values()) == 1, "a decision was heard twice"
    moments = {(fields["profile_id"], fields["moment_ms"]) for fields in found}
    assert moments == world.left_carts(settings), f"seed={world.seed}"
    assert len(found) == len(moments), f"seed={world.seed}"
    return found


def messages_once(settings: Settings, world: World,
                  decisions: Sequence[dict[str, Any]]) -> set[str]:
    """Ids of the decisions that were sent; each that is no hold-out has one message, delivered."""
    wanted = Counter(d["decision_id"] for d in decisions if not d["holdout"])
    messages = of_tenant(settings, pipeline.MESSAGES, world.tenant)
    assert Counter(m["decision_id"] for m in messages) == wanted, f"seed={world.seed}"
    deliveries = of_tenant(settings, pipeline.DELIVERIES, world.tenant)
    assert Counter(d["decision_id"] for d in deliveries) == wanted, f"seed={world.seed}"
    status = "sent" if world.mode == "live" else "skipped"
    assert {d["status"] for d in deliveries} == {status}, Counter(
        (d["status"], d["reason"]) for d in deliveries)
    return set(wanted)


def mails(settings: Settings, world: World) -> list[Mail]:
    """What the catcher holds for people of this world."""
    box = Mailbox(settings.path("mail", "mailbox.sqlite"))
    try:
        return [mail for mail in box.after(0, 100_000)
                if mail.recipient.endswith(f"@{world.tenant}.example")]
    finally:
        box.close()


def lessons(settings: Settings, tenant: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(rewards by id, newest policy shares) of a tenant, as they stand on the broker."""
    rewards: dict[str, Any] = {}
    for fields in of_tenant(settings, pipeline.REWARDS, tenant):
        rewards.setdefault(fields["reward_id"], _told(fields))
    shares = {_share(fields): fields["arms_json"]
              for fields in of_tenant(settings, pipeline.POLICIES, tenant)}
    return rewards, shares


def calm_lessons(settings: Settings, tenant: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same from learn walked once, undisturbed, over the whole log."""
    side, rewards, shares = SideInputs(), dict[str, Any](), dict[str, Any]()
    for topic in (pipeline.PLAYBOOKS, pipeline.CONSENTS):
        for record in log_of(settings, topic):
            take_control(side, record)
    for partition in range(settings.partitions):
        logic, out = LearnLogic(side), Out("learn", START)
        state = checkpoints.fresh(logic, partition, settings.partitions)
        logic.recovered(state)
        for topic in logic.topics:
            logic.walk(state, list(log_of(settings, topic, partition)), out)
        logic.before_checkpoint(state, out)
        for emission in out.emissions:
            if emission.topic in (pipeline.REWARDS, pipeline.POLICIES):
                fields = contract(emission.topic).decode(emission.value or b"")
                if fields["tenant"] == tenant and emission.topic == pipeline.REWARDS:
                    rewards.setdefault(fields["reward_id"], _told(fields))
                elif fields["tenant"] == tenant:
                    shares[_share(fields)] = fields["arms_json"]
    return rewards, shares


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if not name.startswith("origin_")}


def _share(fields: dict[str, Any]) -> str:
    return f"{fields['playbook']}|{fields['segment']}|{fields['partition']}"


def log_of(settings: Settings, topic: str, partition: int | None = None) -> Iterator[Record]:
    """A topic as a stage would read it, where nothing was compacted yet."""
    for where in partitions_of(settings, topic) if partition is None else [partition]:
        for offset, (key, value) in enumerate(read_whole(settings, topic, where)):
            yield Record(topic, where, offset, key, value or b"", START)

