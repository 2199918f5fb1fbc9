"""Sessions end after a pause; recency, frequency and money have grades."""

from __future__ import annotations

import random

import pytest
from feature_twin import Fast, Heard
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.choose.features.migrating import lacks_since
from streams.choose.features.spec import SESSION_TILES, FeatureSpec
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS

START, GAP = 1_700_000_000_000, 30 * MINUTE_MS
VISITS = FeatureSpec("visits", "*", "sessions", 7 * DAY_MS, gap_ms=GAP)
STEPS = FeatureSpec("steps", "*", "session", gap_ms=GAP, of=("events",))
STAY = FeatureSpec("stay", "*", "session", gap_ms=GAP, of=("length",), max_age_ms=GAP)
RFM = FeatureSpec("rfm", "purchase", "rfm", 365 * DAY_MS, of=("value",), cuts=(
    (7 * DAY_MS, 30 * DAY_MS, 90 * DAY_MS, 180 * DAY_MS), (2, 3, 5, 10),
    (50_000_000, 150_000_000, 500_000_000, 1_000_000_000)))


def row_of(*times: int) -> Fast:
    return Fast((VISITS, STEPS, STAY)).take(*(Heard(n, "view", ms) for n, ms in enumerate(times)))


@settings(deadline=None)
@given(st.integers(0, DAY_MS), st.integers(0, GAP - 1))
def test_a_pause_below_the_gap_ends_nothing(at: int, pause: int) -> None:
    row = row_of(START + at, START + at + pause)
    newest = START + at + pause
    assert (row.value("visits", newest), row.value("steps", newest)) == (1, 2)
    assert row.value("stay", newest) == pause / MINUTE_MS


@settings(deadline=None)
@given(st.integers(0, DAY_MS), st.integers(0, 5 * DAY_MS))
def test_a_pause_of_a_gap_ends_the_session_and_of_a_quarter_more_its_count_too(
        at: int, more: int) -> None:
    row, newest = row_of(START + at, START + at + GAP + more), START + at + GAP + more
    assert (row.value("steps", newest), row.value("stay", newest)) == (1, 0)
    if more >= GAP // 4:
        assert row.value("visits", newest) == 2


@settings(deadline=None)
@given(st.lists(st.integers(0, 60 * 24 * 8), min_size=1, max_size=80), st.randoms())
def test_sessions_do_not_depend_on_the_order_of_arrival(minutes: list[int],
                                                        dice: random.Random) -> None:
    times = [START + minute * MINUTE_MS for minute in minutes]
    shuffled = times[:]
    dice.shuffle(shuffled)
    assert row_of(*times).bytes() == row_of(*shuffled).bytes()


def test_a_session_is_known_for_at_least_fifteen_gaps() -> None:
    times = [START + n * GAP // 2 for n in range(100)]
    row = row_of(*times)
    stay = row.value("stay", times[-1])
    assert stay is not None
    assert (SESSION_TILES - 1) * GAP <= stay * MINUTE_MS <= SESSION_TILES * GAP
    assert row.value("visits", times[-1]) == 1
    assert row.value("stay", times[-1] + GAP + 1) is None, "older than its max_age"


def test_a_late_event_may_join_two_sessions_and_one_behind_the_ring_changes_nothing() -> None:
    row = row_of(START, START + 40 * MINUTE_MS)
    assert (row.value("visits", START + HOUR_MS), row.value("steps", START)) == (2, 1)
    row.take(Heard(8, "view", START + 20 * MINUTE_MS))
    assert (row.value("visits", START + HOUR_MS), row.value("steps", START)) == (1, 3)
    before = row.value("visits", START + HOUR_MS)
    row.take(Heard(9, "view", START - 30 * DAY_MS))
    assert row.value("visits", START + HOUR_MS) == before


@pytest.mark.parametrize(("ages_days", "value", "at_days", "expected"), [
    ([0], 10.0, 0, 511), ([0], 10.0, 7, 511), ([0], 50.0, 8, 412), ([0, 40], 100.0, 31, 323),
    ([0, 1, 2], 500.0, 100, 235), ([0, 1, 2], 500.0, 400, 111)])
def test_grades(ages_days: list[int], value: float, at_days: int, expected: int) -> None:
    row = Fast((RFM,)).take(*(Heard(n, "purchase", START - days * DAY_MS, value)
                              for n, days in enumerate(ages_days)))
    assert row.value("rfm", START + at_days * DAY_MS) == expected


def test_nobody_without_a_purchase_has_grades() -> None:
    assert Fast((RFM,)).value("rfm", START) is None


def test_a_new_session_is_whole_as_soon_as_one_began_after_it_was_declared() -> None:
    reach = SESSION_TILES * GAP
    assert lacks_since(STEPS, START, START + reach, 0) == START
    assert lacks_since(STEPS, START, START + reach + 1, 0) is None
    assert lacks_since(STEPS, START, START + reach + 9, None) == START
    assert lacks_since(VISITS, START, START + 7 * DAY_MS, None) is None
    assert lacks_since(RFM, START, START + 365 * DAY_MS, None) == START
    assert lacks_since(RFM, START, START + 365 * DAY_MS, DAY_MS) is None
    assert lacks_since(RFM, START, START + 365 * DAY_MS, 365 * DAY_MS) == START
