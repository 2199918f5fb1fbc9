"""Statistics: did it help, by how much, and how sure may one be? Pure.

The report is looked at at any time, and people stop when they like what they see. A fixed-horizon
interval read that way is wrong far more often than its 5 %: so the headline interval is an
asymptotic *confidence sequence*, which holds at all times at once, and Welch's interval stands
beside it for those who fixed their horizon before they looked.

The unit is a person with their first decision of a playbook; see docs/report.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ALPHA: Final = 0.05
TUNED_FOR_UNITS: Final = 2000
"""The number of people at which the sequence is narrowest; it is valid at every number."""

UNITS_MIN: Final = 30          # of either kind; below, no interval is worth printing
SRM_P_MIN: Final = 0.001       # below, the split is not the one that was designed

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float

    @property
    def covers_zero(self) -> bool:
        return self.low <= 0.0 <= self.high


@dataclass(frozen=True, slots=True)
class Lift:
    """A difference in means, treated less hold-out.

    estimate       share of conversions gained (0.02: two in a hundred), or value per unit
    interval       anytime-valid 95 %
    fixed          Welch-like 95 % for a horizon fixed beforehand
    treated, held_out           units behind it
    treated_mean, held_out_mean of the outcome, both weighted to the treated units' playbooks
    left_out       playbooks with too few units on one side to say anything
    """

    estimate: float
    interval: Interval
    fixed: Interval
    people: int
    treated: int
    held_out: int
    treated_mean: float
    held_out_mean: float
    left_out: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        if min(self.treated, self.held_out) < UNITS_MIN:
            return "not enough data yet"
        if self.interval.covers_zero:
            return "no effect shown: the interval covers zero"
        return "helps: the whole interval is above zero" if self.interval.low > 0 else (
            "harms: the whole interval is below zero")


@dataclass(frozen=True, slots=True)
class Units:
    """Columns of equal length, one row per person and playbook.

    person     number of the person, so that their rows can be taken together
    playbook   number of the playbook
    held_out   True: the person got no message
    outcome    converted (0/1), or value
    """

    person: NDArray[np.int64]
    playbook: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    outcome: Floats

    def __post_init__(self) -> None:
        sizes = {len(self.person), len(self.playbook), len(self.held_out), len(self.outcome)}
        if len(sizes) != 1:
            raise ValueError(f"columns of different lengths: {sorted(sizes)}")


def spread(units: int, *, tuned_for: int = TUNED_FOR_UNITS, alpha: float = ALPHA) -> float:
    """Half width of the confidence sequence after `units`, in standard errors of the mean.

    The boundary of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit
    theory and asymptotic confidence sequences" (2021/2024), theorem 2.2:

        sqrt(2 (n r^2 + 1) / (n r^2) * log(sqrt(n r^2 + 1) / alpha))

    with r chosen to be narrowest at `tuned_for` units (their appendix B.2).
    """
    ratio = math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned_for)
    scaled = units * ratio**2
    return math.sqrt(2 * (scaled + 1) / scaled * math.log(math.sqrt(scaled + 1) / alpha))


def welch(treated: Floats, held_out: Floats, *, alpha: float = ALPHA) -> Interval:
    """Welch's interval of the difference in means, for a horizon fixed beforehand."""
    found = stats.ttest_ind(treated, held_out, equal_var=False).confidence_interval(1 - alpha)
    return Interval(float(found.low), float(found.high))


