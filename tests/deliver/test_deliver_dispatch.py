"""Dispatch: retries, the circuit, and when to stop trying. Time is the test's own."""

from __future__ import annotations

import asyncio

import pytest
from deliver_parts import NOW_MS, Clock, Scripted
from hypothesis import given
from hypothesis import strategies as st

from streams.deliver.dispatch import (
    BACKOFF_MS_MAX,
    Circuit,
    Dispatched,
    Limits,
    Line,
    backoff_ms,
    dispatch,
)
from streams.deliver.ports import Parcel, Reply

TAKEN, LATER, DOWN = Reply("taken", "OK"), Reply("later", "451"), Reply("down", "refused")
REFUSED = Reply("refused", "550", bounced=True)
HOUR_MS = 3_600_000

CASES = [
    # what the channel says        useful     patience   state      reason             attempts
    ([TAKEN],                      HOUR_MS,   HOUR_MS,   "sent",    "",                1),
    ([LATER, LATER, TAKEN],        HOUR_MS,   HOUR_MS,   "sent",    "",                3),
    ([LATER] * 9,                  HOUR_MS,   HOUR_MS,   "failed",  "channel_down",    5),
    ([REFUSED],                    HOUR_MS,   HOUR_MS,   "failed",  "channel_refused", 1),
    ([LATER, REFUSED],             HOUR_MS,   HOUR_MS,   "failed",  "channel_refused", 2),
    ([DOWN] * 30 + [TAKEN],        HOUR_MS,   HOUR_MS,   "sent",    "",                31),
    ([DOWN] * 99,                  HOUR_MS,   10_000,    "failed",  "channel_down",    11),
    ([DOWN] * 99,                  5_000,     HOUR_MS,   "skipped", "message_expired", 6),
    ([LATER] * 9,                  300,       HOUR_MS,   "skipped", "message_expired", None),
    ([TAKEN],                      -1,        HOUR_MS,   "skipped", "message_expired", 0),
]


def line(channel: Scripted) -> Line:
    return Line(channel, Circuit(), asyncio.Semaphore(16))


def carry(where: Line, decision_id: str, useful_ms: int, patience_ms: int,
          clock: Clock) -> Dispatched:
    limits = Limits(5, NOW_MS + useful_ms, NOW_MS + patience_ms)
    return asyncio.run(dispatch(Parcel(decision_id, "a@b.example", b"", ""), where, clock, limits,
                                agreed=lambda: True))


@pytest.mark.parametrize(("said", "useful_ms", "patience_ms", "state", "reason", "attempts"), CASES)
def test_a_parcel_comes_to_its_end(said: list[Reply], useful_ms: int, patience_ms: int, state: str,
                                   reason: str, attempts: int | None) -> None:
    channel = Scripted(*said)
    done = carry(line(channel), "d1", useful_ms, patience_ms, Clock())
    assert (done.state, done.reason) == (state, reason)
    assert attempts is None or done.attempts == attempts == len(channel.parcels)


def test_an_outage_costs_one_look_a_second_however_many_stand_in_line() -> None:
    channel, clock = Scripted(*[DOWN] * 25), Clock()

    async def everyone() -> list[Dispatched]:
        where = line(channel)
        limits = Limits(5, NOW_MS + HOUR_MS, NOW_MS + HOUR_MS)
        return list(await asyncio.gather(*(
            dispatch(Parcel(f"d{at}", "", b"", ""), where, clock, limits, agreed=lambda: True)
            for at in range(200))))

    done = asyncio.run(everyone())
    assert {each.state for each in done} == {"sent"}
    assert len(channel.parcels) == 200 + 25
    # the first sixteen find out together, the rest looks once a second
    assert clock.now_ms() >= NOW_MS + (25 - 16) * 1000


def test_the_circuit_lets_one_through_a_second() -> None:
    circuit = Circuit()
    assert circuit.wait_ms(0) == 0 and not circuit.is_open
    circuit.silent(0)
    assert circuit.is_open and circuit.wait_ms(400) == 600
    assert circuit.wait_ms(1000) == 0
    assert circuit.wait_ms(1001) == 999
    circuit.answered()
    assert circuit.wait_ms(1002) == 0 and not circuit.is_open


@given(st.text(max_size=32), st.integers(1, 100))
def test_back_off_doubles_up_to_a_limit_with_the_ids_own_jitter(name: str, attempt: int) -> None:
    span_ms = min(BACKOFF_MS_MAX, 250 * 2 ** (attempt - 1))
    wait_ms = backoff_ms(name, attempt)
    assert 0.5 * span_ms <= wait_ms <= 1.5 * span_ms
    assert wait_ms == backoff_ms(name, attempt)
