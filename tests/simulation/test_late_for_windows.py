"""An event behind a window of the person's is told once, whatever the cut, and after any crash."""

from __future__ import annotations

import random
from typing import Any

import pytest
from broker_model import Broker, drive
from test_choose_crash import START, event, watermark

from schemas import contract
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.features.spec import FeatureSpec
from streams.choose.program import Program
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs

EVENT = contract(pipeline.ADMITTED)
FEATURES = (
    FeatureSpec("views_1h", "product_view", "count", HOUR_MS),
    FeatureSpec("all_7d", "*", "count", 7 * DAY_MS),
    FeatureSpec("spend_1d", "purchase", "sum", DAY_MS, of=("value",)),
    FeatureSpec("most_1d", "purchase", "max", DAY_MS, of=("value",)),
    FeatureSpec("items_2d", "*", "distinct", 2 * DAY_MS),
    FeatureSpec("fav_2d", "*", "most_frequent", 2 * DAY_MS, of=("category",), most=1),
    FeatureSpec("visits_1d", "*", "sessions", DAY_MS, gap_ms=HOUR_MS),
    FeatureSpec("warm", "cart_add", "decay", half_life_ms=HOUR_MS),
    FeatureSpec("steps", "*", "session", gap_ms=HOUR_MS, of=("events",)),
    FeatureSpec("last_items", "*", "unique_list", HOUR_MS, of=("item_id",), most=2),
    FeatureSpec("ever", "*", "lifetime"),
)
# How many tiles of which width each window keeps.
TILES = {"views_1h": (5 * MINUTE_MS, 13), "all_7d": (6 * HOUR_MS, 29), "spend_1d": (HOUR_MS, 25),
         "most_1d": (HOUR_MS, 25), "items_2d": (12 * HOUR_MS, 5), "fav_2d": (12 * HOUR_MS, 5),
         "visits_1d": (16 * HOUR_MS, 3), "warm": (16 * HOUR_MS, 3)}


def told(seed: int) -> list[dict[str, Any]]:
    """Some people's events, now and then one that is up to nine days late."""
    dice, at_ms, found = random.Random(seed), START, []
    for number in range(80):
        at_ms += dice.choice([MINUTE_MS, HOUR_MS, 9 * HOUR_MS])
        late_ms = dice.choice([0, 0, 0, HOUR_MS, 30 * HOUR_MS, 9 * DAY_MS])
        found.append(event(dice, number, at_ms - late_ms)
                     | {"category": dice.choice(["", "shoes", "hats"])})
    return found


def world(seed: int) -> Broker:
    broker = Broker(partitions=1)
    log = broker.logs[pipeline.ADMITTED, 0]
    log.extend((e["profile_id"].encode(), EVENT.encode(e)) for e in told(seed))
    log.append((b"t", watermark(START + 40 * DAY_MS)))
    return broker


def logic() -> ChooseLogic:
    return ChooseLogic(SideInputs(), Program(FEATURES, ()), lambda side, tenant: (), members_min=0)


def late(broker: Broker) -> dict[str, list[str]]:
    """{event: features whose windows it came too late for}, of refusals by their ids."""
    meant = contract("refusals.recorded")
    found = {fields["refusal_id"]: fields for _, value in broker.logs["refusals.recorded", 0]
             if meant.is_mine(value) and (fields := meant.decode(value))}
    assert {(each["outcome"], each["reason"]) for each in found.values()} == {
        ("late", "behind_window")}
    return {each["event_id"]: sorted(each["detail"].split(", ")) for each in found.values()}


def obvious(seed: int) -> dict[str, list[str]]:
    newest: dict[tuple[str, str], int] = {}
    found: dict[str, list[str]] = {}
    for e in told(seed):
        behind = []
        for spec in FEATURES:
            if spec.name not in TILES or not spec.matches(e["event_type"]):
                continue
            if spec.text_of and not e[spec.text_of]:
                continue             # it has nothing that the feature could leave out
            tile_ms, tiles = TILES[spec.name]
            key, tile = (e["profile_id"], spec.name), e["event_ms"] // tile_ms
            if tile <= newest.get(key, 0) - tiles:
                behind.append(spec.name)
            newest[key] = max(tile, newest.get(key, 0))
        if behind:
            found[e["event_id"]] = sorted(behind)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_every_event_behind_a_window_is_told_with_the_features_that_leave_it_out(
        seed: int) -> None:
    expected = obvious(seed)
    assert len(expected) > 5
    for batch in (1, 7, 1000):
        broker = world(seed)
        assert drive(broker, logic(), 0, batch=batch) is not None
        assert late(broker) == expected, batch


def test_each_kind_of_window_is_among_those_told() -> None:
    told_of = {name for seed in range(4) for names in obvious(seed).values() for name in names}
    assert told_of == {*TILES}


def test_a_crash_anywhere_tells_the_same_late_events() -> None:
    whole = world(0)
    assert drive(whole, logic(), 0, batch=7, checkpoint_every=2) is not None
    for fuse in sorted(random.Random(0).sample(range(whole.effects), 12)):
        broker = world(0)
        broker.fuse = fuse
        assert drive(broker, logic(), 0, batch=7, checkpoint_every=2) is None
        broker.fuse = 10**9
        assert drive(broker, logic(), 0, batch=7, checkpoint_every=2) is not None
        assert late(broker) == obvious(0), f"{fuse=}"


def test_more_windows_than_bits_are_told_all_the_same() -> None:
    many = tuple(FeatureSpec(f"w{n}", f"e{n}", "count", HOUR_MS) for n in range(80))
    layout = Program(many, ()).people
    assert layout.late_features(1) == ["w0"] and layout.late_features(1 << 60) == ["w60"]
    assert layout.late_features(1 << 61) == [f"w{n}" for n in range(61, 80)]
