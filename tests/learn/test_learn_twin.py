"""The learn stage against a slow twin: nested loops over the whole log.

The log reaches the stage in any interleaving of its four topics, in batches of any cut, with
upstream repeats, and with crashes after which rows may be ahead of the committed offsets. The
rewards and the policies must be those that the twin reads off the finished log.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas import contract
from streams.engine.records import Out, Record, Seen
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState
from streams.engine.timers import Timers
from streams.engine.watermarks import Watermarks
from streams.kernel import ids
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.kernel.purposes import CONTACT, MEASURE, TRAIN
from streams.kernel.side_inputs import SideInputs
from streams.learn.agent import LearnLogic
from streams.learn.conversions import REMEMBERED_MS

START_MS = 1_700_000_000_000
UPSTREAM = 2
TOPICS = LearnLogic.topics
ADMITTED, DECISIONS, DELIVERIES, RECEIPTS = TOPICS


@dataclass
class Log:
    """A finished world: what each topic holds, in order, and what it is made of."""

    events: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    watermark_ms: int = 0
    topics: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))


def event(dice: random.Random, number: int) -> dict[str, Any]:
    return {
        "event_id": f"e{number}", "tenant": "shop", "appended_ms": 0,
        "event_type": dice.choice(["purchase", "purchase", "refund", "signup", "page_view"]),
        "event_ms": START_MS + dice.randrange(60) * DAY_MS // 2 + dice.randrange(5),
        "profile_id": f"p{dice.randrange(6)}", "order_id": dice.choice(["", "o1", "o2", "o3"]),
        "value_micros": dice.choice([0, 5_000_000, 20_000_000]),
        "purposes": dice.choice([0, MEASURE, MEASURE | TRAIN])}


def decision(dice: random.Random, number: int) -> dict[str, Any]:
    moment_ms = START_MS + dice.randrange(60) * DAY_MS // 2 + dice.randrange(5)
    return {
        "decision_id": f"d{number}", "tenant": "shop", "profile_id": f"p{dice.randrange(6)}",
        "playbook": dice.choice(["cart", "winback"]), "playbook_version": 1, "trigger": "absence",
        "moment_ms": moment_ms, "useful_until_ms": moment_ms + HOUR_MS,
        "window_ms": dice.choice([HOUR_MS, DAY_MS, 9 * DAY_MS]),
        "conversion": dice.choice(["purchase", "purchase", "signup"]),
        "value_micros": dice.choice([0, 0, 7_000_000]), "holdout": dice.random() < 0.3,
        "arm": dice.choice(["a", "b"]), "propensity": 0.5, "propensities_json": "{}",
        "holdout_probability": 0.3, "policy_version": "none",
        "segment": dice.choice(["*", "vip"]), "segments_json": "[]", "features_json": "{}",
        "evidence_json": "[]", "item_ids_json": "[]", "channel": "email",
        "purposes": dice.choice([MEASURE | TRAIN, MEASURE | TRAIN, MEASURE | CONTACT, CONTACT]),
        "trigger_appended_ms": 0, "decided_ms": 0}


def delivery(made: dict[str, Any], status: str) -> dict[str, Any]:
    return {"delivery_id": f"v{made['decision_id']}", "decision_id": made["decision_id"],
            "tenant": "shop", "profile_id": made["profile_id"], "playbook": made["playbook"],
            "channel": "email", "arm": made["arm"], "rung": "template", "status": status,
            "moment_ms": made["moment_ms"], "sent_ms": made["moment_ms"] + 5, "dispatched_ms": 0}


def receipt(dice: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    return {"receipt_id": "r", "decision_id": made["decision_id"], "tenant": "shop",
            "profile_id": made["profile_id"], "channel": "email", "recorded_ms": 0,
            "kind": dice.choice(["opened", "clicked", "nonsense"]),
            "event_ms": made["moment_ms"] + 10, "machine": dice.random() < 0.3}


def arrange(dice: random.Random, topic: str, records: list[dict[str, Any]], clock: str,
            upstream: int, final_ms: int) -> list[bytes]:
    """A topic's values in an order that keeps its watermarks' promise, with upstream repeats."""
    lanes: list[list[bytes]] = []
    for part in range(upstream):
        mine = [r for index, r in enumerate(records) if index % upstream == part]
        # Out of order by up to two days: what a watermark has passed never comes after it.
        mine.sort(key=lambda r: r[clock] + dice.randrange(2 * DAY_MS))
        lane = []
        for offset, one in enumerate(mine):
            stamped = {**one, "origin_partition": part, "origin_offset": offset,
                       "origin_sequence": 0}
            lane.append(contract(topic).encode(stamped))
            later = min((r[clock] for r in mine[offset + 1:]), default=final_ms + 1)
            if dice.random() < 0.4:
                lane.append(watermark(part, min(later - 1, final_ms)))
            if dice.random() < 0.1:         # the stage before crashed and came again
                lane += lane[-dice.randrange(1, 6):]
        if topic == ADMITTED:               # nobody's business here
            lane.insert(len(lane) // 2, item_change(part))
        lane.append(watermark(part, final_ms))
        lanes.append(lane)
    return interleave(dice, lanes)


def watermark(part: int, watermark_ms: int) -> bytes:
    return contract("watermark").encode({
        "tenant": "shop", "origin_partition": part, "watermark_ms": watermark_ms,
        "appended_ms": 0, "origin_offset": 0, "origin_sequence": 0})


def item_change(part: int) -> bytes:
    return contract("item_change").encode({
        "tenant": "shop", "item_id": "mug", "as_of_ms": 1, "price_before_micros": 2,
        "price_micros": 1, "currency": "EUR", "was_in_stock": True, "in_stock": True,
        "appended_ms": 0, "origin_partition": part, "origin_offset": 0, "origin_sequence": 0})


def interleave(dice: random.Random, lanes: list[list[Any]]) -> list[Any]:
    queues, merged = [list(reversed(lane)) for lane in lanes], []
    while any(queues):
        merged.append(dice.choice([q for q in queues if q]).pop())
    return merged


def make_log(dice: random.Random) -> Log:
    log = Log()
    log.events = [event(dice, number) for number in range(dice.randrange(5, 90))]
    log.decisions = [decision(dice, number) for number in range(dice.randrange(1, 30))]
    for made in log.decisions:
        if not made["holdout"] and dice.random() < 0.9:
            log.deliveries.append(delivery(made, dice.choice(["sent", "sent", "skipped"])))
    log.watermark_ms = START_MS + dice.choice([20, 40, 120]) * DAY_MS
    # Nothing after the final watermark is in the log: time has only come so far.
    log.events = [e for e in log.events if e["event_ms"] <= log.watermark_ms]
    log.decisions = [d for d in log.decisions if d["moment_ms"] <= log.watermark_ms]
    known = {d["decision_id"] for d in log.decisions}
    log.deliveries = [d for d in log.deliveries if d["decision_id"] in known]
    log.topics[ADMITTED] = arrange(dice, ADMITTED, log.events, "event_ms", UPSTREAM,
                                   log.watermark_ms)
    log.topics[DECISIONS] = arrange(dice, DECISIONS, log.decisions, "moment_ms", 1,
                                    log.watermark_ms)
    log.topics[DELIVERIES] = [
        contract(DELIVERIES).encode({**d, "origin_partition": 0, "origin_offset": offset,
                                     "origin_sequence": 0})
        for offset, d in enumerate(log.deliveries)]
    log.topics[RECEIPTS] = [contract(RECEIPTS).encode(receipt(dice, made))
                            for made in log.decisions if dice.random() < 0.5]
    return log


# --- the twin -------------------------------------------------------------------------------


def twin_rewards(log: Log) -> dict[str, tuple[Any, ...]]:
    """{reward_id: (decision, kind, event, value, event_ms)} by nested loops."""
    found: dict[str, tuple[Any, ...]] = {}

    def add(d: dict[str, Any], kind: str, event_id: str, value: int, event_ms: int) -> None:
        found[ids.derive("reward", d["decision_id"], event_id)] = (
            d["decision_id"], kind, event_id, value, event_ms)

    for d in log.decisions:
        if not d["purposes"] & MEASURE:
            continue
        closes_ms = d["moment_ms"] + d["window_ms"]
        mine = [e for e in log.events
                if e["profile_id"] == d["profile_id"] and e["purposes"] & MEASURE]
        for e in mine:
            if e["event_type"] == d["conversion"] and d["moment_ms"] < e["event_ms"] <= closes_ms:
                add(d, "converted", e["event_id"], d["value_micros"] or e["value_micros"],
                    e["event_ms"])
                for r in mine:
                    if (r["event_type"] == "refund" and e["order_id"]
                            and r["order_id"] == e["order_id"]
                            and d["moment_ms"] < r["event_ms"] <= closes_ms + REMEMBERED_MS):
                        add(d, "refunded", r["event_id"], -worth_of_refund(d, e, r),
                            r["event_ms"])
        if closes_ms <= log.watermark_ms:
            add(d, "closed", "", 0, closes_ms)
    return found


def worth_of_refund(d: dict[str, Any], e: dict[str, Any], r: dict[str, Any]) -> int:
    worth = d["value_micros"] or e["value_micros"]
    if r["value_micros"] == 0 or e["value_micros"] == 0:
        return worth
    if d["value_micros"]:
        return round(worth * min(1.0, r["value_micros"] / e["value_micros"]))
    return r["value_micros"]


def twin_policies(log: Log, rewards: dict[str, tuple[Any, ...]]) -> dict[Any, dict[str, Any]]:
    sent = {d["decision_id"] for d in log.deliveries if d["status"] == "sent"}
    policies: dict[Any, dict[str, Any]] = {}
    for d in log.decisions:
        mine = [r for r in rewards.values() if r[0] == d["decision_id"]]
        if (d["holdout"] or not d["purposes"] & TRAIN or d["decision_id"] not in sent
                or not any(r[1] == "closed" for r in mine)):
            continue
        for cell in {d["segment"], "*"}:
            arm = policies.setdefault((d["playbook"], cell), {}).setdefault(
                d["arm"], {"trials": 0, "successes": 0, "value_micros": 0})
            arm["trials"] += 1
            arm["successes"] += any(r[1] == "converted" for r in mine)
            arm["value_micros"] += sum(r[3] for r in mine)
    return policies


# --- the stage, on a broker that crashes ----------------------------------------------------


class Worker:
    """Runs the stage over the log; keeps what a broker would: emissions, changelog, checkpoint."""

    def __init__(self, dice: random.Random, log: Log, *, crashes: bool) -> None:
        self.dice, self.log, self.crashes = dice, log, crashes
        self.logic = LearnLogic(SideInputs(), lambda _: [("shop", "signup")])
        self.rewards: dict[str, tuple[Any, ...]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        self.changelog: dict[bytes, bytes | None] = {}
        self.saved = json.dumps({"offsets": dict.fromkeys(TOPICS, 0), "notes": {}, "seen": [],
                                 "marks": {}})
        self.recover()

    def recover(self) -> None:
        saved = json.loads(self.saved)
        slab = Slab(topics=4, fields=0)
        for key, value in self.changelog.items():
            slab.apply(key, value)
        self.offsets = saved["offsets"]
        self.state = PartitionState(3, slab, Seen([tuple(m) for m in saved["seen"]]),
                                    Watermarks(UPSTREAM, saved["marks"]), Timers(),
                                    saved["notes"])
        self.logic.recovered(self.state)

    def run(self) -> None:
        while any(self.offsets[t] < len(self.log.topics[t]) for t in TOPICS):
            self.step()
            if self.dice.random() < 0.2:
                self.checkpoint()
            if self.crashes and self.dice.random() < 0.15:
                self.flush_rows(self.dice.random())     # rows ahead of the offsets
                self.recover()
        self.checkpoint()

    def step(self) -> None:
        topic = self.dice.choice([t for t in TOPICS if self.offsets[t] < len(self.log.topics[t])])
        first = self.offsets[topic]
        values = self.log.topics[topic][first:first + self.dice.randrange(1, 8)]
        batch = [Record(topic, 3, first + n, b"", value, 0) for n, value in enumerate(values)]
        self.offsets[topic] += len(batch)
        out = Out("learn", 0)
        self.logic.walk(self.state, batch, out)
        self.take(out)

    def checkpoint(self) -> None:
        out = Out("learn", 0)
        self.logic.before_checkpoint(self.state, out)
        self.take(out)
        self.flush_rows(1.0)
        self.saved = json.dumps({"offsets": self.offsets, "notes": self.state.notes,
                                 "seen": self.state.seen.dump(),
                                 "marks": self.state.watermarks.dump()})

    def flush_rows(self, share: float) -> None:
        for key in self.state.slab.take_dirty():
            if self.dice.random() < share:
                self.changelog[key] = self.state.slab.encode(key)

    def take(self, out: Out) -> None:
        for emission in out.emissions:
            fields = contract(emission.topic).decode(emission.value)
            if emission.topic == "policies.updated":
                self.policies[emission.key.decode()] = fields
                continue
            assert emission.topic == "rewards.observed"
            seen = (fields["decision_id"], fields["kind"], fields["event_id"],
                    fields["value_micros"], fields["event_ms"])
            # A repeat after a crash must say the same.
            assert self.rewards.setdefault(fields["reward_id"], seen)[:3] == seen[:3]

    def policy_counts(self) -> dict[Any, dict[str, Any]]:
        found = {}
        for key, fields in self.policies.items():
            arms = {arm: counts for arm, counts in json.loads(fields["arms_json"]).items()
                    if any(counts.values())}
            assert fields["version"].startswith("p3-") and key.endswith("|3")
            if arms:
                found[fields["playbook"], fields["segment"]] = arms
        return found


def unambiguous(log: Log) -> Log:
    """Give every purchase of a person its own order, so that a refund has one conversion."""
    taken: dict[tuple[str, str], int] = {}
    for e in log.events:
        if e["event_type"] == "purchase" and e["order_id"]:
            where = (e["profile_id"], e["order_id"])
            taken[where] = taken.get(where, 0) + 1
            if taken[where] > 1:
                e["order_id"] = ""
    return log


def make(seed: int) -> tuple[random.Random, Log]:
    dice = random.Random(seed)
    log = make_log(dice)
    unambiguous(log)
    log.topics[ADMITTED] = arrange(dice, ADMITTED, log.events, "event_ms", UPSTREAM,
                                   log.watermark_ms)
    return dice, log


@pytest.mark.parametrize("seed", range(150))
@pytest.mark.parametrize("crashes", [False, True], ids=["calm", "crashing"])
def test_any_order_cut_or_crash_yields_what_the_twin_reads_off_the_log(
        seed: int, crashes: bool) -> None:
    dice, log = make(seed)
    worker = Worker(dice, log, crashes=crashes)
    worker.run()
    expected = twin_rewards(log)
    assert worker.rewards == expected, f"{seed=}"
    assert worker.policy_counts() == twin_policies(log, expected), f"{seed=}"


def test_the_worlds_of_this_file_hold_every_kind_of_reward() -> None:
    kinds = {reward[1] for seed in range(20) for reward in twin_rewards(make(seed)[1]).values()}
    assert kinds == {"converted", "refunded", "closed"}


def test_rows_are_let_go_once_nothing_can_ask_for_them() -> None:
    dice, log = make(7)
    log.topics[ADMITTED] += [watermark(part, START_MS + 900 * DAY_MS) for part in range(UPSTREAM)]
    log.topics[DECISIONS] += [watermark(0, START_MS + 900 * DAY_MS)]
    worker = Worker(dice, log, crashes=False)
    worker.run()
    tails = [worker.state.slab.tails[worker.state.slab.slot(key)]
             for key in worker.state.slab]
    assert not any(tail.get("events") for tail in tails)
    waiting = [d for tail in tails for d in tail.get("decisions", {}).values()]
    assert all(d["closed"] and not d["holdout"] and not d["status"] for d in waiting)


def test_a_change_of_an_item_is_nobodys_business_here() -> None:
    logic, out = LearnLogic(SideInputs()), Out("learn", 0)
    state = PartitionState(0, logic.make_slab(), Seen(), Watermarks(1), Timers())
    logic.walk(state, [Record(ADMITTED, 0, 0, b"shop", item_change(0), 0)], out)
    assert out.emissions == []
