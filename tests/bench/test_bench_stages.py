"""The benchmark of the stages measures a road that works: every event goes all the way down."""

from __future__ import annotations

from bench import load, stages
from schemas import contract
from streams import pipeline

EVENTS = 1200


def test_every_event_of_the_load_is_admitted_and_what_was_decided_is_learnt_from() -> None:
    costs, road = stages.walk_all(stages.raw_batches(EVENTS))
    held = {topic: [contract(topic).decode(record.value) for batch in batches for record in batch
                    if contract(topic).is_mine(record.value)]
            for topic, batches in road.topics.items() if topic != pipeline.RAW}
    assert [cost.stage for cost in costs] == [stage.name for stage in pipeline.STAGES]
    assert all(cost.records > 0 and cost.walk_s > 0 for cost in costs)
    assert [event["event_id"] for event in held[pipeline.ADMITTED]] == [
        f"{load.TENANT}-1-{number}" for number in range(EVENTS)]
    assert held[pipeline.QUARANTINE] == []
    told = {decision["decision_id"] for decision in held[pipeline.DECISIONS]
            if not decision["holdout"]}
    assert len(told) > EVENTS // 10
    assert {message["decision_id"] for message in held[pipeline.MESSAGES]} == told
    assert {sent["decision_id"] for sent in held[pipeline.DELIVERIES]
            if sent["status"] == "sent"} == told
    assert {reward["kind"] for reward in held[pipeline.REWARDS]} == {"converted"}


def test_the_load_is_the_same_in_every_run() -> None:
    assert stages.raw_batches(600) == stages.raw_batches(600)
