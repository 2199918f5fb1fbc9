"""Whoever turns out to be known under other ids waits for what is known of them, and no longer."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.choose import awaiting


@given(ids=st.lists(st.integers(0, 90), max_size=80), seed=st.integers(0, 2**16))
def test_nobody_is_awaited_when_all_have_answered_in_whatever_order(
        ids: list[int], seed: int) -> None:
    heard = [(f"v{n}", answers) for n in ids for answers in (1, -1)]
    random.Random(seed).shuffle(heard)
    tail: dict[str, Any] = {}
    for visitor, answers in heard:
        awaiting.count(tail, visitor, answers)
    assert tail == {}


@pytest.mark.parametrize("many", [1, awaiting.VISITORS_MAX, 3 * awaiting.VISITORS_MAX])
def test_all_who_are_announced_are_awaited_until_the_last_has_answered(many: int) -> None:
    tail: dict[str, Any] = {}
    for n in range(many):
        awaiting.count(tail, f"v{n}", 1)
    for n in reversed(range(many)):
        assert awaiting.is_awaiting(tail)
        awaiting.count(tail, f"v{n}", -1)
    assert not awaiting.is_awaiting(tail)


def test_an_answer_before_its_announcement_does_not_stand_in_for_another() -> None:
    tail: dict[str, Any] = {}
    awaiting.count(tail, "early", -1)
    awaiting.count(tail, "other", 1)
    assert awaiting.is_awaiting(tail)
    awaiting.count(tail, "other", -1)
    assert not awaiting.is_awaiting(tail)


def test_what_a_person_keeps_of_those_awaited_is_bounded() -> None:
    tail: dict[str, Any] = {}
    for n in range(10_000):
        awaiting.count(tail, f"v{n}", 1)
    assert len(str(tail)) < 1000 and awaiting.is_awaiting(tail)
