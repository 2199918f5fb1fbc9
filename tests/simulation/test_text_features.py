"""Texts, sessions and grades through the stage: in any batch cut, and after any crash."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
import test_backfill
from broker_model import Broker, drive
from sim_rows import in_place
from test_choose_crash import event, playbook, without_stamps, world

from schemas import contract
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import load
from streams.choose.features.spec import FeatureSpec
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.conditions import parse_condition
from streams.playbooks.model import Trigger

EVENT = contract("events.admitted")
CATEGORIES = ("shoes", "hats", "Überraschungen für die ganze Familie, groß", "")
PROPERTIES = ("", '{"tip":1.5,"brand":"acme"}', '{"colour":"red"}', '{"tip":"2"}', '{"tip":4}')
FEATURES = (
    FeatureSpec("favourite", "*", "most_frequent", 30 * DAY_MS, of=("category",), most=1),
    FeatureSpec("top_items", "product_view", "top_k", 7 * DAY_MS, of=("item_id",), most=2),
    FeatureSpec("last_items", "*", "unique_list", 3 * DAY_MS, of=("item_id",), most=3),
    FeatureSpec("brand", "*", "unique_list", 30 * DAY_MS, of=("property.brand",), most=1),
    FeatureSpec("categories", "*", "distinct", 7 * DAY_MS, of=("category",)),
    FeatureSpec("brands", "purchase", "distinct", 7 * DAY_MS, of=("property.brand",)),
    FeatureSpec("tips", "purchase", "sum", 30 * DAY_MS, of=("property.tip",)),
    FeatureSpec("red", "*", "lifetime", where=("property.colour", "red")),
    FeatureSpec("hats", "*", "lifetime", where=("category", "hats")),
    FeatureSpec("visits", "*", "sessions", 7 * DAY_MS, gap_ms=HOUR_MS),
    FeatureSpec("steps", "*", "session", gap_ms=HOUR_MS, of=("events",)),
    FeatureSpec("grades", "purchase", "rfm", 30 * DAY_MS, of=("value",), cuts=(
        (DAY_MS, 5 * DAY_MS, 20 * DAY_MS, 50 * DAY_MS), (1, 2, 3, 4),
        (100_000_000, 300_000_000, 500_000_000, 900_000_000))),
)
KINDS = {spec.name: spec.value_is for spec in FEATURES}
SEGMENTS = tuple(
    SegmentSpec(name, parse_condition(rule, features=KINDS, segments=())) for name, rule in (
        ("likes_shoes", {"feature": "favourite", "is": "shoes"}),
        ("saw_a_few", {"feature": "last_items", "has": ["i1", "i2"]}),
        ("not_often", {"not": {"feature": "visits", "at_least": 2}}),
        ("good", {"feature": "grades", "at_least": 400})))


def told(seed: int) -> Broker:
    """`world`, of events that have a category and, when they are purchases, several lines."""
    broker = world(seed)
    log = broker.logs["events.admitted", 0]
    for n, (key, value) in enumerate(log):
        if value is not None and EVENT.is_mine(value):
            event = EVENT.decode(value)
            number = event["origin_offset"]
            lines = [["i1", 1.0, 5], [f"i{number % 7}", 2.0, 3], ["i1", 1.0, 5]]
            event["lines_json"] = (orjson.dumps(lines).decode()
                                   if event["event_type"] == "purchase" and number % 2 else "")
            log[n] = key, EVENT.encode({**event, "category": CATEGORIES[number * 7 % 4],
                                        "properties_json": PROPERTIES[number % 5]})
    return broker


def logic() -> ChooseLogic:
    return ChooseLogic(SideInputs(), Program(FEATURES, SEGMENTS), lambda side, tenant: (
        playbook("thanks", Trigger("event", "purchase")),
        playbook("hats", Trigger("edge", when=parse_condition(
            {"feature": "favourite", "is": ["hats", "socks"]}, features=KINDS,
            segments=())))), members_min=0)


def result(broker: Broker, batch: int = 7) -> tuple[dict[str, Any], list[Any], dict[bytes, Any]]:
    lane = drive(broker, logic(), 0, batch=batch, checkpoint_every=2)
    assert lane is not None
    slab = lane.state.slab
    rows = {key: in_place(slab.encode(key))[16:] for key in slab}      # type: ignore[index]
    decisions, changes = (
        {fields[name]: fields for _, value in reversed(broker.logs[topic, 0])
         if contract(topic).is_mine(value) and (fields := contract(topic).decode(value))}
        for topic, name in (("decisions.made", "decision_id"), ("segments.changed", "change_id")))
    said = {key: (each["playbook"], orjson.loads(each["features_json"]))
            for key, each in decisions.items()}
    return said, sorted(changes), without_stamps(rows)


@pytest.mark.parametrize("seed", range(3))
def test_the_result_does_not_depend_on_how_the_stream_is_cut(seed: int) -> None:
    first = result(told(seed), 1)
    assert {name for name, _ in first[0].values()} == {"thanks", "hats"}
    assert len(first[1]) > 10
    assert first == result(told(seed), 5) == result(told(seed), 1000)


@pytest.mark.parametrize("seed", range(2))
def test_a_crash_anywhere_ends_in_the_same_decisions_and_rows(seed: int) -> None:
    whole = told(seed)
    expected = result(whole)
    for fuse in sorted(random.Random(seed).sample(range(whole.effects), 12)):
        broker = told(seed)
        broker.fuse = fuse
        assert drive(broker, logic(), 0, batch=7, checkpoint_every=2) is None
        broker.fuse = 10**9
        assert result(broker) == expected, f"{seed=} {fuse=}"


@pytest.mark.parametrize("seed", range(3))
def test_decisions_tell_the_texts_that_a_count_over_the_log_tells(seed: int) -> None:
    broker = told(seed)
    events: dict[str, dict[str, Any]] = {}
    for _, value in broker.logs["events.admitted", 0]:
        if EVENT.is_mine(value):
            event = EVENT.decode(value)
            events.setdefault(event["event_id"], event)
    decisions = contract("decisions.made")
    assert drive(broker, logic(), 0) is not None
    found = [decisions.decode(value) for _, value in broker.logs["decisions.made", 0]
             if decisions.is_mine(value)]
    for each in found:
        at_ms, features = each["moment_ms"], orjson.loads(each["features_json"])
        newest: dict[str, int] = {}
        for event in events.values():
            if event["profile_id"] == each["profile_id"] and event["event_ms"] <= at_ms:
                items = ([line[0] for line in orjson.loads(event["lines_json"])]
                         if event["lines_json"] else [event["item_id"]])
                newest.update(dict.fromkeys(items, event["event_ms"]))
        own = [event for event in events.values()
               if event["profile_id"] == each["profile_id"] and event["event_ms"] <= at_ms]
        told_of = [(e, orjson.loads(e["properties_json"] or "{}")) for e in own]
        assert features["hats"]["value"] == sum(e["category"] == "hats" for e in own)
        assert features["red"]["value"] == sum(p.get("colour") == "red" for _, p in told_of)
        day, tip = at_ms // DAY_MS, {1.5: 1.5, 4: 4.0}
        assert features["tips"]["value"] == sum(
            tip.get(p.get("tip"), 0.0) for e, p in told_of
            if e["event_type"] == "purchase" and day - 31 < e["event_ms"] // DAY_MS)
        assert features["categories"]["value"] == len({
            e["category"] for e in own if at_ms - 7 * DAY_MS < e["event_ms"]} - {""})
        assert features["brands"]["value"] == len({
            p["brand"] for e, p in told_of if "brand" in p and e["event_type"] == "purchase"
            and at_ms - 7 * DAY_MS < e["event_ms"]})
        assert features["brand"]["value"] in (None, ["acme"])
        kept = sorted(newest, key=lambda item: (-newest[item], item))[:3]
        inside = [item for item in kept if newest[item] > at_ms - 3 * DAY_MS]
        assert features["last_items"] == {"value": inside or None, "of": "item_id",
                                          "age_ms": features["last_items"]["age_ms"]}
    said = {orjson.loads(each["features_json"])["favourite"]["value"] for each in found}
    assert said - {None} and said <= {None, "shoes", "hats", "Überraschungen für die ganze …"}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_declared_later_is_filled_from_the_log(
        seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    was = test_backfill.NEW.people.specs
    new = Program((*was, *FEATURES), load().segments)
    monkeypatch.setattr(test_backfill, "NEW", new)
    monkeypatch.setattr(test_backfill, "event", with_texts)
    broker, told_so_far, _ = test_backfill.deployed(seed, 2)
    expected = test_backfill.twin(told_so_far, 2)
    assert test_backfill.rows(test_backfill.settle(broker, [new] * 2)) != expected
    assert test_backfill.fill(broker) > 2
    assert test_backfill.rows(test_backfill.settle(broker, [new] * 2)) == expected


def with_texts(dice: random.Random, number: int, at_ms: int) -> dict[str, Any]:
    return {**event(dice, number, at_ms), "category": CATEGORIES[number % 4],
            "properties_json": PROPERTIES[number % 5]}
