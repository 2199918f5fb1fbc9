"""New features of everybody and of things are filled from the log: rows end, byte for byte, as if
they had always been declared; rows of segments, which cannot be, say so."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
import test_backfill
from broker_model import Broker
from sim_rows import in_place
from test_backfill import append, fill, layouts_of, settle, story

from schemas import contract
from streams import pipeline
from streams.choose.backfill import Gap, _hears_more, not_filled
from streams.choose.entities import rows as rows_of_things
from streams.choose.entities import tally
from streams.choose.entities.spec import EntitySpec
from streams.choose.entities.telling import PEOPLE
from streams.choose.entities.values import value_of
from streams.choose.features.layout import NEWEST
from streams.choose.features.spec import FeatureSpec
from streams.choose.program import Program
from streams.choose.tables import is_group, tables_of
from streams.engine.lane import Lane
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.kernel.side_inputs import SEGMENT

OLD, NEW = test_backfill.OLD, test_backfill.NEW
SEGMENTS = test_backfill.sim_changing.load().segments
VIEWS = FeatureSpec("views", "product_view", "count", 30 * DAY_MS)
SOLD = FeatureSpec("sold", "purchase", "sum", 30 * DAY_MS, of=("quantity",))
BUYERS = FeatureSpec("buyers", "purchase", "distinct", 7 * DAY_MS)
WARM = FeatureSpec("warm", "product_view", "decay", half_life_ms=20 * HOUR_MS)
ROLLED = contract(pipeline.SEGMENT_ROLLS)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Things go every eight offsets, so that they go at all in a short story."""
    monkeypatch.setattr(tally, "BLOCK_BITS", 3)


def item(*features: FeatureSpec, keep: int = 100, name: str = "item") -> EntitySpec:
    return EntitySpec(name, keep, 50, features)


def with_things(program: Program, *entities: EntitySpec) -> Program:
    return Program(program.people.specs, SEGMENTS, entities=entities)


