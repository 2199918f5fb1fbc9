"""The truth about the storefront's messages, known because its shoppers are ours.

A unit is a person's first decision of the playbook. For every unit that was not held out, the
simulator knows the chance to buy with what the person in fact received, and without it. The truth
is the mean of the differences: what the report's estimate, which sees neither chance, should
find.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from streams.worlds.storefront.simulation import Reading


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision as ClickHouse knows it."""

    decision_id: str
    profile_id: str
    moment_ms: int
    holdout: bool


def first_decisions(decisions: Iterable[Decided]) -> list[Decided]:
    """The first decision of each person; the smaller id when two share a moment."""
    first: dict[str, Decided] = {}
    for decided in sorted(decisions, key=lambda one: (one.moment_ms, one.decision_id)):
        first.setdefault(decided.profile_id, decided)
    return list(first.values())


def lift(decisions: Iterable[Decided], log: Iterable[Reading]) -> dict[str, Any]:
    """{lift, units, treated, read, how}; lift is None when nobody was treated."""
    units = first_decisions(decisions)
    treated = [unit for unit in units if not unit.holdout]
    read = {reading.decision_id: reading for reading in log}
    gains = [read[unit.decision_id].chance_with - read[unit.decision_id].chance_without
             if unit.decision_id in read else 0.0 for unit in treated]
    return {"lift": sum(gains) / len(gains) if gains else None, "units": len(units),
            "treated": len(treated), "held_out": len(units) - len(treated),
            "read": sum(unit.decision_id in read for unit in treated),
            "how": "mean over treated units (a person's first decision) of the simulator's chance "
                   "to buy within the window with what they received, minus without any message"}
