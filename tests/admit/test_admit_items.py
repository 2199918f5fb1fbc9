"""What the catalogue says of an item, and when that is a change: against a plain twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from admit_world import NOW_MS, World, event, read
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import contract
from streams.admit import item_changes
from streams.engine.records import Emission, Out, Record
from streams.engine.slab import Slab

MUG = {"tenant": "shop", "item_id": "mug", "title": "Mug", "price_micros": 10_000_000,
       "currency": "EUR", "as_of_ms": NOW_MS}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, partitions=3)


def told(offset: int, item: dict[str, Any] | bytes) -> Record:
    """As a shop's producer appends it; its clock is its own."""
    value = item if isinstance(item, bytes) else contract("catalogue.items").encode(item)
    return Record("catalogue.items", 0, offset, b"shop/mug", value, 5)


def walk(world: World, *items: dict[str, Any] | bytes) -> list[Emission]:
    out = Out("admit", NOW_MS)
    world.logic.walk(world.state, [told(n, item) for n, item in enumerate(items)], out)
    return out.emissions


def changes(emissions: list[Emission]) -> list[tuple[int | None, dict[str, Any]]]:
    return [(e.partition, fields) for e in emissions for name, fields in [read(e)]
            if name == "item_change"]


def test_a_lower_price_is_told_to_every_partition(world: World) -> None:
    found = changes(walk(world, MUG, {**MUG, "as_of_ms": NOW_MS + 1, "price_micros": 8_000_000}))
    assert [partition for partition, _ in found] == [0, 1, 2]
    assert {(f["tenant"], f["item_id"], f["as_of_ms"], f["price_before_micros"], f["price_micros"],
             f["was_in_stock"], f["in_stock"]) for _, f in found} == {
                 ("shop", "mug", NOW_MS + 1, 10_000_000, 8_000_000, True, True)}


def test_what_is_new_said_again_or_older_is_no_change(world: World) -> None:
    assert not changes(walk(world, MUG, {**MUG, "title": "Blue mug", "as_of_ms": NOW_MS + 1}, MUG,
                            {**MUG, "price_micros": 1, "as_of_ms": NOW_MS}))


def test_prices_of_two_currencies_are_not_compared(world: World) -> None:
    [(_, change), *_] = changes(walk(world, MUG, {**MUG, "currency": "GBP", "price_micros": 9}))
    assert (change["price_before_micros"], change["price_micros"]) == (0, 9)


def test_what_was_taken_out_of_the_catalogue_comes_back_into_stock(world: World) -> None:
    assert not changes(walk(world, MUG, b""))
    [(_, change), *_] = changes(walk(world, {**MUG, "as_of_ms": NOW_MS + 1}))
    assert (change["was_in_stock"], change["in_stock"]) == (False, True)


def test_nobodys_tombstone_and_garbage_stop_nobody(world: World) -> None:
    emissions = walk(world, b"", b"not avro", MUG)
    [fields] = [fields for name, fields in map(read, emissions) if name == "events.quarantined"]
    assert (fields["topic"], fields["reason"]) == ("catalogue.items", "bad_avro")
    assert item_changes.item_key("shop", "mug") in world.state.slab


def test_the_catalogue_moves_no_clock_and_forgets_no_id(world: World) -> None:
    """Its records carry the time of whoever produced them, which may be any."""
    world.send(event("1"))
    for far in (5, NOW_MS * 2):
        out = Out("admit", NOW_MS)
        world.logic.walk(world.state, [Record("catalogue.items", 0, 0, b"shop/mug",
                                              contract("catalogue.items").encode(MUG), far)], out)
        assert not [name for name, _ in map(read, out.emissions) if name == "watermark"]
    assert world.words(event("1")) == ["duplicate:duplicate"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 3),
                          st.booleans()), max_size=20), st.integers(0, 20))
def test_it_says_what_the_twin_says_also_after_the_row_went_through_the_changelog(
        words: list[tuple[str, int, int, bool]], crash: int) -> None:
    slab, expected, found = Slab(topics=1), list[Any](), list[Any]()
    newest: dict[str, tuple[int, int, bool]] = {}
    for n, (item_id, at_ms, price, stock) in enumerate(words):
        if n == crash:
            again = Slab(topics=1)
            for key in slab:
                again.apply(key, slab.encode(key))
            slab = again
        before = newest.get(item_id)
        if before is None or at_ms >= before[0]:
            newest[item_id] = at_ms, price, stock
            if before is not None and stock and before[1:] != (price, stock):
                expected.append((item_id, at_ms, *before[1:], price, stock))
        change = item_changes.learn(slab, {**MUG, "item_id": item_id, "as_of_ms": at_ms,
                                           "price_micros": price, "in_stock": stock}, told(n, b""))
        if change is not None:
            found.append(tuple(change[name] for name in (
                "item_id", "as_of_ms", "price_before_micros", "was_in_stock", "price_micros",
                "in_stock")))
    assert found == expected
    assert all(slab.find(item_changes.item_key("shop", item)) is not None for item in newest)