def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of the story name one of many items, the first of them mostly."""
    plain = test_backfill.event

    def event(dice: random.Random, number: int, at_ms: int) -> dict[str, Any]:
        fields = plain(dice, number, at_ms)
        named = random.Random(number)
        return {**fields, "item_id": f"i{int(30 * named.random() ** 2)}",
                "category": named.choice(["", "c1", "c2"])}
    monkeypatch.setattr(test_backfill, "event", event)


def unfit(row: bytes | None) -> bytes:
    assert row is not None
    return row


def others(lanes: list[Lane], *, segments: bool = False) -> dict[Any, bytes]:
    """Rows of everybody and of things, of segments too if asked for, by partition."""
    return {(lane.partition, key): unfit(tables.encode(key)) for lane in lanes
            for tables in [tables_of(lane.state)] for key in (*tables.groups, *tables.entities)
            if segments or not is_group(key) or key.endswith(b"\x1f")}


def twin(told: Any, partitions: int, program: Program) -> dict[Any, bytes]:
    broker = Broker(partitions=partitions)
    append(broker, told)
    return others(settle(broker, [program] * partitions))


def of_log(broker: Broker, program: Program) -> dict[Any, bytes]:
    """What one who had the definitions makes of the same log: things go at fixed offsets."""
    calm = Broker(partitions=broker.partitions)
    for part in range(broker.partitions):
        calm.logs[pipeline.ADMITTED, part] += broker.logs[pipeline.ADMITTED, part]
    return others(settle(calm, [program] * broker.partitions))


def deployed(seed: int, partitions: int, old: Program, new: Program) -> tuple[Broker, Any, Any]:
    """Owners get the new definitions one after the other; (world, what came so far, the rest)."""
    told, dice = story(seed), random.Random(seed)
    cuts = sorted(dice.sample(range(40, 130), partitions))
    broker, programs, before = Broker(partitions=partitions), [old] * partitions, 0
    for part, cut in enumerate(cuts):
        append(broker, told[before:cut])
        settle(broker, programs)
        programs[part], before = new, cut
    append(broker, told[before:-10])
    settle(broker, programs)
    return broker, told[:-10], told[-10:]


CHANGES = {
    "a feature of what was heard before": ([VIEWS, SOLD], [VIEWS, SOLD, WARM, BUYERS]),
    "an entity that is new": ([], [VIEWS, SOLD]),
}


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("change", CHANGES)
def test_rows_end_as_if_the_features_had_been_there(
        change: str, seed: int, partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    several(monkeypatch)
    before, after = CHANGES[change]
    old = with_things(OLD, *([item(*before)] if before else []))
    new = with_things(NEW, item(*after), item(VIEWS, name="category"))
    broker, told, rest = deployed(seed, partitions, old, new)
    programs = [new] * partitions
    wanted = twin(told, partitions, new)
    assert others(settle(broker, programs)) != wanted, "there is a gap"
    assert fill(broker, new) > partitions
    lanes = settle(broker, programs)
    assert unstamped(others(lanes)) == unstamped(wanted)
    for lane in lanes:
        layouts = layouts_of(broker, lane.partition, new)
        assert not layouts[SEGMENT].starts and not layouts["item"].starts
        assert not_filled(new, layouts).keys() <= {"segments"}
    assert fill(broker, new) == 0, "nothing is left to be filled"
    append(broker, rest)
    assert unstamped(others(settle(broker, programs))) == unstamped(
        twin(told + rest, partitions, new))


def unstamped(found: dict[Any, bytes]) -> dict[Any, bytes]:
    """Without offsets, which handovers make others: what fills lies between them in the log."""
    return {key: row[:16] + (row[32:] if key[1][:1] == rows_of_things.ENTITY_PREFIX else row[24:])
            for key, row in zip(found, map(in_place, found.values()), strict=True)}


@pytest.mark.parametrize("seed", range(2))
def test_what_has_gone_since_then_stays_gone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few things are kept: some that were there when the features began have gone, and of these
    some are back. The past is only for those that stayed."""
    several(monkeypatch)
    old = with_things(OLD, item(VIEWS, SOLD, keep=9))
    new = with_things(NEW, item(VIEWS, SOLD, WARM, keep=9))
    broker, *_ = deployed(seed, 1, old, new)
    wanted = of_log(broker, new)
    assert fill(broker, new) > 1
    found = others(settle(broker, [new]))
    assert found == wanted
    assert 5 < len(found) < 20 and tally_of(broker, new)["thinned"]["item"]["t"] > 0


def test_an_entity_of_more_things_than_it_keeps_says_since_when_it_counts(
        monkeypatch: pytest.MonkeyPatch) -> None:
    several(monkeypatch)
    new = with_things(NEW, item(VIEWS, SOLD, keep=9))
    broker, *_ = deployed(2, 1, OLD, new)
    fill(broker, new)
    settle(broker, [new])
    layouts = layouts_of(broker, 0, new)
    assert not_filled(new, layouts)["item"] == {"views", "sold"} and not layouts["item"].starts
    said = [share for share in shares(broker) if share["entity"] == "item" and share["values_json"]]
    assert all("since_ms" in orjson.loads(said[-1]["values_json"])[name]
               for name in ("views", "sold"))


