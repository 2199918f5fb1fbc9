"""What the stage says of everybody, segments and things, landed by the sink's own code, agrees
with the recount in SQL; also after crashes, and when visitors turn out to be people."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from broker_model import Broker, drive
from clickhouse_connect.driver.client import Client
from test_choose_drift import land

from schemas import contract
from sinks.client import connect
from sinks.report import drift, group_drift
from sinks.warehouse import ClickHouseWarehouse
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.entities import tally
from streams.choose.entities.spec import EntitySpec
from streams.choose.features.spec import KINDS, OF_TEXTS, FeatureSpec
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec
from streams.cli.drift_groups import questions
from streams.cli.reading import reader
from streams.kernel.ids import partition_of
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.conditions import parse_condition
from streams.settings import Settings

pytestmark = pytest.mark.integration
START, NOW_MS = 1_600_000_000_000, int(time.time() * 1000)
EVENT, LINK, ROLLED = contract(pipeline.ADMITTED), contract("handover"), contract("segments.rolled")
TOPICS = (pipeline.ADMITTED, pipeline.SEGMENT_CHANGES, pipeline.SEGMENT_ROLLS)

FEATURES = (
    FeatureSpec("views", "view", "count", DAY_MS),
    FeatureSpec("pace", "*", "rate", 7 * DAY_MS),
    FeatureSpec("spend", "purchase", "sum", 30 * DAY_MS, of=("value",)),
    FeatureSpec("basket", "purchase", "mean", 30 * DAY_MS, of=("value",)),
    FeatureSpec("spread", "purchase", "variance", 30 * DAY_MS, of=("quantity",)),
    FeatureSpec("least", "purchase", "min", 30 * DAY_MS, of=("value",)),
    FeatureSpec("most", "*", "max", 7 * DAY_MS, of=("quantity",)),
    FeatureSpec("items", "*", "distinct", 30 * DAY_MS),
    FeatureSpec("warm", "view", "decay", half_life_ms=DAY_MS),
    FeatureSpec("warm_spend", "purchase", "decay", half_life_ms=7 * DAY_MS, of=("value",)),
    FeatureSpec("orders", "purchase", "lifetime"),
    FeatureSpec("since", "purchase", "since", max_age_ms=2 * DAY_MS),
    FeatureSpec("first", "purchase", "first", of=("value",)),
    FeatureSpec("last", "*", "last", of=("value",)),
    FeatureSpec("gap", "purchase", "mean_gap"),
    FeatureSpec("hats", "*", "count", 30 * DAY_MS, where=("category", "hats")),
    FeatureSpec("tips", "purchase", "sum", 30 * DAY_MS, of=("property.tip",)),
    FeatureSpec("visits", "*", "sessions", 7 * DAY_MS, gap_ms=HOUR_MS),
    FeatureSpec("steps", "*", "session", gap_ms=4 * HOUR_MS, of=("events",)),
    FeatureSpec("rfm", "purchase", "rfm", 30 * DAY_MS, of=("value",), cuts=(
        (HOUR_MS, DAY_MS, 3 * DAY_MS, 9 * DAY_MS), (2, 5, 9, 14), (10**8, 10**9, 10**10, 10**11))),
    FeatureSpec("per_order", "", "ratio", of=("spend", "orders")),
    FeatureSpec("favourite", "view", "most_frequent", 7 * DAY_MS, of=("category",), most=1),
    FeatureSpec("seen", "*", "top_k", 7 * DAY_MS, of=("item_id",), most=3),
    FeatureSpec("lately", "*", "unique_list", 7 * DAY_MS, of=("item_id",), most=3),
)
NUMBERS = {spec.name for spec in FEATURES if spec.value_is == "number"}


def of_things(name: str) -> tuple[FeatureSpec, ...]:
    short = name.split(".")[-1]
    return (FeatureSpec(f"{short}_views", "view", "count", DAY_MS),
            FeatureSpec(f"{short}_people", "*", "distinct", 30 * DAY_MS),
            FeatureSpec(f"{short}_sold", "purchase", "sum", 30 * DAY_MS, of=("quantity",)),
            FeatureSpec(f"{short}_value", "purchase", "mean", 30 * DAY_MS, of=("value",)),
            FeatureSpec(f"{short}_dearest", "purchase", "max", 30 * DAY_MS, of=("value",)),
            FeatureSpec(f"{short}_warm", "view", "decay", half_life_ms=DAY_MS),
            FeatureSpec(f"{short}_ever", "purchase", "lifetime"),
            FeatureSpec(f"{short}_hats", "*", "count", DAY_MS, where=("category", "hats")),
            FeatureSpec(f"{short}_since", "view", "since", max_age_ms=DAY_MS),
            FeatureSpec(f"{short}_per_view", "", "ratio", of=(f"{short}_ever", f"{short}_views")))


def things(keep: int = 1000) -> tuple[EntitySpec, ...]:
    return tuple(EntitySpec(name, keep, 1000, of_things(name))
                 for name in ("item", "category", "campaign", "property.color"))


def _segment(name: str, rule: dict[str, Any]) -> SegmentSpec:
    return SegmentSpec(name, parse_condition(rule, features=None, segments=None))


SEGMENTS = (_segment("buyers", {"feature": "spend", "at_least": 300}),
            _segment("lapsed", {"feature": "views", "at_most": 0}),
            _segment("keen", {"all": [{"feature": "views", "at_least": 2},
                                      {"not": {"segment": "lapsed"}}]}))
PROGRAM = Program(FEATURES, SEGMENTS, entities=things())
Ask = Callable[..., dict[str, dict[str, Any]]]


def event(dice: random.Random, number: int, at_ms: int, person: str) -> dict[str, Any]:
    kind = dice.choice(["view", "view", "purchase", "search"])
    fields: dict[str, Any] = {
        "event_id": f"e{number}", "tenant": "t", "event_type": kind, "event_ms": at_ms,
        "appended_ms": NOW_MS, "profile_id": person, "item_id": dice.choice(["a", "b", "c", ""]),
        "category": dice.choice(["hats", "shoes", ""]), "quantity": dice.randrange(1, 9) / 8,
        "value_micros": dice.randrange(1, 400) * 250_001,
        "purposes": 13 if dice.random() < 0.1 else 15,
        "properties_json": dice.choice([
            "", '{"campaign": "spring", "tip": 2.25}', '{"campaign": "", "color": "r\\u00f6d"}',
            '{"color": 7, "tip": "3"}', "[1]", orjson.dumps({"color": "x" * 201}).decode()])}
    if kind == "purchase" and dice.random() < 0.6:
        fields["lines_json"] = orjson.dumps([
            [dice.choice("abcdefgh"), dice.randrange(1, 9) / 8, dice.randrange(1, 900) * 10_001]
            for _ in range(dice.choice([1, 2, 4, 70]))]).decode()
    return fields


def world(seed: int, *, visitors: bool = False, count: int = 140) -> Broker:
    """Events of seven people in two partitions: late ones, repeats, replayed origins, watermarks;
    with `visitors` two of them are known under other ids at first, and once or twice afterwards."""
    dice, broker, at_ms = random.Random(seed), Broker(partitions=2), START
    marks: dict[int, int] = {0: 0, 1: 0}

    def put(part: int, key: bytes, kind: Any, fields: dict[str, Any]) -> None:
        marks[part] += 1
        broker.logs[pipeline.ADMITTED, part].append((key, kind.encode(
            {"origin_partition": 0, "origin_offset": marks[part], "origin_sequence": 0, **fields})))

    for number in range(count):
        at_ms += dice.choice([0, MINUTE_MS, 20 * MINUTE_MS, 5 * HOUR_MS, DAY_MS])
        person = f"p{dice.randrange(7)}"
        if visitors and person in ("p5", "p6") and (number < count // 2 or dice.random() < 0.3):
            person = f"visitor{person}"
        part = partition_of(person.encode(), 2)
        late_ms = dice.choice([0, 0, 0, HOUR_MS, 40 * DAY_MS])
        told = event(dice, number, at_ms - late_ms, person)
        put(part, person.encode(), EVENT, told)
        if dice.random() < 0.1:         # upstream says it again; a producer does
            broker.logs[pipeline.ADMITTED, part].append(broker.logs[pipeline.ADMITTED, part][-1])
            put(part, person.encode(), EVENT, told)
        if dice.random() < 0.3:
            for where, upstream in ((0, 0), (0, 1), (1, 0), (1, 1)):
                put(where, b"t", contract("watermark"), {
                    "tenant": "t", "watermark_ms": at_ms - HOUR_MS, "appended_ms": NOW_MS,
                    "origin_partition": upstream})
        if visitors and number == count // 2:
            for who in ("p5", "p6"):
                visitor = f"visitor{who}"
                put(partition_of(visitor.encode(), 2), visitor.encode(), LINK, {
                    "tenant": "t", "visitor_id": visitor, "profile_id": who, "row": b"",
                    "layout": "", "event": b"", "event_ms": at_ms, "appended_ms": NOW_MS,
                    "stage": "admit"})
    return broker


def play(broker: Broker, dice: random.Random, program: Program = PROGRAM) -> None:
    """Both partitions to their ends, in batches of any size."""
    for _ in range(2):
        for part in (0, 1):
            assert drive(broker, logic(program), part, batch=dice.randrange(3, 20),
                         checkpoint_every=2) is not None


def logic(program: Program = PROGRAM) -> ChooseLogic:
    return ChooseLogic(SideInputs(), program, lambda side, tenant: (), members_min=0)


@pytest.fixture(scope="module")
def writer(clickhouse: Settings) -> Iterator[Client]:
    client = connect(clickhouse, user="writer")
    ClickHouseWarehouse(lambda: connect(clickhouse, user="writer")).prepare()
    yield client
    _empty(client)


def _empty(client: Client) -> None:
    for table in ("sink_batches", *("raw_" + topic.replace(".", "_") for topic in TOPICS)):
        client.command(f"TRUNCATE TABLE {table}")


@pytest.fixture
def ask(writer: Client, clickhouse: Settings) -> Ask:
    """Lands a broker's topics in an empty database, asks as the reader does."""
    made = iter(range(100))

    def of(broker: Broker, program: Program = PROGRAM, *, without: str = "",
           change: Callable[[dict[str, Any]], None] | None = None,
           **limits: Any) -> dict[str, dict[str, Any]]:
        _empty(writer)
        warehouse = ClickHouseWarehouse(lambda: connect(clickhouse, user="writer"))
        topic_id = f"{NOW_MS}-{next(made)}-{random.random()}"
        for topic in TOPICS:
            for part in range(broker.partitions):
                values = [value or b"" for _, value in broker.logs[topic, part]]
                if change is not None and topic == pipeline.SEGMENT_ROLLS:
                    values = [changed(value, change) for value in values]
                if values and topic != without:
                    land(warehouse, topic_id, topic, values, part)
        return drift.by_feature(
            row for sql in questions(program, **{"sample": 1000, **limits}).values()
            for row in reader(clickhouse)(sql, {}))
    return of


