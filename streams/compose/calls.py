"""Calls: every model call passes here: is it worth it, allowed, affordable and in time?

The order of the questions is the order of their price: value, circuit, time, budget. Money is
reserved for the worst case before the call and settled after it, whatever happens in between.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from streams.compose.circuit import Circuit
from streams.compose.generation import ModelCall, ModelPort, ModelReply, tokens_of
from streams.compose.ladder import Climb
from streams.cost.ledger import Ledger
from streams.cost.price_book import PriceBook, Tokens
from streams.kernel.moments import DAY_MS

_WAIT_MS_MIN = 20
_TOKENS_OUT_USUAL = 120


@dataclass(frozen=True, slots=True)
class ComposeParams:
    """What the settings say about composing.

    wait_ms             longest wait for one model call
    calls_max           model calls in flight at once
    frontier_segments   whose messages the frontier model writes first
    lift_assumed        share of messages believed to bring one more conversion; a call must cost
                        less than the value of that. The hold-out measures the true one
    facts_age_ms_max    older facts are not stated any more
    walk_waits_max      waits that one batch may queue up for a lane before it does without
    """

    model_frontier: str = "gpt-6.1-sol"
    model_small: str = "gpt-6-luna"
    wait_ms: int = 2500
    calls_max: int = 16
    frontier_segments: tuple[str, ...] = ("vip",)
    lift_assumed: float = 0.005
    facts_age_ms_max: int = 90 * DAY_MS
    walk_waits_max: int = 4
    circuit_failures_max: int = 5
    circuit_rest_ms: int = 30_000

    def models(self, *, frontier: bool) -> tuple[tuple[str, str], ...]:
        """(rung, model) from the top of the ladder; a model without a name has no rung."""
        rungs = (("frontier", self.model_frontier if frontier else ""),
                 ("small", self.model_small))
        return tuple((rung, model) for rung, model in rungs if model)


@dataclass(slots=True)
class Lane:
    """One of the calls in flight at once; `spent_ms` of this batch, as the port measured it."""

    spent_ms: int = 0


@dataclass(slots=True)
class Flight:
    """One decision's calls: its purse and its time. `billed`: (micro-dollars, estimated)."""

    playbook: str
    value_micros: int
    now_ms: int
    left_ms: int
    lane: Lane
    ledger: Ledger
    spent_ms: int = 0
    billed: list[tuple[int, bool]] = field(default_factory=list)


class Calls:
    def __init__(self, writer: ModelPort, prices: PriceBook, params: ComposeParams) -> None:
        self._writer, self._prices, self._params = writer, prices, params
        self._circuits: dict[str, Circuit] = {}
        self._free = asyncio.Semaphore(params.calls_max)

    async def answer(self, call: ModelCall, flight: Flight) -> ModelReply:
        """The reply to one call; `not_made` with the reason when it was not to be made."""
        async with self._free:
            now_ms = flight.now_ms + flight.lane.spent_ms
            wait_ms = self._wait_ms(flight)
            if not self._is_worth(call, flight, now_ms):
                return ModelReply("not_made", detail="not_worth_it")
            if wait_ms < _WAIT_MS_MIN:
                return ModelReply("not_made", detail="deadline")
            worst = Tokens(call.tokens_in_max, call.tokens_out_max)
            held = flight.ledger.reserve(
                flight.playbook, self._prices.price(call.model, worst, now_ms), now_ms)
            if held is None:
                return ModelReply("not_made", detail="budget_exhausted")
            if not self._circuit(call.model).allows(now_ms):
                flight.ledger.release(held)
                return ModelReply("not_made", detail="circuit_open")
            cost_micros = held.usd_micros
            try:
                reply = _measured(call, await self._writer.complete(
                    replace(call, wait_ms=wait_ms)))
                cost_micros = self._bill(call, reply, flight, now_ms)
            finally:
                flight.ledger.settle(held, cost_micros)
            if reply.result != "ok":
                self._circuit(call.model).failed(now_ms + reply.took_ms)
            return reply

    def judge(self, climbed: Climb, flight: Flight) -> None:
        """Tell each model's circuit whether its answers could be used."""
        for asked in climbed.asked:
            if asked.reply.result == "ok":
                circuit = self._circuit(asked.call.model)
                if asked.rejected:
                    circuit.failed(flight.now_ms + flight.lane.spent_ms)
                else:
                    circuit.succeeded()

    def _wait_ms(self, flight: Flight) -> int:
        """How long this call may take, by the limits of call, climb, message and batch."""
        params = self._params
        return min(params.wait_ms, 2 * params.wait_ms - flight.spent_ms,
                   flight.left_ms - flight.lane.spent_ms,
                   params.walk_waits_max * params.wait_ms - flight.lane.spent_ms)

    def _is_worth(self, call: ModelCall, flight: Flight, now_ms: int) -> bool:
        """Whether the usual price is below the expected value; unknown values are worth it."""
        if flight.value_micros <= 0:
            return True
        usual = Tokens(tokens_of(call.system) + tokens_of(call.user), _TOKENS_OUT_USUAL)
        usual_micros = self._prices.price(call.model, usual, now_ms)
        return usual_micros <= flight.value_micros * self._params.lift_assumed

    def _bill(self, call: ModelCall, reply: ModelReply, flight: Flight, now_ms: int) -> int:
        """Book time and money of a reply; what may have been billed counts as billed."""
        flight.spent_ms += reply.took_ms
        flight.lane.spent_ms += reply.took_ms
        tokens = Tokens(reply.tokens_in, reply.tokens_out,
                        min(reply.tokens_cached, reply.tokens_in))
        cost_micros = self._prices.price(call.model, tokens, now_ms) if reply.billable else 0
        flight.billed.append((cost_micros,
                              reply.estimated or not self._prices.knows(call.model)))
        return cost_micros

    def _circuit(self, model: str) -> Circuit:
        return self._circuits.setdefault(model, Circuit(
            self._params.circuit_failures_max, self._params.circuit_rest_ms))


def _measured(call: ModelCall, reply: ModelReply) -> ModelReply:
    """The reply with token counts: estimated where the server told none.

    A call that ran out of time may have been read and answered: it counts as read in full and
    answered in full.
    """
    if not reply.billable or (reply.result == "ok" and not reply.estimated):
        return reply
    tokens_out = tokens_of(reply.text) if reply.result == "ok" else call.tokens_out_max
    return replace(reply, estimated=True, tokens_out=min(tokens_out, call.tokens_out_max),
                   tokens_in=tokens_of(call.system) + tokens_of(call.user))
