"""Poison by the thousand, from apps and from strangers on our own topics: it costs nobody else.

Each piece of garbage ends in quarantine with a reason, no stage stops, and the good events between
them arrive as if they had been alone.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from chaos_findings import decisions_once, messages_once, outcomes, records
from chaos_workers import STAGES, Workers, await_calm
from chaos_world import START, World, producer
from conftest import module_broker

from schemas import contract
from streams import pipeline
from streams.kernel.outcomes import REASONS
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

OURS = (pipeline.ADMITTED, pipeline.DECISIONS, pipeline.MESSAGES, pipeline.DELIVERIES,
        pipeline.RECEIPTS)
CONTROLS = (pipeline.CONSENTS, pipeline.PLAYBOOKS, pipeline.CATALOGUE)
GARBAGE, ODD = 400, 4
EVENT = {"event_id": "p", "event_type": "page_view", "event_ms": START, "tenant": "poisoned",
         "source": "broken", "user_id": "u1", "consent": {"measure": True}}


def garbage_of_apps(dice: random.Random) -> bytes:
    """Bytes that are no event, whatever else they are."""
    whole = orjson.dumps({**EVENT, "event_id": f"p{dice.random()}"})
    return dice.choice([
        b"\xff" + dice.randbytes(dice.randrange(1, 200)), whole[:-dice.randrange(1, 60)],
        b"[" * 5_000, b"{}", b"null", b"[1, 2]", b'"text"', b"\x00" * 30, b"\xef\xbb\xbf{",
        contract(pipeline.RAW).prefix + dice.randbytes(40), b"\x00\x00\x00\x00\x07" + whole,
        orjson.dumps({**EVENT, "shoe_size": 43}), orjson.dumps({**EVENT, "event_ms": "yesterday"}),
        orjson.dumps({**EVENT, "event_ms": 10**30 * 1.0}), orjson.dumps({**EVENT, "value": []}),
        orjson.dumps({**EVENT, "lines": {"a": 1}}), orjson.dumps({**EVENT, "event_type": "É"}),
        orjson.dumps({**EVENT, "properties": {"text": "x" * 70_000}}),
        whole[:-1] + b', "value": NaN}', whole[:-1] + b', "value": 1e999}'])


def garbage_of_strangers(dice: random.Random, topic: str) -> bytes | None:
    """Bytes that do not keep a topic's contract."""
    other = dice.choice([name for name in OURS if name != topic])
    return dice.choice([
        dice.randbytes(dice.randrange(1, 100)), contract(topic).prefix,
        contract(topic).prefix + b"\xff" * dice.randrange(1, 60), blank(other),
        blank(topic)[:-1], blank(topic) + b"\x00", b"{}", orjson.dumps(EVENT), None])


_ZERO: dict[str, Any] = {"string": "", "int": 0, "long": 0, "double": 0.0, "boolean": False}


def blank(topic: str, **fields: Any) -> bytes:
    found = {name: _ZERO[field["type"]] for name, field in contract(topic).fields.items()}
    return contract(topic).encode({**found, **fields})


def odd(dice: random.Random, topic: str) -> bytes:
    """A record that keeps the contract and means nothing: any texts, any numbers."""
    kinds = {name: field["type"] for name, field in contract(topic).fields.items()}
    made: dict[str, Any] = {
        "string": lambda: dice.choice(["", "\x00", "{", "[]", '{"a": [1]}', "é" * 50, "null"]),
        "int": lambda: dice.choice([0, -1, 2**31 - 1, -(2**31)]),
        "long": lambda: dice.choice([0, -1, 2**53, 2**63 - 1, -(2**63)]),
        "double": lambda: dice.choice([0.0, -1.5, float("inf"), float("nan")]),
        "boolean": lambda: dice.random() < 0.5}
    fields = {name: made[kind]() for name, kind in kinds.items()}
    # Its origin is nobody's: otherwise the records of that upstream partition would be repeats. The
    # tenant of a playbook, and of a word on consent, is not new: time would pass for it, and the
    # road never come to rest.
    is_known = topic in (pipeline.PLAYBOOKS, pipeline.CONSENTS)
    tenants = ["poisoned"] if is_known else ["strange", ""]
    strange = {"tenant": dice.choice(tenants), "origin_partition": 99,
               "origin_offset": dice.randrange(2**40)}
    return contract(topic).encode({**fields, **{n: v for n, v in strange.items() if n in fields}})


def throw(settings: Settings, seed: int) -> dict[str, int]:
    """Garbage and odd records on every topic of ours; {topic: pieces of garbage}."""
    dice, out = random.Random(seed), producer(settings)
    for topic in (*OURS, *CONTROLS):
        count = GARBAGE if topic in OURS else ODD       # each worker that starts will warn of it
        values = [garbage_of_strangers(dice, topic) for _ in range(count)]
        values += [odd(dice, topic) for _ in range(ODD)]
        dice.shuffle(values)
        for number, value in enumerate(values):
            out.produce(topic, value, f"s{dice.randrange(9)}",
                        partition=-1 if topic in CONTROLS else number % settings.partitions)
    assert out.flush(60) == 0
    return dict.fromkeys(OURS, GARBAGE)


def is_readable(fields: dict[str, Any]) -> bool:
    """Whether what is in quarantine keeps the contract of the topic it stood in."""
    try:
        contract(fields["topic"]).decode(fields["payload"])
    except ValueError:
        return False
    return True


def quarantined(settings: Settings) -> list[dict[str, Any]]:
    """What is in quarantine, once each."""
    return list({fields["quarantine_id"]: fields
                 for fields in records(settings, pipeline.QUARANTINE)}.values())


def test_thousands_of_garbage_records_stop_no_stage_and_cost_no_neighbour(
        broker: Settings, tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "15"))
    dice = random.Random(seed)
    world = World("poisoned", seed=seed, count=1200, pause_s=0.0)
    world.prepare(broker)
    before = {fields["quarantine_id"] for fields in quarantined(broker)}

    def amid(_at: int) -> Sequence[bytes]:
        return [garbage_of_apps(dice) for _ in range(600)]

    workers = Workers(broker, tmp_path)
    try:
        workers.start("all", *STAGES)
        workers.await_ready("all")
        world.produce(broker, amid)
        thrown = throw(broker, seed)
        await_calm(broker, workers)
        codes = workers.stop()
    finally:
        workers.kill_all()
    assert codes == {"all": 0}
    assert workers.said("all").count("assigned partitions") == len(STAGES), "a stage went down"
    kept = [fields for fields in quarantined(broker) if fields["quarantine_id"] not in before]
    by_topic = Counter(fields["topic"] for fields in kept)
    assert {fields["reason"] for fields in kept} <= set(REASONS)
    met = [fields for fields in kept if fields["reason"] == "internal_error"]
    assert all(is_readable(fields) for fields in met), Counter(f["detail"] for f in met)
    assert len(met) <= ODD * len(OURS)
    assert by_topic[pipeline.RAW] == 600 * (len(world.events) // 300 + 1), f"{seed=}"
    for topic in OURS:
        assert by_topic[topic] >= thrown[topic], f"{topic} {seed=}"
    outcomes(broker)
    messages_once(broker, world, decisions_once(broker, world))
