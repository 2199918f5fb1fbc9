"""Compose: a decision becomes a checked message. The stage's walk, and the driver of model calls.

    decisions.made ─▶ prepare (brief, facts) ─▶ climb (write, judge, step down) ─▶ messages.ready

A decision without a message to write (a hold-out) passes silently: learn reads it from its topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas import contract
from streams.compose.calls import Calls, ComposeParams, Flight, Lane
from streams.compose.generation import ModelPort
from streams.compose.ladder import Asked, Climb, Task, climb
from streams.compose.prepare import Prepared, prepare
from streams.cost.ledger import Budget, Ledger
from streams.cost.price_book import PriceBook
from streams.engine.records import Out, Record
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState
from streams.kernel import ids
from streams.kernel.errors import PlaybookError
from streams.kernel.outcomes import Refused
from streams.kernel.side_inputs import SideInputs
from streams.pipeline import COSTS, DECISIONS, MESSAGES
from streams.playbooks import loading
from streams.playbooks.active import ActivePlaybooks
from streams.playbooks.model import Playbook

_LEDGER = "budget"        # key in the partition's notes


@dataclass(slots=True)
class _Work:
    """One decision on its way: its record, and what has come of it so far."""

    record: Record
    decision: dict[str, Any]
    prepared: Prepared | Refused
    climbed: Climb | None = None
    spent_ms: int = 0
    costs: list[tuple[Asked, int, bool]] = field(default_factory=list)


class ComposeLogic:
    """The compose stage.

    side        consents, playbooks, catalogue
    budget      what model calls may cost in a day, cut into equal shares by partition
    prices      the price book that costs are booked by
    writer      the port to the model server; None: only the grammar and the templates write
    """

    name = "compose"
    topics: tuple[str, ...] = (DECISIONS,)

    def __init__(self, side: SideInputs, budget: Budget, prices: PriceBook,
                 writer: ModelPort | None = None, params: ComposeParams | None = None) -> None:
        self.side = side
        self.budget = budget
        self.params = params or ComposeParams()
        self.calls = None if writer is None else Calls(writer, prices, self.params)
        self._prices = prices
        self._ledgers: dict[int, Ledger] = {}
        self._active = ActivePlaybooks(loading.from_yaml)
        self._playbooks: dict[tuple[str, str], tuple[int, str, Playbook | None]] = {}

    def make_slab(self) -> Slab:
        return Slab(topics=len(self.topics))

    async def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        """Compose every fresh decision of the batch; emit in the order of the records.

        A message is ready when its batch is: what the others took is part of its latency.
        """
        steady = asyncio.get_running_loop().time
        began_s = steady()
        works = [work for record in batch
                 if (work := self._open(state, record, out)) is not None]
        asking = [work for work in works if isinstance(work.prepared, Prepared)
                  and work.prepared.task.models]
        for work in works:
            if isinstance(work.prepared, Prepared) and not work.prepared.task.models:
                work.climbed = _alone(work.prepared.task)
        if asking:
            await self._ask_all(state, asking, out.now_ms)
        took_ms = round((steady() - began_s) * 1000)
        for work in works:
            out.at(work.record)
            self._emit(work, out, out.now_ms + max(took_ms, work.spent_ms))

    def recovered(self, state: PartitionState) -> None:
        """What the partition has spent today comes back with its checkpoint."""
        ledger = Ledger(self.budget)
        ledger.restore(state.notes.get(_LEDGER, {}))
        self._ledgers[state.partition] = ledger

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None:
        """Nothing happens here without a decision."""

    def before_checkpoint(self, state: PartitionState, out: Out) -> None:
        if state.partition in self._ledgers:
            state.notes[_LEDGER] = self._ledgers[state.partition].dump()

    def _open(self, state: PartitionState, record: Record, out: Out) -> _Work | None:
        """Read a decision; None when it is unreadable, a repeat, a hold-out or a watermark."""
        if contract("watermark").is_mine(record.value):
            return None
        try:
            decision = contract(DECISIONS).decode(record.value)
        except ValueError as fault:
            out.at(record)
            out.quarantine("bad_avro", detail=str(fault))
            return None
        if state.seen.is_repeat(DECISIONS, decision) or decision["holdout"]:
            return None
        prepared = prepare(decision, self._playbook(decision), self.side, out.now_ms,
                           self.params, models=self.calls is not None,
                           by_wall=self._active.by_wall(self.side, decision["tenant"]))
        return _Work(record, decision, prepared)

    def _playbook(self, decision: dict[str, Any]) -> Playbook | None:
        """The playbook in force, parsed once a version; None when it is withdrawn or broken."""
        key = (decision["tenant"], decision["playbook"])
        published = self.side.playbooks.get(key)
        if published is None or not published["active"]:
            return None
        stamp = (published["version"], published["checksum"])
        known = self._playbooks.get(key)
        if known is None or known[:2] != stamp:
            try:
                found: Playbook | None = loading.from_record(published)
            except PlaybookError:
                found = None
            known = self._playbooks[key] = (*stamp, found)
        return known[2]

    async def _ask_all(self, state: PartitionState, asking: list[_Work], now_ms: int) -> None:
        """Drive all climbs that may ask a model, as many at once as there are lanes."""
        assert self.calls is not None
        ledger = self._ledgers.setdefault(state.partition, Ledger(self.budget))
        lanes: asyncio.Queue[Lane] = asyncio.Queue()
        for _ in range(self.params.calls_max):
            lanes.put_nowait(Lane())
        async with asyncio.TaskGroup() as group:
            for work in asking:
                group.create_task(self._drive(work, ledger, lanes, now_ms))

    async def _drive(self, work: _Work, ledger: Ledger, lanes: asyncio.Queue[Lane],
                     now_ms: int) -> None:
        """Answer one climb's calls until it ends."""
        assert self.calls is not None and isinstance(work.prepared, Prepared)
        lane = await lanes.get()
        try:
            flight = Flight(work.decision["playbook"], work.prepared.value_micros, now_ms,
                            work.prepared.left_ms, lane, ledger)
            climber = climb(work.prepared.task)
            try:
                call = next(climber)
                while True:
                    call = climber.send(await self.calls.answer(call, flight))
            except StopIteration as end:
                work.climbed = end.value
            self.calls.judge(work.climbed, flight)
            work.spent_ms = lane.spent_ms
            work.costs = [(asked, *flight.billed[index])
                          for index, asked in enumerate(work.climbed.asked)]
        finally:
            lanes.put_nowait(lane)

    def _emit(self, work: _Work, out: Out, ready_ms: int) -> None:
        """The message or the refusal, and a cost line for every call, also of failed ones."""
        decision = work.decision
        if isinstance(work.prepared, Refused):
            _refuse(out, decision, work.prepared)
            return
        assert work.climbed is not None
        for index, (asked, usd_micros, estimated) in enumerate(work.costs):
            out.emit(COSTS, decision["profile_id"],
                     self._cost(decision, asked, index, usd_micros, estimated, out.now_ms))
        if work.climbed.message is None:
            _refuse(out, decision, Refused("gates_failed", "", work.climbed.gates_json))
            return
        out.emit(MESSAGES, decision["profile_id"],
                 _message(work, work.prepared, work.climbed, ready_ms))

    def _cost(self, decision: dict[str, Any], asked: Asked, index: int, usd_micros: int,
              estimated: bool, now_ms: int) -> dict[str, Any]:
        reply = asked.reply
        return {
            "cost_id": ids.derive("cost", decision["decision_id"], index),
            "decision_id": decision["decision_id"], "tenant": decision["tenant"],
            "playbook": decision["playbook"], "rung": asked.call.rung,
            "model": asked.call.model, "tokens_in": reply.tokens_in,
            "tokens_cached": reply.tokens_cached, "tokens_out": reply.tokens_out,
            "cost_usd_micros": usd_micros, "price_book": self._prices.version,
            "estimated": estimated, "result": "rejected" if asked.rejected else reply.result,
            "took_ms": reply.took_ms, "recorded_ms": now_ms}


