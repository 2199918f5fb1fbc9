"""Texts: exact while there is room for all, the favourites of a busy person beyond that."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from feature_twin import Fast, Heard
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.choose.features.names import TEXT_BYTES, name_of, shown
from streams.choose.features.rules import compile_rules, members_mask
from streams.choose.features.spec import FeatureSpec
from streams.choose.features.texts import ROOM
from streams.kernel.moments import DAY_MS
from streams.playbooks.conditions import Known, holds, parse_condition

START = 1_700_000_000_000
FAVOURITE = FeatureSpec("favourite", "view", "most_frequent", 30 * DAY_MS, of=("category",), most=1,
                        max_age_ms=60 * DAY_MS)
TOP = FeatureSpec("top", "view", "top_k", 30 * DAY_MS, of=("category",), most=5)
RECENT = FeatureSpec("recent", "*", "unique_list", 7 * DAY_MS, of=("item_id",), most=4)
VIEWS = FeatureSpec("views", "view", "lifetime")
SPECS = (FAVOURITE, TOP, RECENT, VIEWS)


def views(*told: tuple[str, int]) -> list[Heard]:
    """(category, days before START): the item is named as the category."""
    return [Heard(n, "view", START - days * DAY_MS - n, category=category, item=category)
            for n, (category, days) in enumerate(told)]


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_name_is_the_text_or_its_beginning_and_orders_as_its_bytes_do(text: str) -> None:
    told = shown(np.array(name_of(text), np.int64))
    if len(text.encode()) <= TEXT_BYTES:
        assert told == text
    else:
        assert told.endswith("…") and text.startswith(told[:-1])
        assert 28 <= len(told[:-1].encode()) <= 31
        assert name_of(text) != name_of(text + "x")


@given(st.lists(st.text("ab", min_size=1, max_size=45), min_size=2, max_size=2))
def test_names_are_ordered_as_their_texts(pair: list[str]) -> None:
    if all(len(text) <= TEXT_BYTES for text in pair):
        names = [[word % 2**64 for word in name_of(text)] for text in pair]
        assert (names[0] < names[1]) == (pair[0] < pair[1])


def test_the_most_frequent_of_the_window_is_told_and_goes_with_it() -> None:
    row = Fast(SPECS).take(*views(("hats", 20), ("hats", 20), ("shoes", 1), ("", 0), ("", 0)))
    assert (row.value("favourite", START), row.value("top", START)) == ("hats", ["hats", "shoes"])
    later = START + 20 * DAY_MS
    assert (row.value("favourite", later), row.value("top", later)) == ("shoes", ["shoes"])
    assert row.value("favourite", START + 45 * DAY_MS) is None
    assert row.value("recent", START) == ["shoes"]
    assert row.value("recent", START - 2 * DAY_MS) is None


def test_what_is_older_than_its_max_age_is_not_told() -> None:
    row = Fast((FeatureSpec("f", "view", "most_frequent", 30 * DAY_MS, of=("category",), most=1,
                            max_age_ms=DAY_MS),)).take(*views(("hats", 0)))
    assert row.value("f", START + DAY_MS) == "hats"
    assert row.value("f", START + DAY_MS + 1) is None


@pytest.mark.parametrize("seed", range(6))
def test_a_busy_person_has_their_favourites_among_many_that_came_once(seed: int) -> None:
    dice = random.Random(seed)
    told = [f"c{int(dice.paretovariate(0.9))}" for _ in range(400)]
    events = views(*((name, dice.randrange(25)) for name in told))
    truth = Counter(told)
    assert len(truth) > 4 * ROOM
    top = Fast(SPECS).take(*events).value("top", START)
    best = [count for _, count in truth.most_common(3)]
    assert sum(truth[name] for name in top[:3]) >= 0.75 * sum(best), (top, truth.most_common(5))
    assert Fast(SPECS, wide=True).take(*events).value("favourite", START) == (
        truth.most_common(1)[0][0])


@pytest.mark.parametrize("rule", [
    {"feature": "favourite", "is": "hats"}, {"feature": "favourite", "is": ["boots", "shoes"]},
    {"feature": "top", "has": "shoes"}, {"feature": "recent", "has": ["boots", "gloves"]},
    {"not": {"feature": "recent", "has": "hats"}},
    {"all": [{"feature": "top", "has": "hats"}, {"feature": "views", "at_least": 6}]}])
def test_rules_hold_as_conditions_do(rule: dict[str, object]) -> None:
    kinds = {spec.name: spec.value_is for spec in SPECS}
    condition, dice = parse_condition(rule, features=kinds, segments=()), random.Random(str(rule))
    outcomes = set()
    for _ in range(40):
        row = Fast(SPECS).take(*views(*(
            (dice.choice(("hats", "shoes", "boots", "gloves", "")), dice.randrange(40))
            for _ in range(dice.randrange(12)))))
        at_ms = START + dice.randrange(20) * DAY_MS
        v, rules = row.rows.views, compile_rules([condition], row.layout, ())
        found = members_mask(rules.starts, rules.steps, rules.numbers, row.layout.reads, v.u8,
                             v.u16, v.i64, row.slot, at_ms, np.uint64(0))

        def texts(name: str, row: Fast = row, at_ms: int = at_ms) -> list[str]:
            value = row.value(name, at_ms)
            return [value] if isinstance(value, str) else value or []
        assert bool(found) == holds(condition, lambda name: row.value(name, at_ms),  # noqa: B023
                                    lambda name: False, Known(texts=texts))
        outcomes.add(bool(found))
        assert {row.layout.by_name[name] for name in ("favourite", "top", "recent")} >= {
            *rules.watched.tolist()} - {row.layout.by_name["views"]}
    assert outcomes == {True, False}


def test_a_text_asked_for_as_a_number_and_the_reverse_hold_for_nobody() -> None:
    row = Fast(SPECS).take(*views(("hats", 0)))
    v = row.rows.views
    for rule in ({"feature": "favourite", "at_least": 0}, {"feature": "views", "is": "hats"}):
        condition = parse_condition(rule, features=None, segments=())
        rules = compile_rules([condition], row.layout, ())
        assert not members_mask(rules.starts, rules.steps, rules.numbers, row.layout.reads, v.u8,
                                v.u16, v.i64, row.slot, START, np.uint64(0))
