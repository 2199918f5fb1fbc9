"""What the workers leave behind, read back as any reader would, and compared with slow twins:
plain counts over the events, and stages walked once, undisturbed, over the finished log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import Any

from chaos_workers import Workers, until
from chaos_world import START, World
from confluent_kafka import Consumer

from schemas import contract
from sinks.audit import audit
from sinks.client import connect
from sinks.offsets import reach, reach_by
from sinks.topics import BY_TOPIC
from streams import pipeline
from streams.adapters.mailbox import Mail, Mailbox
from streams.adapters.reading import read_whole
from streams.app import take_control
from streams.engine import checkpoints
from streams.engine.records import Out, Record, Seen
from streams.kernel.side_inputs import SideInputs
from streams.learn.agent import LearnLogic
from streams.settings import Settings

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
        if fields["stage"] == "admit" and fields["outcome"] != "clamped":     # told besides
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


def await_landed(settings: Settings, workers: Workers) -> None:
    """Wait until ClickHouse has every offset that Kafka holds, and its ledger no gap."""
    found: dict[str, int] | None = None

    def all_in() -> bool:
        nonlocal found
        found = entered(settings)
        return found == held(settings)

    until(all_in, "everything is in ClickHouse", workers, lambda: found)


def landed(settings: Settings) -> bool:
    """Whether ClickHouse has every offset that Kafka holds, and its ledger no gap."""
    return entered(settings) == held(settings)


def held(settings: Settings) -> dict[str, int]:
    """{topic: offsets that Kafka holds} of every topic that lands and holds any."""
    with closing(Consumer({**settings.kafka_client, "group.id": "test"})) as probe:
        return {topic: count for topic in BY_TOPIC
                if (count := sum(part.end - part.begin for part in reach_by(probe, topic)))}


def entered(settings: Settings) -> dict[str, int] | None:
    """{topic: offsets in the ledger} of what ever landed; None while the audit does not hold."""
    found = {one.topic: one for one in audit(connect(settings, user="reader"))}
    if any(one.verdict != "holds" for one in found.values()):
        return None
    return {topic: one.ledger_rows + one.poison_rows + one.control_rows
            for topic, one in found.items()}


def partitions_of(settings: Settings, topic: str) -> list[int]:
    return [part.partition for part in reach(settings, topic)]


def decisions_once(settings: Settings, world: World) -> list[dict[str, Any]]:
    """The decisions of a world, each heard once, about exactly the carts that were left."""
    found = of_tenant(settings, pipeline.DECISIONS, world.tenant)
    ids = Counter(fields["decision_id"] for fields in found)
    assert not ids or max(ids.values()) == 1, "a decision was heard twice"
    moments = {(fields["profile_id"], fields["moment_ms"]) for fields in found}
    left = world.left_carts(settings)
    assert moments == left, (f"seed={world.seed}: not told {sorted(left - moments)[:5]}, told for "
                             f"nothing {sorted(moments - left)[:5]}; {len(left)} carts were left")
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
