"""What the messages changed: the experiment of one world, from its units. Pure.

Attributed is not incremental: credit goes to whatever was sent, cause is what the hold-out did not
do by itself. Both are computed for the same people and stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sinks.report import statistics
from sinks.report.queries import Row
from sinks.report.statistics import Lift, Split, Units


def experiment(units: Sequence[Row], truth: Row | None, *, usd_per_message: float) -> Row:
    """The read-out of one world: lift, verdict, split check, by playbook, in value.

    A truth that is known of one playbook only ("playbook") is met by the lift of that playbook:
    the headline is then of it alone, and says so in `lift.playbooks`.
    """
    told = [u for u in units if u["playbook"] == truth["playbook"]] if (
        truth and truth.get("playbook")) else units
    names, columns = _columns(told)
    found = statistics.lift(columns, names=names)
    first = _first_rows(units)
    return {
        "verdict": found.verdict if found else "not enough data yet",
        "lift": _shown(found, truth) | {"playbooks": list(names.values())},
        "value_lift": _shown(statistics.lift(_columns(told, "value_micros")[1], binary=False,
                                             names=names), None, scale=1e-6),
        "first_moment_lift": _shown(statistics.lift(_columns(first)[1], names=names), None),
        "by_playbook": {name: _by_playbook(units, name)
                        for name in sorted({u["playbook"] for u in units})},
        "split": _split_shown(split_of(first)),
        "incremental": _incremental(found, usd_per_message),
    }


def _columns(units: Sequence[Row], outcome: str = "converted") -> tuple[dict[int, str], Units]:
    """Columns for the statistics; playbooks numbered in the order of their names."""
    order = {name: number for number, name in enumerate(sorted({u["playbook"] for u in units}))}
    return {number: name for name, number in order.items()}, Units(
        np.array([u["person"] for u in units], np.int64),
        np.array([order[u["playbook"]] for u in units], np.int64),
        np.array([bool(u["held_out"]) for u in units], np.bool_),
        np.array([float(u[outcome]) for u in units], np.float64))


def _first_rows(units: Iterable[Row]) -> list[Row]:
    """Each person's very first unit: nobody was touched by anything before it."""
    first: dict[int, Row] = {}
    for unit in sorted(units, key=lambda u: (u["moment_ms"], u["playbook"])):
        first.setdefault(unit["person"], unit)
    return list(first.values())


def _by_playbook(units: Sequence[Row], playbook: str) -> Row:
    mine = [unit for unit in units if unit["playbook"] == playbook]
    found = statistics.lift(_columns(mine)[1])
    return {"lift": _shown(found, None), "verdict": found.verdict if found else
            "not enough data yet", "split": _split_shown(split_of(mine))}


def split_of(units: Sequence[Row]) -> Split:
    """Were as many held out as the logged probabilities say?"""
    held_out = sum(bool(unit["held_out"]) for unit in units)
    return statistics.split(treated=len(units) - held_out, held_out=held_out,
                            held_out_expected=sum(u["holdout_probability"] for u in units))


def _split_shown(split: Split) -> Row:
    return {"treated": split.treated, "held_out": split.held_out,
            "held_out_expected": round(split.held_out_expected, 1), "p": split.p,
            "holds": split.holds}


def _shown(lift: Lift | None, truth: Row | None, *, scale: float = 1.0) -> Row:
    """A lift as the report shows it; `estimate`, `low`, `high` are None where nothing can be said.

    scale   of the outcome's unit to the shown one (micro-units to whole ones: 1e-6)
    """
    known = {"truth": truth["lift"], "truth_how": truth.get("how", "")} if truth else {}
    if lift is None:
        return {"estimate": None, "low": None, "high": None, "treated": 0, "held_out": 0, **known}
    shown: Row = {
        "estimate": lift.estimate * scale, "low": lift.interval.low * scale,
        "high": lift.interval.high * scale, "fixed_low": lift.fixed.low * scale,
        "fixed_high": lift.fixed.high * scale, "treated_mean": lift.treated_mean * scale,
        "held_out_mean": lift.held_out_mean * scale, "people": lift.people,
        "treated": lift.treated, "held_out": lift.held_out, "left_out": list(lift.left_out),
        **known}
    if truth:
        shown["covers_truth"] = lift.interval.low <= truth["lift"] <= lift.interval.high
    return shown


def _incremental(lift: Lift | None, usd_per_message: float) -> Row:
    """Conversions among the treated units: all of them, and those that the messages caused."""
    if lift is None:
        return {"treated_units": 0, "converted": 0, "caused": None, "caused_low": None,
                "caused_high": None, "usd_per_caused_conversion": None,
                "usd_per_caused_conversion_low": None, "usd_per_caused_conversion_high": None}
    count = lift.treated
    return {
        "treated_units": count, "converted": round(lift.treated_mean * count),
        "caused": lift.estimate * count, "caused_low": lift.interval.low * count,
        "caused_high": lift.interval.high * count,
        "usd_per_caused_conversion": _price(usd_per_message, lift.estimate),
        "usd_per_caused_conversion_low": _price(usd_per_message, lift.interval.high),
        "usd_per_caused_conversion_high": _price(usd_per_message, lift.interval.low)}


def _price(usd: float, gained: float) -> float | None:
    """Dollars per conversion gained; None where none is shown to be gained: no price buys it."""
    return usd / gained if gained > 0 else None


