"""Each reason not to send, and the boundary on which it turns."""

from __future__ import annotations

import pytest
from deliver_parts import DAY_MS, MOMENT_MS, NOW_MS, message
from hypothesis import given
from hypothesis import strategies as st

from streams.deliver.recheck import (
    Rules,
    Standing,
    recheck,
    sent_within,
    tenant_now_ms,
    useful_until_wall_ms,
)
from streams.kernel import purposes

UNTIL = message()["useful_until_ms"]
SENT3 = (MOMENT_MS - 1, MOMENT_MS - 2, MOMENT_MS - 7 * DAY_MS + 1)

CASES = [
    # what, message, rules, standing, now, reason
    ("all is well",                        {},                 {},     {},         MOMENT_MS,   ""),
    ("contact was never granted",          {"purposes": 11},   {},     {},         MOMENT_MS,
     "consent_withdrawn"),
    ("contact alone is enough",            {"purposes": 4},    {},     {},         MOMENT_MS,   ""),
    ("contact was withdrawn since",        {},                 {},     {"denied": purposes.CONTACT},
     MOMENT_MS, "consent_withdrawn"),
    ("another purpose was withdrawn",      {},                 {},     {"denied": purposes.TRAIN},
     MOMENT_MS, ""),
    ("the address bounced",                {},                 {},     {"suppressed": True},
     MOMENT_MS, "suppressed"),
    ("the last useful moment",             {},                 {},     {},         UNTIL,       ""),
    ("one millisecond too late",           {},                 {},     {},         UNTIL + 1,
     "message_expired"),
    ("the cap is reached",                 {},                 {},     {"sent_ms": SENT3},
     MOMENT_MS, "capped"),
    ("the oldest has just left the cap",   {},                 {},     {"sent_ms": SENT3},
     MOMENT_MS + 1, ""),
    ("a cap of none",                      {},                 {"cap_messages": 0}, {},
     MOMENT_MS, "capped"),
    ("shadow mode",                        {},                 {"shadow": True}, {}, MOMENT_MS,
     "shadow"),
    ("shadow shows the real reason first", {"purposes": 0},    {"shadow": True}, {}, MOMENT_MS,
     "consent_withdrawn"),
]


@pytest.mark.parametrize(("what", "changes", "rules", "standing", "now_ms", "reason"), CASES,
                         ids=[case[0] for case in CASES])
def test_recheck_gives_the_first_reason_not_to_send(
        what: str, changes: dict, rules: dict, standing: dict, now_ms: int, reason: str) -> None:
    refused = recheck(message(**changes), Rules(**rules), Standing(**standing), now_ms=now_ms)
    assert (refused.reason if refused else "") == reason


def test_tenant_time_goes_on_from_the_moment_of_the_decision() -> None:
    assert tenant_now_ms(message(), wall_ms=NOW_MS + 1500) == MOMENT_MS + 1500


def test_a_wall_clock_that_was_set_back_does_not_turn_tenant_time_back() -> None:
    assert tenant_now_ms(message(), wall_ms=NOW_MS - 10) == MOMENT_MS


@pytest.mark.parametrize("by_wall", [False, True])
@given(passed_ms=st.integers(0, 10_000_000))
def test_both_clocks_expire_a_message_at_the_same_moment(by_wall: bool, passed_ms: int) -> None:
    said, wall_ms = message(), NOW_MS + passed_ms
    of_wall = wall_ms > useful_until_wall_ms(said, by_wall=by_wall)
    of_tenant = tenant_now_ms(said, wall_ms=wall_ms, by_wall=by_wall) > said["useful_until_ms"]
    assert of_wall == of_tenant


def test_a_tenant_by_the_wall_clock_expires_what_was_decided_late() -> None:
    said = message(moment_ms=NOW_MS - 100, useful_until_ms=NOW_MS + 50, decided_ms=NOW_MS)
    assert tenant_now_ms(said, wall_ms=NOW_MS + 60) < said["useful_until_ms"]
    assert tenant_now_ms(said, wall_ms=NOW_MS + 60, by_wall=True) > said["useful_until_ms"]
    assert useful_until_wall_ms(said, by_wall=True) == NOW_MS + 50


@given(st.lists(st.integers(0, 1000)), st.integers(0, 1000), st.integers(1, 500))
def test_the_cap_counts_the_same_in_any_order(sent: list[int], now_ms: int, span_ms: int) -> None:
    count = sent_within(sent, now_ms=now_ms, span_ms=span_ms)
    assert count == sent_within(sent[::-1], now_ms=now_ms, span_ms=span_ms)
    assert count == len([each for each in sent if not each <= now_ms - span_ms])
