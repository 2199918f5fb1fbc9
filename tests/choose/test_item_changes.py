"""Changes of items wait for their moment, once, in bounds, whatever order they came in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import contract
from streams.choose import item_changes
from streams.choose.item_changes import CHANGES_MAX, DAYS_MAX, keep, take, take_passed
from streams.engine.records import Out, Record
from streams.kernel.moments import DAY_MS


def change(item_id: str, as_of_ms: int, price: int = 1, tenant: str = "shop") -> dict[str, Any]:
    return {"tenant": tenant, "item_id": item_id, "as_of_ms": as_of_ms, "price_before_micros": 9,
            "price_micros": price, "currency": "EUR", "was_in_stock": True, "in_stock": True}


CHANGES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 3)),
                   max_size=20)


@given(CHANGES, st.lists(st.integers(0, 10), min_size=1, max_size=5), st.integers(0, 10**6))
def test_each_different_change_passes_once_in_the_order_of_time(
        told: list[tuple[str, int, int]], marks: list[int], seed: int) -> None:
    notes: dict[str, Any] = {}
    again = told + told[:4]
    random.Random(seed).shuffle(again)
    kept = [each for each in again if keep(notes, change(*each), ())]
    notes = orjson.loads(orjson.dumps(notes))           # as through a checkpoint
    found = []
    for now_ms in sorted(marks):
        passed = [(c.item_id, c.as_of_ms, c.price_micros)
                  for c in take_passed(notes, "shop", now_ms)]
        assert passed == sorted(passed, key=lambda c: (c[1], c[0], c[2]))
        assert all(c[1] <= now_ms for c in passed)
        found += passed
    assert sorted(found) == sorted(each for each in set(kept) if each[1] <= max(marks))
    assert not take_passed(notes, "other", 99)
    take_passed(notes, "shop", 99)
    assert not notes.get("changes"), "nothing is left behind"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(item_changes, "WAITING_FREELY", 2)
    monkeypatch.setattr(item_changes, "WAITING_MAX", 4)
    yield


def test_beyond_the_bounds_what_somebody_cares_for_waits_first(narrow: None) -> None:
    notes: dict[str, Any] = {}
    said = [keep(notes, change(item, 5), {"x", "y", "z"}) for item in "abcxyz"]
    assert said == [True, True, False, True, True, False], "no room for c, nor for z"
    assert [c.item_id for c in take_passed(notes, "shop", 5)] == ["a", "b", "x", "y"]
    assert keep(notes, change("z", 6), ()), "room again"


def test_one_item_cannot_take_all_the_room() -> None:
    notes: dict[str, Any] = {}
    said = [keep(notes, change("a", at_ms), ()) for at_ms in range(CHANGES_MAX + 1)]
    assert said == [True] * CHANGES_MAX + [False]
    assert keep(notes, change("a", 0), ()), "told again, it waits already"


def refusals(notes: dict[str, Any], told: list[dict[str, Any]],
             cared_for: set[str]) -> list[tuple[str, int, str]]:
    out, refusal = Out("choose", 0), contract("refusals.recorded")
    for n, each in enumerate(told):
        out.at(Record("events.admitted", 0, n, b"k", b"", 0))
        take(notes, each, cared_for, out)
    found = [refusal.decode(each.value or b"") for each in out.emissions]
    assert all((why["outcome"], why["reason"]) == ("refused", "too_many_changes") for why in found)
    return [(why["detail"].split()[1], why["event_ms"], why["detail"]) for why in found]


def test_of_a_sale_of_more_than_there_is_room_for_each_day_is_told_once(narrow: None) -> None:
    notes: dict[str, Any] = {}
    sale = [change(item, day * DAY_MS + n) for day in (3, 4, 3)
            for n, item in enumerate("abcde")]
    found = refusals(notes, sale, set())
    assert [(item, ms) for item, ms, _ in found] == [("c", 3 * DAY_MS + 2), ("c", 4 * DAY_MS + 2)]
    assert all("room for changes of 2 such items" in detail for _, _, detail in found)
    notes = orjson.loads(orjson.dumps(notes))
    assert refusals(notes, sale, set()) == [], "nor after a checkpoint"


def test_a_change_that_somebody_waits_for_is_told_by_itself(narrow: None) -> None:
    notes: dict[str, Any] = {}
    told = [change(item, 5) for item in "abcxyz"]
    assert [item for item, _, _ in refusals(notes, told, {"x", "y", "z"})] == ["c", "z"]
    many = [change("a", at_ms) for at_ms in range(CHANGES_MAX + 1)]
    (found,) = refusals({}, many, set())
    assert found[2] == f"item a: {CHANGES_MAX} changes of it wait already"


def test_the_days_that_were_told_are_bounded(narrow: None) -> None:
    notes: dict[str, Any] = {}
    refusals(notes, [change(item, 0) for item in "ab"], set())
    days = [change("c", day * DAY_MS) for day in range(2 * DAYS_MAX)]
    assert len(refusals(notes, days, set())) == 2 * DAYS_MAX
    assert len(notes["changes_lost"]["shop"]) == DAYS_MAX
    assert refusals(notes, days, set()) == []
