"""Features of things: against a twin, over any number of partitions, batches and orders."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from entity_world import ASKS, PERSON, START, Shop, entities, events, namings, of, told, twin

from streams.choose.definitions import check, load
from streams.choose.entities.asking import Things
from streams.choose.entities.rows import BLOCK_BITS, key_of
from streams.choose.entities.spec import EntitySpec
from streams.choose.features.spec import FeatureSpec
from streams.choose.tables import tables_of
from streams.kernel.moments import DAY_MS, HOUR_MS

SPECS = entities()


@pytest.mark.parametrize(("seed", "partitions"), [(1, 1), (2, 3), (3, 2), (4, 5)])
def test_what_is_said_of_things_is_what_the_twin_counts(seed: int, partitions: int) -> None:
    log = events(seed)
    shop = Shop(partitions, SPECS)
    shop.hear(log, batch=random.Random(seed).choice((1, 9, 1000)))
    shop.tell()
    at_ms, seen = log[-1]["event_ms"], 0
    for spec in SPECS:
        names = {name for event in log for name in namings(event, spec.name)}
        for name in names:
            people, values = twin(log, spec, name, at_ms)
            found = shop.things.of("t", spec.name, name, at_ms)
            assert found is not None, (spec.name, name)
            few = people < 16           # beyond, people and `distinct` are estimates
            assert not few or found["people"] == people
            for each, value in values.items():
                told_ = found[each]["value"]
                if each.endswith("people_7d") and (value or 0) >= 16:
                    assert told_ == pytest.approx(value, rel=0.45)
                else:
                    assert told_ == (None if value is None else pytest.approx(value, abs=2e-5)), (
                        spec.name, name, each)
                seen += value is not None
    assert seen > 60
    assert shop.things.of("t", "item", "never", at_ms) is None
    assert shop.things.of("u", "item", "i0", at_ms) is None


def whenever_begun(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """With which record of its log a row began is the one thing that the log's order decides."""
    return {key: row[8:] for key, row in rows.items()}


def test_rows_depend_neither_on_batches_nor_on_order() -> None:
    log, rows = events(7), []
    for batch in (1, 13, 10_000):
        shop = Shop(1, SPECS)
        shop.hear(log, batch=batch)
        rows.append(shop.rows())
    order = list(log)
    random.Random(1).shuffle(order)
    shop = Shop(1, SPECS)
    shop.hear([{**event, "origin_offset": n} for n, event in enumerate(order)])
    assert rows[0] == rows[1] == rows[2]
    assert whenever_begun(rows[0]) == whenever_begun(shop.rows())
    assert len(rows[0]) > 12


def test_an_order_of_the_greatest_amounts_is_counted_as_far_as_there_are_numbers() -> None:
    shop = Shop(1, SPECS)
    lines = [["i1", 1e12, 10**18], ["i1", 1e12, 10**18], ["i2", 2.0, 3 * 10**6]]
    shop.hear([told(0, "p1", "purchase", START, item_id="", quantity=2e12,
                    lines_json=orjson.dumps(lines).decode())])
    shop.tell()
    found = [shop.things.of("t", "item", name, START) for name in ("i1", "i2")]
    assert found[0] is not None and found[0]["item_value"]["value"] == 1e12
    assert found[1] is not None and found[1]["item_value"]["value"] == 6.0


def test_repeats_and_events_that_may_not_be_used_count_nothing() -> None:
    log, shops = events(8, 60), []
    shops = [Shop(1, SPECS), Shop(1, SPECS)]
    shops[0].hear(log)
    more = []
    for number, event in enumerate(log):
        more += [{**event, "origin_offset": 3 * number},
                 {**event, "origin_offset": 3 * number + 1},       # the same event id once more
                 {**event, "origin_offset": 3 * number + 2, "event_id": f"x{number}",
                  "purposes": 1}]
    shops[1].hear(more)
    assert whenever_begun(shops[0].rows()) == whenever_begun(shops[1].rows())


def flood(count: int) -> list[dict[str, Any]]:
    """Eight warm items, among ever new names that are heard of once."""
    log = []
    for number in range(count):
        item = f"warm{number % 8}" if number % 3 == 0 else f"once{number}"
        log.append(told(number, f"p{number % 40}", "product_view", START + number * 1000,
                        item_id=item))
    return log


