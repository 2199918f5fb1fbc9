"""The choose stage in the simulation; its twin is its walk, undisturbed, a record at a time."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

from sim_broker import Broker
from sim_rows import in_place
from test_choose_crash import START, event, watermark
from test_choose_crash import logic as logic_of_test

from schemas import contract
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.engine import checkpoints
from streams.engine.records import Out, Seen
from streams.engine.stage import PartitionState
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS

SPOKEN = {pipeline.DECISIONS: "decision_id", pipeline.SEGMENT_CHANGES: "change_id"}


def logic() -> ChooseLogic:
    return logic_of_test()


def fill(broker: Broker, dice: random.Random) -> None:
    """Some people's days; who asks to be forgotten; repeats as an upstream crash leaves them;
    watermarks."""
    log, told, at_ms = broker.log(pipeline.ADMITTED), list[tuple[bytes, bytes]](), START
    for number in range(dice.randrange(10, 30)):
        at_ms += dice.choice([MINUTE_MS, 20 * MINUTE_MS, 5 * HOUR_MS, 3 * DAY_MS])
        fields = event(dice, number, at_ms)
        told.append((fields["profile_id"].encode(), contract(pipeline.ADMITTED).encode(fields)))
        log.append(*told[-1], 0, gap=dice.choice((0, 0, 3)))
        if dice.random() < 0.1:
            told.append(erasure(number, f"p{dice.randrange(4)}", at_ms, sequence=1))
            log.append(*told[-1], 0)
        if dice.random() < 0.1:
            for again in told[-dice.randrange(1, 4):]:
                log.append(*again, 0)
        if dice.random() < 0.4:
            log.append(b"t", watermark(at_ms - MINUTE_MS), 0)
    log.append(b"t", watermark(at_ms + 200 * DAY_MS), 0)


def erasure(number: int, who: str, at_ms: int, *, sequence: int = 0) -> tuple[bytes, bytes]:
    """As admit says it of the record at offset `number`."""
    return who.encode(), contract("erasure").encode({
        "tenant": "t", "profile_id": who, "event_ms": at_ms, "appended_ms": at_ms,
        "stage": "admit", "origin_partition": 0, "origin_offset": number,
        "origin_sequence": sequence})


def compare(world: Any, when: str) -> None:
    """Raises AssertionError when rows, decisions or segment changes are not the twin's."""
    twin, said = calm(world)
    state = world.state()
    assert rows(state) == rows(twin), f"{when}: other rows than the twin's"
    assert state.seen.dump() == twin.seen.dump(), f"{when}: other origins than the twin's"
    assert not world.broker.log(pipeline.QUARANTINE).entries, f"{when}: something is quarantined"
    for topic, name in SPOKEN.items():
        found = heard(topic, name, [value for _, _, value, _ in world.broker.log(topic).entries])
        expected = heard(topic, name, said[topic])
        assert found == expected, f"{when}: {topic}: {found}, the twin says {expected}"


def calm(world: Any) -> tuple[PartitionState, dict[str, list[bytes | None]]]:
    """The state and what is said, of a walk undisturbed and with all the memory it wants."""
    said: dict[str, list[bytes | None]] = {topic: [] for topic in SPOKEN}
    calm = logic()
    state = checkpoints.fresh(calm, 0, 1)
    calm.recovered(state)
    for record in world.broker.records(pipeline.ADMITTED, 0, 10**9):
        out = Out(calm.name, world.broker.now_ms)
        calm.walk(state, [record], out)
        for emission in out.emissions:
            if emission.topic in said:
                said[emission.topic].append(emission.value)
    return state, said


def rows(state: PartitionState) -> dict[bytes, bytes]:
    """Without their stamps: whose timer was armed too early is woken for nothing, which changes
    that alone, and an owner that armed it anew does not wake them."""
    found = {key: in_place(state.slab.encode(key)) for key in state.slab}
    return {key: row[:16] + row[24:] for key, row in found.items()}


@lru_cache(65536)
def _decoded(topic: str, value: bytes) -> dict[str, Any] | None:
    return contract(topic).decode(value) if contract(topic).is_mine(value) else None


def heard(topic: str, name: str, values: list[bytes | None]) -> list[Any]:
    """What a reader that knows repeats takes; watermarks are not looked at."""
    seen, found = Seen(), []
    for value in values:
        fields = _decoded(topic, value or b"")
        if fields is not None and not seen.is_repeat(topic, fields):
            found.append((fields[name], fields.get("arm"), fields.get("holdout")))
    return found
