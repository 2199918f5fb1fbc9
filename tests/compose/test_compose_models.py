"""Model calls against a real HTTP server that behaves well or badly: a valid message every time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from compose_world import (
    NOW_MS,
    YAML,
    decision,
    logic,
    of_topic,
    partition,
    record_of,
    records,
    side,
    walk,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from model_server import GOOD, WRONG_PRICE, serving

from streams.adapters.models import OpenAIWriter, compose_logic
from streams.compose.circuit import Circuit
from streams.compose.generation import ModelCall, ModelReply
from streams.engine.records import Emission
from streams.kernel.moments import DAY_MS
from streams.kernel.side_inputs import SideInputs
from streams.settings import Settings

# behaviour -> rung of the message, results of the cost lines, first word in gates_json
LADDER: list[tuple[str, str, list[str], str]] = [
    ("good", "small", ["ok"], "structure"),
    ("fenced", "small", ["ok"], "structure"),
    ("no usage", "small", ["ok"], "structure"),
    ("picky", "small", ["ok"], "structure"),
    ("mends", "small", ["rejected", "ok"], "facts"),
    ("hangs", "grammar", ["timeout"], "call"),
    ("trickles", "grammar", ["timeout"], "call"),
    ("html", "grammar", ["rejected", "rejected"], "structure"),
    ("prose", "grammar", ["rejected", "rejected"], "structure"),
    ("wrong price", "grammar", ["rejected", "rejected"], "facts"),
    ("refusal", "grammar", ["rejected", "rejected"], "structure"),
    ("no choices", "grammar", ["rejected", "rejected"], "structure"),
    ("json list", "grammar", None, ""),          # type: ignore[list-item]
    ("429", "grammar", ["error"], "call"),
    ("500", "grammar", ["error"], "call"),
    ("401", "grammar", ["error"], "call"),
]


async def composed(behaviour: str, count: int = 1,
                   **params: Any) -> tuple[list[Emission], list[dict[str, Any]]]:
    async with serving(behaviour) as (url, seen):
        writer = OpenAIWriter(url, "")
        try:
            batch = records([decision(n) for n in range(count)])
            # Patience decides nothing but where the server has none: a busy machine may be slow.
            wait_ms = 600 if behaviour in ("hangs", "trickles") else 30_000
            stage = logic(writer=writer, **{"wait_ms": wait_ms, **params})
            return await walk(stage, batch), seen.bodies
        finally:
            await writer.close()


@pytest.mark.parametrize(("behaviour", "rung", "results", "gate"), LADDER,
                         ids=[row[0] for row in LADDER])
def test_whatever_the_server_does_a_valid_message_comes_of_it(
        behaviour: str, rung: str, results: list[str] | None, gate: str) -> None:
    emissions, bodies = asyncio.run(composed(behaviour))
    message, = of_topic(emissions, "messages.ready")
    costs = of_topic(emissions, "costs.incurred")
    assert message["rung"] == rung
    assert "{item." not in message["body"] and "1.99" not in message["body"]
    if results is not None:
        assert [cost["result"] for cost in costs] == results
        assert next(iter(orjson.loads(message["gates_json"])[0]["gates"])) == gate
    assert sum(cost["cost_usd_micros"] for cost in costs) == message["cost_usd_micros"]
    assert len(bodies) <= 2 + (behaviour == "picky")


def test_usage_is_booked_as_reported_and_estimated_when_it_is_not() -> None:
    cost, = of_topic(asyncio.run(composed("good"))[0], "costs.incurred")
    # 300 fresh at 0.10, 500 cached at 0.01, 100 written at 0.50 dollars per million
    assert (cost["cost_usd_micros"], cost["estimated"], cost["tokens_cached"]) == (85, False, 500)
    cost, = of_topic(asyncio.run(composed("no usage"))[0], "costs.incurred")
    assert cost["estimated"] and cost["tokens_in"] > 100 and cost["cost_usd_micros"] > 0


def test_a_timeout_may_have_been_billed_and_an_error_was_not() -> None:
    cost, = of_topic(asyncio.run(composed("hangs"))[0], "costs.incurred")
    assert cost["estimated"] and cost["cost_usd_micros"] > 0
    cost, = of_topic(asyncio.run(composed("429"))[0], "costs.incurred")
    assert cost["cost_usd_micros"] == 0


def test_a_server_that_hangs_is_left_alone_after_a_few_calls() -> None:
    emissions, bodies = asyncio.run(composed("hangs", count=60, wait_ms=150, calls_max=2))
    assert len(of_topic(emissions, "messages.ready")) == 60
    assert len(bodies) <= 7


def test_a_server_that_is_not_there_costs_nothing() -> None:
    stage = logic(writer=OpenAIWriter("http://127.0.0.1:9/v1", ""), wait_ms=500)
    emissions = asyncio.run(walk(stage, records([decision()])))
    cost, = of_topic(emissions, "costs.incurred")
    assert (cost["result"], cost["cost_usd_micros"]) == ("error", 0)
    assert of_topic(emissions, "messages.ready")[0]["rung"] == "grammar"


class Script:
    """A port that answers from a list and keeps what it was asked."""

    def __init__(self, replies: Iterable[ModelReply]) -> None:
        self.replies, self.asked = deque(replies), list[ModelCall]()
        self.flying = self.flying_most = 0

    async def complete(self, call: ModelCall) -> ModelReply:
        self.asked.append(call)
        self.flying += 1
        self.flying_most = max(self.flying, self.flying_most)
        await asyncio.sleep(0)
        self.flying -= 1
        return self.replies.popleft() if self.replies else ok(GOOD)


def ok(text: str, took_ms: int = 100) -> ModelReply:
    return ModelReply("ok", text, 800, 0, 100, took_ms=took_ms)


def test_vips_are_written_by_the_frontier_model_first_and_fall_to_the_small_one() -> None:
    port = Script([ok(WRONG_PRICE), ok(WRONG_PRICE), ok(GOOD)])
    emissions = asyncio.run(walk(logic(writer=port), records([decision(segments_json='["vip"]')])))
    assert [call.rung for call in port.asked] == ["frontier", "frontier", "small"]
    assert "£" not in port.asked[1].user.split("refused:")[0] and "refused" in port.asked[1].user
    message, = of_topic(emissions, "messages.ready")
    assert (message["rung"], message["tokens_in"]) == ("small", 2400)
    assert message["ready_ms"] == NOW_MS + 300


def test_a_spent_budget_leads_to_the_grammar_and_never_above_the_limit() -> None:
    port = Script([])
    stage = logic(writer=port, budget_usd_micros=700)
    emissions = asyncio.run(walk(stage, records([decision(n) for n in range(50)])))
    rungs = [message["rung"] for message in of_topic(emissions, "messages.ready")]
    spent = sum(cost["cost_usd_micros"] for cost in of_topic(emissions, "costs.incurred"))
    assert len(rungs) == 50 and {"small", "grammar"} == set(rungs)
    assert 0 < spent <= 700
    assert any("budget_exhausted" in message["gates_json"]
               for message in of_topic(emissions, "messages.ready"))


def test_what_was_spent_survives_a_checkpoint_and_a_new_day_is_free() -> None:
    state, port = partition(), Script([])
    stage = logic(writer=port, budget_usd_micros=700)
    for n in range(20):
        asyncio.run(walk(stage, [record_of(decision(n), n)], state))
    assert 0 < len(port.asked) < 20
    stage.before_checkpoint(state, None)              # type: ignore[arg-type]
    again = logic(writer=port, budget_usd_micros=700)
    again.recovered(state)
    asked = len(port.asked)
    asyncio.run(walk(again, [record_of(decision(60), 60)], state))
    assert len(port.asked) == asked
    asyncio.run(walk(again, [record_of(decision(61, useful_until_ms=NOW_MS + 9 * DAY_MS), 61)],
                     state, NOW_MS + DAY_MS))
    assert len(port.asked) == asked + 1


def test_a_call_that_costs_more_than_it_may_bring_is_not_made() -> None:
    port = Script([])
    emissions = asyncio.run(walk(logic(writer=port), records([decision(value_micros=1000)])))
    assert port.asked == []
    assert "not_worth_it" in of_topic(emissions, "messages.ready")[0]["gates_json"]


@pytest.mark.parametrize(("clock", "tenant_now_ms"), [("wall", NOW_MS), ("event", NOW_MS - 500)])
def test_the_wait_is_cut_to_what_is_left_of_the_message(clock: str, tenant_now_ms: int) -> None:
    port = Script([])
    batch = records([decision(useful_until_ms=tenant_now_ms + 300)])
    asyncio.run(walk(logic(side(f"{YAML}clock: {clock}\n"), writer=port), batch))
    assert port.asked[0].wait_ms == 300


def test_no_more_calls_fly_at_once_than_allowed_and_a_slow_batch_stops_asking() -> None:
    port = Script([ok(GOOD, took_ms=2000) for _ in range(100)])
    stage = logic(writer=port, calls_max=3, budget_usd_micros=10**9)
    emissions = asyncio.run(walk(stage, records([decision(n) for n in range(100)])))
    assert port.flying_most <= 3
    assert len(port.asked) <= 3 * 6
    assert len(of_topic(emissions, "messages.ready")) == 100


REPLIES = st.one_of(
    st.builds(ModelReply, st.sampled_from(["timeout", "error"]), took_ms=st.integers(0, 4000)),
    st.builds(ok, st.one_of(st.text(max_size=80), st.sampled_from([GOOD, WRONG_PRICE])),
              st.integers(0, 4000)))


@settings(max_examples=60, deadline=None)
@given(st.lists(REPLIES, max_size=40), st.integers(0, 3000))
def test_every_decision_ends_in_exactly_one_message_whatever_is_answered(
        replies: list[ModelReply], budget: int) -> None:
    stage = logic(writer=Script(replies), budget_usd_micros=budget)
    emissions = asyncio.run(walk(stage, records([decision(n) for n in range(12)])))
    ids = [message["decision_id"] for message in of_topic(emissions, "messages.ready")]
    assert ids == [decision(n)["decision_id"] for n in range(12)]
    assert of_topic(emissions, "refusals.recorded") == []
    assert all("1.99" not in m["body"] for m in of_topic(emissions, "messages.ready"))


def test_a_circuit_opens_after_failures_rests_and_lets_one_call_try() -> None:
    circuit = Circuit(failures_max=3, rest_ms=1000)
    for now_ms in (0, 1, 2):
        assert circuit.allows(now_ms)
        circuit.failed(now_ms)
    assert [circuit.allows(now_ms) for now_ms in (3, 1001, 1002, 1003)] == [
        False, False, True, False]
    circuit.succeeded()
    assert circuit.allows(1004)


def test_the_settings_build_the_stage() -> None:
    assert compose_logic(Settings(), SideInputs()).calls is None
    stage = compose_logic(Settings(model_url="http://127.0.0.1:9/v1", partitions=4,
                                   budget_usd_day=2.0), SideInputs())
    assert stage.calls is not None and stage.budget.share_usd_micros == 500_000
