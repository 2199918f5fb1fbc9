"""Flywheel: what does the next decision know that this one did not?

Counts of closed, sent, consented decisions by playbook, segment cell and arm. Each person's share
stands in their own row, and a partition's total is the sum of its rows: so a crash can neither lose
nor double a count, and whoever is forgotten is forgotten here too. Immature decisions do not count:
a window that is still open has its conversions but not its silences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from streams.kernel import purposes
from streams.learn.conversions import Tail, closes_ms

EVERYBODY = "*"
Totals = dict[str, Any]    # {tenant: {playbook: {segment: {arms, updated_ms, version, changed}}}}


def contribution(decision: Mapping[str, Any], denied: int) -> list[int]:
    """[trials, successes, value_micros] that a decision adds to its arm; zeros when none.

    `denied`: purposes that the person has withdrawn since; training is one of them.
    """
    counts = (decision["closed"] and decision["status"] == "sent" and not decision["holdout"]
              and decision["purposes"] & purposes.TRAIN and not denied & purposes.TRAIN)
    if not counts:
        return [0, 0, 0]
    earned = sum(worth for _, worth, _ in decision["converted"].values())
    returned = sum(decision["refunded"].values())
    return [1, 1 if decision["converted"] else 0, earned - returned]


def recount(tail: Tail, decision: dict[str, Any], totals: Totals, *, denied: int) -> None:
    """Bring the row's share and the partition's totals up to what `decision` adds now."""
    before = decision.get("counted", [0, 0, 0])
    after = contribution(decision, denied)
    if before == after:
        return
    decision["counted"] = after
    change = [new - old for new, old in zip(after, before, strict=True)]
    newest_ms = max(closes_ms(decision), decision["newest_ms"])
    cell = tail.setdefault("counts", {}).setdefault(decision["playbook"], {}).setdefault(
        decision["segment"], {}).setdefault(decision["arm"], [0, 0, 0, 0])
    _add(cell, change, newest_ms)
    _spread(totals, tail["tenant"], decision["playbook"], decision["segment"], decision["arm"],
            change, newest_ms)


def _add(cell: list[int], change: Iterable[int], newest_ms: int) -> None:
    for index, step in enumerate(change):
        cell[index] += step
    cell[3] = max(cell[3], newest_ms)


def _spread(totals: Totals, tenant: str, playbook: str, segment: str, arm: str,
            change: list[int], newest_ms: int) -> None:
    """Add a change to the segment's policy and to everybody's."""
    for where in dict.fromkeys((segment, EVERYBODY)):
        policy = totals.setdefault(tenant, {}).setdefault(playbook, {}).setdefault(
            where, {"arms": {}, "version": 0, "updated_ms": 0, "changed": True})
        _add(policy["arms"].setdefault(arm, [0, 0, 0, 0]), change, newest_ms)
        policy["updated_ms"] = max(policy["updated_ms"], newest_ms)
        policy["changed"] = True


def total(tails: Iterable[Tail], before: Totals) -> Totals:
    """The totals of a partition from its rows; versions count on from `before`."""
    totals: Totals = {}
    for tail in tails:
        for playbook, segments in tail.get("counts", {}).items():
            for segment, arms in segments.items():
                for arm, (*counts, newest_ms) in arms.items():
                    _spread(totals, tail["tenant"], playbook, segment, arm, counts, newest_ms)
    for tenant, playbooks in before.items():
        for playbook, cells in playbooks.items():
            for segment, old in cells.items():
                _carry_on(totals, tenant, playbook, segment, old)
    return totals


def _carry_on(totals: Totals, tenant: str, playbook: str, segment: str,
              old: dict[str, Any]) -> None:
    """A policy keeps its version over a recovery; one without rows left becomes empty."""
    now = totals.setdefault(tenant, {}).setdefault(playbook, {}).setdefault(
        segment, {"arms": {}, "version": 0, "updated_ms": old["updated_ms"], "changed": True})
    now["version"] = old["version"]
    now["changed"] = old["changed"] or now["arms"] != old["arms"]


def publish(totals: Totals, *, partition: int, now_ms: int,
            ) -> Iterable[tuple[str, dict[str, Any]]]:
    """(key, policies.updated record) of every policy that changed since the last call.

    A record holds this partition's share only, and its version says whose: `p{partition}-{count}`.
    Whoever reads policies adds up the shares.
    """
    for tenant, playbooks in totals.items():
        for playbook, cells in playbooks.items():
            for segment, policy in cells.items():
                if not policy["changed"]:
                    continue
                policy["changed"] = False
                policy["version"] += 1
                yield f"{tenant}|{playbook}|{segment}|{partition}", {
                    "tenant": tenant, "playbook": playbook, "segment": segment,
                    "version": f"p{partition}-{policy['version']}", "partition": partition,
                    "arms_json": orjson.dumps(_named(policy["arms"])).decode(),
                    "updated_ms": policy["updated_ms"], "recorded_ms": now_ms}


def _named(arms: Mapping[str, list[int]]) -> dict[str, dict[str, int]]:
    return {arm: {"trials": counts[0], "successes": counts[1], "value_micros": counts[2]}
            for arm, counts in sorted(arms.items())}
