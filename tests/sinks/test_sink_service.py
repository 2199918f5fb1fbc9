"""How the sink waits for what is not there."""

from __future__ import annotations

import logging

import pytest

from sinks.service import BACK_OFF_S_MAX, SAID_AGAIN_S, BackOff


def test_a_long_wait_says_now_and_then_what_it_is_for_by_now(
        caplog: pytest.LogCaptureFixture) -> None:
    paused, now_s = list[bool](), 0.0
    back_off = BackOff(paused.append)
    with caplog.at_level(logging.WARNING, "kairos.sink"):
        while now_s < 4 * SAID_AGAIN_S:
            back_off.failed("ClickHouse is away" if now_s < SAID_AGAIN_S else "Kafka is", now_s)
            assert back_off.waiting(now_s)
            assert 0 < back_off.until_s - now_s <= 1.2 * BACK_OFF_S_MAX
            now_s = back_off.until_s
        back_off.succeeded(now_s)
    first, *again, last = [record.getMessage() for record in caplog.records]
    assert first.endswith("nothing is lost: ClickHouse is away") and last.startswith("going on")
    assert 2 <= len(again) <= 4
    assert all(text.startswith("still waiting") and text.endswith("Kafka is") for text in again)
    assert paused == [True, False] and not back_off.waiting(now_s)


def test_a_new_wait_begins_with_short_steps_again() -> None:
    back_off = BackOff(lambda paused: None)
    for _ in range(9):
        back_off.failed("away", back_off.until_s)
    back_off.succeeded(back_off.until_s)
    back_off.failed("away", 1000.0)
    assert back_off.until_s - 1000.0 < 1.0