def test_a_flood_of_names_is_bounded_and_pushes_out_nothing_warm() -> None:
    specs, log, gap = (EntitySpec("item", 40, 10, of("item")),), flood(1500), 64
    found = []
    for batch in (1, 37, 10_000):
        shop = Shop(1, specs)
        for start in range(0, len(log), 300):
            shop.hear(log[start:start + 300], batch=batch, gap=gap)
            assert len(tables_of(shop.states[0]).entities) <= 40 + (1 << BLOCK_BITS) // gap
        found.append(shop.rows())
    assert found[0] == found[1] == found[2], "what is kept depends on the log alone"
    assert all(key_of("item", "t", f"warm{n}") in found[0] for n in range(8))
    shop.tell()
    for n in range(8):
        _, values = twin(log, specs[0], f"warm{n}", log[-1]["event_ms"])
        told_ = shop.things.of("t", "item", f"warm{n}", log[-1]["event_ms"])
        assert told_ is not None and told_["item_views_1d"]["value"] == values["item_views_1d"]


def test_an_order_of_very_many_lines_names_the_most_valuable() -> None:
    lines = [[f"i{n}", 1, n * 1000] for n in range(1000)]
    shop = Shop(1, (EntitySpec("item", 1000, 10, of("item")),))
    shop.hear([told(1, "p", "purchase", START, lines_json=orjson.dumps(lines).decode())])
    assert {key.split(b"\x1f")[2] for key in shop.rows()} == {f"i{n}".encode()
                                                              for n in range(950, 1000)}


def test_the_hottest_are_told_and_what_falls_out_is_told_to_be_empty() -> None:
    shop = Shop(1, (EntitySpec("item", 100, 2, of("item")),))

    def views(number: int, item: str, count: int, at_ms: int) -> list[dict[str, Any]]:
        return [told(number + n, f"p{n}", "product_view", at_ms + n, item_id=item)
                for n in range(count)]

    shop.hear([*views(0, "a", 9, START), *views(20, "b", 7, START), *views(40, "c", 5, START)])
    assert {share["segment"] for share in shop.tell()} == {"a", "b"}
    assert shop.tell() == [], "nothing changed"
    shop.hear(views(60, "c", 30, START + 1000))
    said = {share["segment"]: share for share in shop.tell()}
    assert said.keys() == {"b", "c"} and said["b"]["row"] == b"" and said["c"]["members"] > 10
    assert ("t", "item", "b") not in shop.side.rolls, "nothing is kept of what nobody speaks of"
    assert shop.things.people("t", "item", "b", START) == 0
    assert shop.things.of("t", "item", "b", START) is None


def test_things_are_told_sooner_where_a_tenants_time_runs_fast() -> None:
    shop = Shop(1, (EntitySpec("item", 100, 2, of("item")),))
    marks, said = shop.states[0].watermarks, []
    for people, (after_ms, moved_ms) in enumerate((
            (40_000, DAY_MS), (4_000, DAY_MS), (1_000, 0), (20_000, HOUR_MS), (10_000, HOUR_MS),
            (6_000, 3 * HOUR_MS), (6_000, 3 * HOUR_MS))):
        marks.advance("t", 0, max(START, marks.of("t")) + moved_ms)
        shop.hear([told(people, f"p{people}", "product_view", START, item_id="a")])
        said.append([share["members"] for share in shop.tell(after_ms)])
    assert said == [[1], [], [3], [], [5], [], [7]]


@pytest.mark.parametrize("partitions", [1, 3])
def test_people_whom_a_thing_was_last_named_by_long_ago_count_no_more(partitions: int) -> None:
    spec = EntitySpec("item", 100, 100, of("item")[:3])
    log = [told(n, f"p{n}", "product_view", START + n * DAY_MS, item_id="a") for n in range(12)]
    shop = Shop(partitions, (spec,), people_min=5)
    shop.hear(log)
    shop.tell()
    spoken_of = []
    for day in range(11, 60):
        at_ms = START + day * DAY_MS
        people, _ = twin(log, spec, "a", at_ms)
        assert shop.things.people("t", "item", "a", at_ms) == people
        said = shop.things.of("t", "item", "a", at_ms)
        assert (said is not None) == (people >= 5), day
        spoken_of.append(said is not None)
    assert spoken_of[0] and not spoken_of[-1], "nobody has named it for more than a month"


