"""Dispatch: did the channel take it, once?

In       a Parcel, a channel, the circuit of that channel, a clock
Out      Dispatched: sent, skipped (message_expired, consent_withdrawn) or failed (channel_refused,
         channel_down)
Keeps    the circuit: is the channel up, and whose turn is it to look?
Refuses  message_expired, consent_withdrawn, channel_refused, channel_down
Time     the clock port; jitter comes from the decision's id, not from dice

A server that answers "later" gets five tries a message, with back-off. A server that does not
answer opens the circuit: then all messages wait while one of them looks once a second, so an outage
costs one connection a second however many messages stand in line, and nothing is burnt by it. A
message stops waiting when it is no longer useful, or when the batch has waited `patience_ms`.
Consent is looked at once more before each try, with nothing awaited in between: who withdraws while
a message waits does not get it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from streams.deliver.ports import ChannelPort, Clock, Parcel, Reply
from streams.kernel import ids

BACKOFF_FIRST_MS: Final = 250
BACKOFF_MS_MAX: Final = 8_000
PROBE_EVERY_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one message may go on trying. Both moments are of the wall clock.

    attempts_max    answers of "later" before giving up
    useful_ms       until when the message is worth sending
    patience_ms     until when the walk waits for a channel that is down
    """

    attempts_max: int
    useful_ms: int
    patience_ms: int


@dataclass(frozen=True, slots=True)
class Dispatched:
    """`at_ms`: wall clock of the end; `detail` the server's words."""

    state: Literal["sent", "skipped", "failed"]
    reason: str
    attempts: int
    at_ms: int
    reply: Reply | None = None


def backoff_ms(decision_id: str, attempt: int) -> int:
    """Wait after the `attempt`-th try (from 1): doubling, capped, half of it jitter."""
    span_ms = min(BACKOFF_MS_MAX, BACKOFF_FIRST_MS << min(attempt - 1, 16))
    return round(span_ms * (0.5 + ids.unit_interval("backoff", f"{decision_id}:{attempt}")))


class Circuit:
    """Is the channel up? While it is down, one caller a second is let through to look."""

    def __init__(self) -> None:
        self._probe_ms: int | None = None

    @property
    def is_open(self) -> bool:
        """True while the channel is held to be down."""
        return self._probe_ms is not None

    def wait_ms(self, now_ms: int) -> int:
        """0: go (and, when the circuit is open, you are the one who looks). Else wait so long."""
        if self._probe_ms is None:
            return 0
        if now_ms >= self._probe_ms:
            self._probe_ms = now_ms + PROBE_EVERY_MS
            return 0
        return self._probe_ms - now_ms

    def answered(self) -> None:
        self._probe_ms = None

    def silent(self, now_ms: int) -> None:
        self._probe_ms = now_ms + PROBE_EVERY_MS


@dataclass(slots=True)
class Line:
    """One channel with its circuit and the number of parcels it may carry at once."""

    channel: ChannelPort
    circuit: Circuit
    slots: asyncio.Semaphore

    async def try_once(self, parcel: Parcel, clock: Clock,
                       agreed: Callable[[], bool]) -> Reply | int | None:
        """The channel's reply, how long to wait because the circuit is open, or None when the
        person no longer agrees.
        """
        async with self.slots:
            if not agreed():
                return None
            wait_ms = self.circuit.wait_ms(clock.now_ms())
            if wait_ms:
                return wait_ms
            reply = await self.channel.send(parcel)
        if reply.verdict == "down":
            self.circuit.silent(clock.now_ms())
        else:
            self.circuit.answered()
        return reply


async def dispatch(parcel: Parcel, line: Line, clock: Clock, limits: Limits,
                   agreed: Callable[[], bool]) -> Dispatched:
    """Carry one parcel to its end. `agreed`: does the person agree to it at this moment?"""
    attempts = laters = 0
    while True:
        now_ms = clock.now_ms()
        if now_ms > limits.useful_ms:
            return Dispatched("skipped", "message_expired", attempts, now_ms)
        said = await line.try_once(parcel, clock, agreed)
        now_ms = clock.now_ms()
        if said is None:
            return Dispatched("skipped", "consent_withdrawn", attempts, now_ms)
        if isinstance(said, int):
            wait_ms = said
        else:
            attempts += 1
            if said.verdict == "taken":
                return Dispatched("sent", "", attempts, now_ms, said)
            if said.verdict == "refused":
                return Dispatched("failed", "channel_refused", attempts, now_ms, said)
            laters += said.verdict == "later"
            if laters >= limits.attempts_max:
                return Dispatched("failed", "channel_down", attempts, now_ms, said)
            wait_ms = (PROBE_EVERY_MS if said.verdict == "down"
                       else backoff_ms(parcel.decision_id, laters))
        if line.circuit.is_open and now_ms + wait_ms > limits.patience_ms:
            reply = None if isinstance(said, int) else said
            return Dispatched("failed", "channel_down", attempts, now_ms, reply)
        await clock.sleep_ms(min(wait_ms, max(1, limits.useful_ms + 1 - now_ms)))
