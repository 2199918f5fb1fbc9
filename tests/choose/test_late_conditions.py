"""Events that come late: a decision says the same in its evidence and in its features, and both are
what its condition was read as."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
from test_lapses import BEGIN, END, FEATURES, SEGMENTS, asks, mark, shuffled, story
from trigger_world import playbook

from schemas import contract
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.program import Program
from streams.engine import checkpoints
from streams.engine.records import Out, Record
from streams.engine.stage import PartitionState
from streams.kernel.moments import MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Playbook, Trigger

BUSY, CALM = asks("views_1h", "at_least", 2), asks("views_1h", "at_most", 1)


def spoken(trigger: Trigger, name: str) -> Playbook:
    return replace(playbook(trigger, name), cooldown_ms=0, cap_messages=10**6)


EVENT = spoken(Trigger("event", "buy", when=BUSY), "event")
EDGE = spoken(Trigger("edge", when=BUSY, rearm=CALM), "edge")
SCORE = spoken(Trigger("score", weights=(("views_1h", 1.0), ("spend_2d", 0.1)), at_least=4.0,
                       rearm_below=2.0), "score")


def decisions(told: list[dict[str, Any]], size: int, *playbooks: Playbook) -> list[dict[str, Any]]:
    logic = ChooseLogic(SideInputs(), Program(FEATURES, SEGMENTS), lambda side, tenant: playbooks,
                        members_min=0)
    state: PartitionState = checkpoints.fresh(logic, 0, 1)
    logic.recovered(state)
    values = [*(contract(pipeline.ADMITTED).encode(each) for each in told), mark(END)]
    records = [Record(pipeline.ADMITTED, 0, n, b"k", value, 0) for n, value in enumerate(values)]
    kind, found = contract(pipeline.DECISIONS), list[dict[str, Any]]()
    for at in range(0, len(records), size):
        out = Out("choose", 0)
        logic.walk(state, records[at:at + size], out)
        found += [kind.decode(emission.value or b"") for emission in out.emissions
                  if emission.topic == pipeline.DECISIONS and kind.is_mine(emission.value)]
    return found


def events(*told: tuple[str, int]) -> list[dict[str, Any]]:
    """Of one person, in the order in which they come: type and minute."""
    return [{"event_id": f"e{n}", "tenant": "t", "event_type": kind, "profile_id": "w",
             "event_ms": BEGIN + minute * MINUTE_MS, "appended_ms": BEGIN, "purposes": 15,
             "item_id": "i", "value_micros": 1_000_000, "origin_partition": 0, "origin_offset": n,
             "origin_sequence": 0} for n, (kind, minute) in enumerate(told)]


def moments(made: list[dict[str, Any]]) -> list[tuple[str, int, float]]:
    """(event, minute, views that the condition was read as)."""
    return [(each["trigger_event_id"], (each["moment_ms"] - BEGIN) // MINUTE_MS,
             orjson.loads(each["evidence_json"])["values"]["views_1h"]) for each in made]


def test_an_event_trigger_reads_its_condition_as_of_the_event() -> None:
    then = events(("view", 1), ("view", 11), ("other", 300), ("buy", 21))
    assert moments(decisions(then, 2, EVENT)) == [("e3", 21, 2.0)]
    now = events(("view", 280), ("view", 290), ("buy", 21), ("buy", 291))
    assert moments(decisions(now, 2, EVENT)) == [("e3", 291, 2.0)]


def test_an_edge_that_a_late_event_makes_true_is_a_moment_of_the_newest() -> None:
    late = events(("view", 271), ("other", 300), ("view", 280))
    assert moments(decisions(late, 2, EDGE)) == [("e2", 300, 2.0)]
    evidence = orjson.loads(decisions(late, 2, EDGE)[0]["evidence_json"])
    assert evidence["at_ms"] == BEGIN + 280 * MINUTE_MS, "the event's own time is still told"
    over = events(("view", 1), ("other", 300), ("view", 11))
    assert decisions(over, 2, EDGE) == [], "true once, but not any more"
    again = events(("view", 290), ("view", 295), ("other", 20), ("view", 299))
    assert moments(decisions(again, 2, EDGE)) == [("e1", 295, 2.0)], "a late event re-arms nothing"


def test_evidence_and_features_of_a_decision_agree() -> None:
    kinds, late = Counter[str](), Counter[str]()
    for seed in range(8):
        dice = random.Random(seed)
        told = shuffled(story(dice), dice)
        by_id = {each["event_id"]: each for each in told}
        for each in (EVENT, EDGE, SCORE):
            for one in decisions(told, dice.randrange(1, 60), each):
                features = orjson.loads(one["features_json"])
                values = orjson.loads(one["evidence_json"])["values"]
                assert values == {name: features[name]["value"] for name in values}, f"{seed=}"
                event = by_id[one["trigger_event_id"]]
                newest_ms = max(e["event_ms"] for e in told[:told.index(event) + 1]
                                if e["profile_id"] == one["profile_id"])
                assert one["moment_ms"] == (event["event_ms"] if each == EVENT else newest_ms)
                kinds[one["playbook"]] += 1
                late[one["playbook"]] += event["event_ms"] < newest_ms
    assert min(kinds[name] for name in ("event", "edge", "score")) > 5
    assert min(late[name] for name in ("event", "edge", "score")) > 0, late