def test_the_next_owner_says_over_what_one_before_it_said() -> None:
    spec = (EntitySpec("item", 100, 5, of("item")),)
    before, after = Shop(1, spec), Shop(1, spec)
    before.hear([told(n, f"p{n}", "product_view", START, item_id="old") for n in range(5)])
    after.side = before.side
    after.__post_init__()
    stale = before.tell()
    after.hear([told(n, f"p{n}", "product_view", START, item_id="new") for n in range(5)])
    said = {share["segment"]: share["row"] != b"" for share in after.tell()}
    assert said == {"old": False, "new": True}
    after.side.take("segments.rolled", stale[0])        # a zombie's, of what is gone
    assert [(share["segment"], share["row"]) for share in after.tell()] == [("old", b"")]
    newest = after.side.rolls["t", "item", "new"][0]
    after.side.take("segments.rolled", {**newest, "epoch": -1})     # and of what there is
    assert [share["segment"] for share in after.tell()] == ["new"] and not after.side.overtaken
    assert after.tell() == []


def test_a_decision_holds_what_all_partitions_say_of_its_item() -> None:
    log = [{**event, "item_id": "i1" if event["event_type"] == "search" else event["item_id"]}
           for event in events(5, 300)]
    shop = Shop(3, SPECS, people_min=3, playbooks=(ASKS,))
    shop.hear(log)
    shop.tell()
    shop.side.take("catalogue.items", {"tenant": "t", "item_id": "i0", "category": "hats"})
    at_ms = log[-1]["event_ms"]
    (made,) = shop.hear([told(900, "p1", "product_view", at_ms, item_id="i0")])
    held = orjson.loads(made["features_json"])
    assert held["item"] == {"i0": shop.things.of("t", "item", "i0", at_ms)}
    assert held["category"] == {"hats": shop.things.of("t", "category", "hats", at_ms)}
    assert held["orders"]["value"] is not None and held["item"]["i0"]["people"] >= 3
    _, values = twin(log, SPECS[0], "i0", at_ms)
    assert held["item"]["i0"]["item_views_1d"]["value"] == values["item_views_1d"]


def test_things_of_few_people_are_not_spoken_of() -> None:
    shop = Shop(2, SPECS, people_min=4, playbooks=(ASKS,))
    log = [told(n, f"p{n % 3}", "product_view", START + n, item_id="few") for n in range(30)]
    log += [told(100 + n, f"p{n % 4}", "product_view", START + n, item_id="enough")
            for n in range(8)]
    shop.hear(log)
    shop.tell()
    assert shop.things.of("t", "item", "few", START) is None
    assert shop.things.of("t", "item", "enough", START + 8) is not None
    made = shop.hear([told(900 + n, "p9", "product_view", START + n, item_id=item)
                      for n, item in enumerate(("few", "enough"))])
    assert [sorted(orjson.loads(each["features_json"]).get("item", {})) for each in made] == [
        [], ["enough"]]


def test_a_value_above_the_declared_one_makes_a_bestseller() -> None:
    spec = EntitySpec("item", 100, 100, of("item", bestseller_from=5.0))
    shop = Shop(1, (spec,))
    shop.hear([told(n, f"p{n}", "product_view", START + n, item_id="hot" if n < 5 else "mild")
               for n in range(9)])
    shop.tell()
    for name, is_one in (("hot", True), ("mild", False)):
        found = shop.things.of("t", "item", name, START + 10)
        assert found is not None and found.get("bestseller", False) is is_one
    late = shop.things.of("t", "item", "hot", START + 3 * DAY_MS)
    assert late is not None and "bestseller" not in late, "it is one while the window holds it"


