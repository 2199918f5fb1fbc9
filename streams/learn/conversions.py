"""Conversions: which decision could this outcome belong to?

A row's tail is the whole memory of one person's open questions. Decisions, conversion events,
deliveries and receipts come through four topics in any relative order, so each waits for the
others and every pair is tried when its second half arrives: a symmetric join. What a pair yields
depends on the pair alone, never on which half came first.

    tail = {"tenant":    name,
            "decisions": {decision_id: see `remember_decision`},
            "events":    [[event_id, event_type, event_ms, order_id, value_micros], ...],
            "sent":      {decision_id: [status, moment_ms]}     deliveries ahead of their decision
            "heard":     {decision_id: [bits, event_ms]}        receipts ahead of their decision
            "counts":    {playbook: {segment: {arm: [trials, successes, value_micros, newest_ms]}}}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.kernel.moments import DAY_MS

Tail = dict[str, Any]

ALWAYS: Final = frozenset({"purchase", "refund"})
REFUND: Final = "refund"
REMEMBERED_MS: Final = 30 * DAY_MS     # after closing: refunds and late conversions still find it
EVENTS_MAX: Final = 512                # a robot's purchases must not grow a row without end
UNSETTLED_MAX: Final = 32              # decisions whose delivery was never reported
AHEAD_MAX: Final = 32                  # receipts that name a decision not (yet) known
HEARD_BITS: Final = {"delivered": 1, "opened": 2, "clicked": 4, "bounced": 8, "unsubscribed": 16,
                     "complained": 32}


@dataclass(frozen=True, slots=True)
class Found:
    """One half of a reward: what followed a decision. `value_micros` is negative for a refund."""

    kind: str
    event_id: str
    order_id: str
    value_micros: int
    event_ms: int


def remember_event(tail: Tail, event: Mapping[str, Any]) -> bool:
    """Keep a conversion event until no decision can ask for it; False when it is known."""
    events = tail.setdefault("events", [])
    if any(known[0] == event["event_id"] for known in events):
        return False
    events.append([event["event_id"], event["event_type"], event["event_ms"], event["order_id"],
                   event["value_micros"]])
    if len(events) > EVENTS_MAX:
        events.sort(key=lambda known: (known[2], known[0]))
        del events[0]
    return True


def remember_decision(tail: Tail, fields: Mapping[str, Any]) -> bool:
    """Keep a decision, with what was heard of it before it came; False when it is known."""
    decisions, decision_id = tail.setdefault("decisions", {}), fields["decision_id"]
    if decision_id in decisions:
        return False
    kept = {name: fields[name] for name in (
        "playbook", "arm", "holdout", "segment", "propensity", "moment_ms", "window_ms",
        "conversion", "value_micros", "purposes")}
    status = tail.get("sent", {}).pop(decision_id, ["", 0])[0]
    heard = tail.get("heard", {}).pop(decision_id, [0, 0])[0]
    decisions[decision_id] = {**kept, "status": status, "heard": heard, "closed": False,
                              "converted": {}, "refunded": {}, "newest_ms": 0}
    return True


def remember_delivery(tail: Tail, fields: Mapping[str, Any]) -> None:
    """Note how a decision left the house; `sent` is never taken back."""
    decision = tail.get("decisions", {}).get(fields["decision_id"])
    if decision is not None:
        if decision["status"] != "sent":
            decision["status"] = fields["status"]
        return
    ahead = tail.setdefault("sent", {})
    if ahead.get(fields["decision_id"], [""])[0] != "sent":
        ahead[fields["decision_id"]] = [fields["status"], fields["moment_ms"]]


def remember_receipt(tail: Tail, fields: Mapping[str, Any]) -> bool:
    """Note what a person did with a message; False when it says nothing new (or a machine did)."""
    bit = HEARD_BITS.get(fields["kind"], 0)
    if fields["machine"] or not bit:
        return False
    decision = tail.get("decisions", {}).get(fields["decision_id"])
    if decision is not None:
        news = not decision["heard"] & bit
        decision["heard"] |= bit
        return news
    ahead = tail.setdefault("heard", {})
    bits, _ = ahead.get(fields["decision_id"], (0, 0))
    if bits & bit or (not bits and len(ahead) >= AHEAD_MAX):
        return False
    ahead[fields["decision_id"]] = [bits | bit, fields["event_ms"]]
    return True


def find(tail: Tail, decision: dict[str, Any]) -> Iterator[Found]:
    """Every reward of `decision` that was not found before; it is noted in the decision."""
    events = tail.get("events", ())
    if not events:
        return
    for event_id, event_type, event_ms, order_id, value_micros in events:
        if event_id not in decision["converted"] and joins(decision, event_type, event_ms):
            worth = decision["value_micros"] or value_micros
            decision["converted"][event_id] = [order_id, worth, value_micros]
            yield _noted(decision, Found("converted", event_id, order_id, worth, event_ms))
    for event_id, event_type, event_ms, order_id, value_micros in events:
        if event_type != REFUND or event_id in decision["refunded"]:
            continue
        taken = _taken_back(decision, event_id, event_ms, order_id, value_micros)
        if taken is not None:
            decision["refunded"][event_id] = taken
            yield _noted(decision, Found("refunded", event_id, order_id, -taken, event_ms))


def joins(decision: Mapping[str, Any], event_type: str, event_ms: int) -> bool:
    """Whether such an event converts: the right type, after the moment, within the window."""
    return bool(event_type == decision["conversion"]
                and decision["moment_ms"] < event_ms <= closes_ms(decision))


def closes_ms(decision: Mapping[str, Any]) -> int:
    return int(decision["moment_ms"] + decision["window_ms"])


def _taken_back(decision: Mapping[str, Any], event_id: str, event_ms: int, order_id: str,
                refund_micros: int) -> int | None:
    """What a refund takes of a conversion of the same order, in micro-units; None when of none.

    A refund of unknown size takes all. Where the playbook sets the worth of a conversion, a refund
    takes the share that it is of the purchase.
    """
    if not (order_id and decision["moment_ms"] < event_ms <= closes_ms(decision) + REMEMBERED_MS):
        return None
    for converted_id, (order, worth, paid) in decision["converted"].items():
        if order != order_id or converted_id == event_id:
            continue
        if refund_micros == 0 or paid == 0:
            return int(worth)
        if decision["value_micros"]:
            return round(int(worth) * min(1.0, abs(refund_micros) / abs(paid)))
        return abs(refund_micros)
    return None


def _noted(decision: dict[str, Any], found: Found) -> Found:
    decision["newest_ms"] = max(decision["newest_ms"], found.event_ms)
    return found


def is_settled(decision: Mapping[str, Any]) -> bool:
    """Closed, and known to have been sent, not sent, or held out: nothing more to learn."""
    return bool(decision["closed"] and (decision["holdout"] or decision["status"]))


def forget_decisions(tail: Tail, heard_ms: int) -> None:
    """Drop decisions too old for a refund, given that all events up to `heard_ms` are known.

    One that still waits for its delivery stays: deliveries keep wall-clock time and may lag far
    behind a replayed year. Only the newest `UNSETTLED_MAX` of these are kept.
    """
    decisions = tail.get("decisions", {})
    old = [name for name, d in decisions.items()
           if d["closed"] and closes_ms(d) + REMEMBERED_MS <= heard_ms]
    if not old:
        return
    waiting = sorted((decisions[name]["moment_ms"], name) for name in old
                     if not is_settled(decisions[name]))
    kept = {name for _, name in waiting[-UNSETTLED_MAX:]}
    for name in old:
        if name not in kept:
            del decisions[name]


def forget_events(tail: Tail, horizon_ms: int) -> None:
    """Drop events and early news before `horizon_ms`: no decision will come to ask for them."""
    tail["events"] = [known for known in tail.get("events", ()) if known[2] >= horizon_ms]
    for name in ("sent", "heard"):
        early = tail.setdefault(name, {})
        if early:
            tail[name] = {decision_id: word for decision_id, word in early.items()
                          if word[1] >= horizon_ms}


def next_look_ms(tail: Tail) -> int | None:
    """The event time at which a decision of this row must be closed or may be forgotten."""
    due = [closes_ms(d) + (REMEMBERED_MS if d["closed"] else 0)
           for d in tail.get("decisions", {}).values() if not d["closed"] or is_settled(d)]
    return min(due, default=None)


def next_prune_ms(tail: Tail) -> int | None:
    """The horizon at which something of this row can be dropped."""
    times = [known[2] for known in tail.get("events", ())]
    for name in ("sent", "heard"):
        early = tail.get(name)
        if early:
            times += [word[1] for word in early.values()]
    return min(times) + 1 if times else None


def is_empty(tail: Tail) -> bool:
    return not (tail.get("decisions") or tail.get("events") or tail.get("sent")
                or tail.get("heard") or tail.get("counts"))