def lift(units: Units, *, binary: bool = True, names: Mapping[int, str] | None = None,
         tuned_for: int = TUNED_FOR_UNITS) -> Lift | None:
    """The effect on the treated: per playbook, weighted by its treated units; None without any.

    Within a playbook treated and held-out differ by chance alone; across playbooks they may not
    (shares of hold-out differ), so playbooks are compared one by one and then averaged. One
    person's rows in several playbooks are not independent: their influences are added up before
    they are squared (a sandwich variance clustered by person).

    binary   outcomes are 0 or 1. The variance then never falls below that of an Agresti-Caffo
             estimate (one success and one failure added to each side), because forty hold-outs
             without a conversion are no proof of a rate of exactly zero.
    """
    kept, left_out = _comparable(units)
    if not kept:
        return None
    rows = np.isin(units.playbook, kept)
    treated_units = sum(int((_rows(units, k) & ~units.held_out).sum()) for k in kept)
    influence, floor, means = np.zeros(len(units.person)), 0.0, np.zeros(2)
    for playbook in kept:
        share = int((_rows(units, playbook) & ~units.held_out).sum()) / treated_units
        for side, sign in ((0, 1.0), (1, -1.0)):
            mine = _rows(units, playbook) & (units.held_out == bool(side))
            outcome = units.outcome[mine]
            mean = float(outcome.mean())
            means[side] += share * mean
            # n - 1: with one playbook this is exactly Welch's standard error
            influence[mine] += sign * share * (outcome - mean) / math.sqrt(
                len(outcome) * (len(outcome) - 1))
            floor += share**2 * (_agresti_caffo(outcome) if binary else 0.0)
    return _lift(units, rows, influence, floor, means, tuned_for,
                 tuple((names or {}).get(k, str(k)) for k in left_out))


def _rows(units: Units, playbook: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = units.playbook == playbook
    return found


def _comparable(units: Units) -> tuple[list[int], list[int]]:
    """Playbooks with at least two units on both sides, and the others."""
    kept: list[int] = []
    left_out: list[int] = []
    for playbook in np.unique(units.playbook):
        held = units.held_out[units.playbook == playbook]
        sides = (int(held.sum()), int((~held).sum()))
        (kept if min(sides) >= 2 else left_out).append(int(playbook))
    return kept, left_out


def _agresti_caffo(outcome: Floats) -> float:
    """Variance of a mean of 0s and 1s with one of each added."""
    count = len(outcome) + 2
    rate = (float(outcome.sum()) + 1) / count
    return rate * (1 - rate) / count


def _lift(units: Units, rows: NDArray[np.bool_], influence: Floats, floor: float, means: Floats,
          tuned_for: int, left_out: tuple[str, ...]) -> Lift:
    _, people = np.unique(units.person[rows], return_inverse=True)
    by_person = np.bincount(people, weights=influence[rows])
    squared = float((by_person**2).sum())
    estimate, held = float(means[0] - means[1]), int(units.held_out[rows].sum())
    guarded = math.sqrt(max(squared, floor))
    half = guarded * spread(len(by_person), tuned_for=tuned_for)
    # Degrees of freedom of the smaller side: never narrower than Welch's.
    fixed = math.sqrt(squared) * float(stats.t.ppf(1 - ALPHA / 2, max(1, min(
        held, int(rows.sum()) - held) - 1)))
    return Lift(estimate, Interval(estimate - half, estimate + half),
                Interval(estimate - fixed, estimate + fixed), len(by_person),
                int(rows.sum()) - held, held, float(means[0]), float(means[1]), left_out)


@dataclass(frozen=True, slots=True)
class Split:
    """Sample-ratio check: were as many held out as designed? `p` below SRM_P_MIN says no."""

    treated: int
    held_out: int
    held_out_expected: float
    p: float

    @property
    def holds(self) -> bool:
        return self.p >= SRM_P_MIN


def split(*, treated: int, held_out: int, held_out_expected: float) -> Split:
    """Chi-squared test of the split against the designed one (1 degree of freedom).

    held_out_expected   units expected in the hold-out: the sum of their probabilities
    """
    total = treated + held_out
    if total == 0 or not 0 < held_out_expected < total:
        return Split(treated, held_out, held_out_expected, 1.0)
    found = stats.chisquare([treated, held_out], [total - held_out_expected, held_out_expected])
    return Split(treated, held_out, held_out_expected, float(found.pvalue))