def test_a_new_feature_of_things_says_since_when_it_counts() -> None:
    views = FeatureSpec("views_30d", "product_view", "count", 30 * DAY_MS)
    more = FeatureSpec("sold_30d", "purchase", "count", 30 * DAY_MS)
    old, new = (Shop(1, (EntitySpec("item", 100, 100, specs),))
                for specs in ((views,), (views, more)))
    old.hear([told(n, f"p{n}", "product_view", START + n, item_id="a") for n in range(3)])
    tables = tables_of(old.states[0])
    keys = tables.take_dirty()
    changelog = [(key, tables.encode(key)) for key in keys]
    assert {key[:1] for key in keys} >= {b"\x00", b"\x02"} and keys[-1].startswith(b"p")
    assert tables.encode_all(keys, b"8 bytes!") == [b"8 bytes!" + (row or b"")
                                                    for _, row in changelog]
    fresh = new.logic.make_slab()
    for key, value in changelog:
        fresh.apply(key, value)
    fresh.settle()
    new.states[0].slab = fresh
    new.logic.recovered(new.states[0])
    new.hear([told(10, "p9", "purchase", START + DAY_MS, item_id="a")])
    new.tell()
    found = new.things.of_moment(fresh.entities, "t", ["a"], START + DAY_MS)["item"]["a"]
    assert (found["views_30d"]["value"], found["sold_30d"]["value"]) == (3.0, 1.0)
    assert "since_ms" not in found["views_30d"] and found["sold_30d"]["since_ms"] == START + 2


def test_things_that_are_declared_no_more_are_cleared() -> None:
    shop, none = Shop(1, SPECS[:1]), Shop(1, ())
    shop.hear(events(1, 20))
    tables, later = tables_of(shop.states[0]), none.logic.make_slab()
    keys = [key for key in tables.take_dirty() if key.startswith(b"\x02")]
    assert len(keys) > 4
    for key in keys:
        later.apply(key, tables.encode(key))
    later.settle()
    assert len(later) == 0 and {later.encode(key) for key in keys} == {None}


FILE = """version: 1
purpose: personalise
features:
  orders: {event: purchase, kind: lifetime}
  item_views: {entity: item, event: product_view, kind: count, window: 1h, bestseller_from: 50}
  by_color: {entity: property.color, event: '*', kind: distinct, window: 7d}
entities:
  item: {keep: 5000, tell: 100}
  property.color: {keep: 50}
"""


def test_entities_are_declared_beside_features(tmp_path: Path) -> None:
    (tmp_path / "features.yml").write_text(FILE)
    (tmp_path / "segments.yml").write_text(
        "version: 1\nsegments:\n  s: {feature: orders, at_least: 1}\n")
    found = load(tmp_path)
    assert [spec.name for spec in found.features] == ["orders"] == [s.name for s in PERSON]
    assert [(e.name, e.keep, e.tell, [f.name for f in e.features]) for e in found.entities] == [
        ("item", 5000, 100, ["item_views"]), ("property.color", 50, 200, ["by_color"])]
    assert Things(found.entities, Shop(1, ()).side, people_min=1).names == [
        "item", "property.color"]


@pytest.mark.parametrize(("old", "new", "line", "says"), [
    ("keep: 5000", "keep: 1000000", 8, "keep is 1000000"),
    ("item: {keep: 5000, tell: 100}", "category: {keep: 100}", 5, "any number of them"),
    ("kind: count, window: 1h", "kind: mean_gap", 5, "a mean_gap of things"),
    ("kind: distinct, window", "kind: distinct, of: category, window", 6, "leave 'of' out"),
    ("entity: item", "entity: shop", 5, "entity"),
    ("  item_views:", "  item:", 5, "another name"),
    ("entity: property.color, event: '*'", "entity: property.color, bestseller_from: 1, "
     "event: '*'", 6, "only items"),
    ("kind: count, window: 1h", "kind: count, window: 1h, back_off: {below: 2}", 5, "lean"),
    ("keep: 5000", "keep: 100000", 8, "MB per tenant and partition"),
])
def test_what_cannot_be_kept_is_refused_with_its_line(tmp_path: Path, old: str, new: str,
                                                      line: int, says: str) -> None:
    assert old in FILE
    (tmp_path / "features.yml").write_text(FILE.replace(old, new))
    faults = check(tmp_path)
    assert any(fault.line == line and says in str(fault) for fault in faults), faults
