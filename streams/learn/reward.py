"""Reward: what an outcome was worth to a decision, and whether its window is closed.

    converted   a conversion within (moment, moment + window]; one for each decision and event
    refunded    a refund of such a conversion's order; negative
    closed      everything up to moment + window has been heard; exactly one for each decision,
                worth 0, whether it converted or not. Only a closed decision is mature: to count
                open ones by their conversions alone would flatter whatever happened last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.kernel import ids
from streams.learn.conversions import Found, closes_ms


def closing(decision: Mapping[str, Any]) -> Found:
    return Found("closed", "", "", 0, closes_ms(decision))


def record(decision_id: str, decision: Mapping[str, Any], found: Found, *, tenant: str,
           profile_id: str) -> dict[str, Any]:
    """The fields of a rewards.observed record, without its origin."""
    return {
        "reward_id": ids.derive("reward", decision_id, found.event_id),
        "decision_id": decision_id, "tenant": tenant, "profile_id": profile_id,
        "playbook": decision["playbook"], "arm": decision["arm"],
        "holdout": decision["holdout"], "segment": decision["segment"],
        "propensity": decision["propensity"], "kind": found.kind, "event_id": found.event_id,
        "order_id": found.order_id, "value_micros": found.value_micros,
        "moment_ms": decision["moment_ms"], "event_ms": found.event_ms,
        "purposes": decision["purposes"]}