def _alone(task: Task) -> Climb:
    """Climb without models: the grammar and the templates ask nobody."""
    try:
        next(climb(task))
    except StopIteration as end:
        found: Climb = end.value
        return found
    raise AssertionError("a task without models asks none")


def _refuse(out: Out, decision: dict[str, Any], refused: Refused) -> None:
    out.refuse("skipped", refused.reason, subject=decision["decision_id"], field=refused.field,
               detail=refused.detail, tenant=decision["tenant"],
               profile_id=decision["profile_id"], decision_id=decision["decision_id"],
               playbook=decision["playbook"], event_ms=decision["moment_ms"])


def _message(work: _Work, prepared: Prepared, climbed: Climb, ready_ms: int) -> dict[str, Any]:
    """The messages.ready record; what the decision says is carried on unchanged."""
    assert climbed.message is not None
    task, replies = prepared.task, [asked.reply for asked in climbed.asked]
    brief_json = task.brief.record()
    carried = ("decision_id", "tenant", "profile_id", "playbook", "channel", "arm", "moment_ms",
               "useful_until_ms", "purposes", "trigger_appended_ms", "decided_ms")
    return {
        **{name: work.decision[name] for name in carried},
        "playbook_version": prepared.playbook_version, "rung": climbed.rung,
        "subject": climbed.message.subject, "body": climbed.message.body,
        "link": task.facts.texts.get("item.url", ""),
        "facts_json": task.facts.record(without=climbed.unstated),
        "brief_json": brief_json, "model": climbed.model,
        "prompt_hash": climbed.prompt_hash or ids.derive("prompt", climbed.model, brief_json),
        "tokens_in": sum(reply.tokens_in for reply in replies),
        "tokens_out": sum(reply.tokens_out for reply in replies),
        "cost_usd_micros": sum(usd_micros for _, usd_micros, _ in work.costs),
        "gates_json": climbed.gates_json, "locale": task.brief.locale,
        "ready_ms": ready_ms}