def changed(value: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    fields = ROLLED.decode(value)
    change(fields)
    return ROLLED.encode(fields)


def of_kind(found: dict[str, dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {name.removeprefix(f"{kind}: "): told for name, told in found.items()
            if name.startswith(f"{kind}: ")}


def test_every_kind_of_number_is_among_them() -> None:
    assert {spec.kind for spec in FEATURES if spec.value_is == "number"} == KINDS - OF_TEXTS


@pytest.mark.parametrize("seed", range(3))
def test_what_partitions_say_of_groups_agrees_with_the_recount(seed: int, ask: Ask) -> None:
    broker = world(seed)
    play(broker, random.Random(seed))
    found = ask(broker)
    assert drift.drifted(found) == []
    assert of_kind(found, "everybody").keys() == of_kind(found, "segment").keys() == NUMBERS
    for kind in ("everybody", "segment", "item", "category", "campaign", "property.color"):
        own = of_kind(found, kind)
        assert own, kind
        for name, told in own.items():
            assert told["compared"] >= 8, (kind, name)
            assert told["gone"] == told["merged"] == told["not_logged"] == 0, (kind, name)
            assert told["estimated_off"] == 0, (kind, name)
    assert of_kind(found, "everybody")["warm"]["estimated"] > 10


@pytest.mark.parametrize("seed", range(2))
def test_after_a_crash_too(seed: int, ask: Ask) -> None:
    dice, broker = random.Random(seed), world(seed)
    for fuse in sorted(dice.sample(range(20, 250), 4)):
        broker.fuse = broker.effects + fuse // 4
        drive(broker, logic(), dice.randrange(2), batch=7, checkpoint_every=2)
    broker.fuse = 10**9
    play(broker, dice)
    found = ask(broker)
    assert drift.drifted(found) == []
    assert all(told["compared"] > 10 for told in of_kind(found, "everybody").values())
    assert all(told["compared"] > 10 for told in of_kind(found, "segment").values())


def test_events_of_visitors_that_came_or_went_make_no_verdict(ask: Ask) -> None:
    broker = world(5, visitors=True)
    play(broker, random.Random(5))
    found = ask(broker)
    assert drift.drifted(found) == []
    assert of_kind(found, "everybody")["pace"]["merged"] > 0
    assert of_kind(found, "everybody")["pace"]["compared"] > 0
    assert all(told["compared"] > 0 for told in found.values())


def test_things_that_were_let_go_are_not_judged(
        ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "BLOCK_BITS", 3)
    broker, few = world(6), Program(FEATURES, SEGMENTS, entities=things(keep=3))
    play(broker, random.Random(6), few)
    found = ask(broker, few)
    assert drift.drifted(found) == []
    assert of_kind(found, "item")["item_ever"]["gone"] > 0
    assert of_kind(found, "category")["category_ever"]["gone"] == 0


def _corrupt(entity: str, name: str, feature: str) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        if (fields["entity"], fields["segment"]) == (entity, name) and fields["values_json"]:
            values = orjson.loads(fields["values_json"])
            values[feature]["value"] = (values[feature]["value"] or 0) + 1
            fields["values_json"] = orjson.dumps(values).decode()
    return change


@pytest.mark.parametrize(("kind", "entity", "name", "feature"), [
    ("everybody", "segment", "", "spend"), ("segment", "segment", "keen", "orders"),
    ("item", "item", "a", "item_sold"), ("category", "category", "hats", "category_ever"),
    ("property.color", "property.color", "röd", "color_people")])
def test_a_corrupted_value_is_reported(
        ask: Ask, kind: str, entity: str, name: str, feature: str) -> None:
    broker = world(1, count=60)
    play(broker, random.Random(1))
    found = ask(broker, change=_corrupt(entity, name, feature))
    assert drift.drifted(found) == [f"{kind}: {feature}"]
    told = found[f"{kind}: {feature}"]
    assert told["mismatch"] > 0 and told["greatest"] == pytest.approx(1, abs=1e-6)


def test_an_event_that_a_row_missed_is_reported(ask: Ask) -> None:
    """A row that did not hear the last events, and says that it did."""
    broker = world(2, count=60)
    play(broker, random.Random(2))
    for part in (0, 1):
        log = broker.logs[pipeline.ADMITTED, part]
        log.extend(each for each in world(3, count=20).logs[pipeline.ADMITTED, part])
    ends = {part: len(broker.logs[pipeline.ADMITTED, part]) for part in (0, 1)}

    def change(fields: dict[str, Any]) -> None:
        if not fields["segment"]:
            fields["heard"] = ends[fields["partition"]]
    found = ask(broker, change=change)
    assert "everybody: orders" in drift.drifted(found)


def test_changes_of_segments_that_have_not_landed_make_no_verdict(ask: Ask) -> None:
    broker = world(4, count=60)
    play(broker, random.Random(4))
    found = ask(broker, without=pipeline.SEGMENT_CHANGES)
    assert drift.drifted(found) == []
    assert all(told["gone"] > 0 for told in of_kind(found, "segment").values())
    assert all(told["gone"] == 0 for told in of_kind(found, "everybody").values())


def test_shares_whose_events_have_not_landed_make_no_verdict(ask: Ask) -> None:
    broker = world(4, count=60)
    play(broker, random.Random(4))
    found = ask(broker, without=pipeline.ADMITTED)
    assert all(told["compared"] == 0 and told["gone"] > 0 for told in found.values())


def test_a_sample_is_of_each_tenant_and_the_same_each_time(ask: Ask) -> None:
    broker = world(7, count=60)
    play(broker, random.Random(7))
    few = ask(broker, sample=5)
    assert {told["compared"] for told in of_kind(few, "everybody").values()} == {5}
    assert max(told["compared"] for told in few.values()) == 5
    assert ask(broker, sample=5) == few
    assert ask(broker, tenant="nobody") == {}


def test_one_question_for_each_kind() -> None:
    assert list(questions(PROGRAM)) == [group_drift.EVERYBODY, group_drift.SEGMENT, "item",
                                        "category", "campaign", "property.color"]
    assert list(questions(Program(FEATURES, ()))) == []