def test_what_is_heard_newly_is_filled_where_a_thing_had_no_row(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """How warm things are is not among it, for a day or two: it tells who goes first."""
    several(monkeypatch)
    old, new = with_things(OLD, item(SOLD)), with_things(NEW, item(SOLD, VIEWS, BUYERS))
    broker, told, _ = deployed(0, 1, old, new)
    assert len(others(settle(broker, [new]))) < len(twin(told, 1, new))
    fill(broker, new)
    calm = Broker(partitions=1)
    append(calm, told)
    assert values(settle(broker, [new])) == values(settle(calm, [new]))


@pytest.mark.parametrize("seed", range(2))
def test_a_command_that_was_stopped_and_an_owner_that_was_killed_end_in_the_same_rows(
        seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    several(monkeypatch)
    new = with_things(NEW, item(VIEWS, SOLD))
    whole, told, _ = deployed(seed, 1, OLD, new)
    wanted, before = unstamped(twin(told, 1, new)), whole.effects
    count = fill(whole, new)
    settle(whole, [new])
    for fuse in random.Random(seed).sample(range(before, whole.effects), 5):
        broker, *_ = deployed(seed, 1, OLD, new)
        fill(broker, new, only=count // 2)
        broker.fuse = fuse
        test_backfill.work(broker, new, 0)
        broker.fuse = 10**9
        fill(broker, new)
        assert unstamped(others(settle(broker, [new]))) == wanted, f"{fuse=}"


def test_rows_of_segments_say_since_when_and_shares_of_everybody_are_told_whole(
        monkeypatch: pytest.MonkeyPatch) -> None:
    several(monkeypatch)
    old, new = with_things(OLD), with_things(NEW)
    broker, *_ = deployed(1, 1, old, new)
    name = next(spec.name for spec in NEW.people.specs if spec.kind == "mean")
    settle(broker, [new])
    assert "since_ms" in newest(broker, "")[name]
    fill(broker, new)
    (lane,) = settle(broker, [new])
    assert "since_ms" not in newest(broker, "")[name]
    tables = tables_of(lane.state)
    assert not tables.covers_group("t", "", 0)
    assert tables.covers_group("t", SEGMENTS[0].name, 0)
    assert name in not_filled(new, layouts_of(broker, 0, new))["segments"]


def newest(broker: Broker, segment: str) -> dict[str, dict[str, Any]]:
    """What the newest share of a group says."""
    said = [share for share in shares(broker)
            if share["entity"] == SEGMENT and share["segment"] == segment]
    found: dict[str, dict[str, Any]] = orjson.loads(said[-1]["values_json"])
    return found


def shares(broker: Broker) -> list[dict[str, Any]]:
    return [ROLLED.decode(value or b"") for _, value in broker.logs[pipeline.SEGMENT_ROLLS, 0]]


def tally_of(broker: Broker, program: Program) -> dict[str, Any]:
    (lane,) = settle(broker, [program])
    return lane.state.notes


def values(lanes: list[Lane]) -> dict[bytes, dict[str, Any]]:
    """{thing: how many people, and what is said of it} as of the newest event of all."""
    found: dict[bytes, dict[str, Any]] = {}
    for each in (own for lane in lanes for own in tables_of(lane.state).entities.of.values()):
        v = each.rows.views
        at_ms = max(int(v.i64[slot, NEWEST]) for slot in each.rows.index)
        for slot in each.rows.index:
            found[each.rows.key(slot)] = {
                spec.name: value_of(each.spec, v, slot, f, at_ms, 0)
                for f, spec in enumerate(each.spec.layout.specs) if f > PEOPLE}
            found[each.rows.key(slot)]["people"] = value_of(each.spec, v, slot, PEOPLE, at_ms,
                                                            0)["value"]
    return found


def test_what_only_begins_to_tell_its_age_hears_of_nothing_more() -> None:
    """Its things had rows all along: none of the past is to be made anew."""
    seen = FeatureSpec("viewers", "product_view", "distinct", 7 * DAY_MS, entity="item")
    ever = FeatureSpec("views", "product_view", "lifetime", entity="item")
    for features, is_more in (((seen,), False), ((ever,), True)):
        spec = EntitySpec("item", 1000, 200, features)
        new = frozenset(each for each in spec.layout.cells
                        if each.startswith("4/0 product_view "))
        assert new and _hears_more(spec, Gap({"item": new}, {0: 9}), new) is is_more
