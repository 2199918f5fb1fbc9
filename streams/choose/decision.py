"""Decision: what is worth saying, if anything, and with what probability?

In       Moments of one person at one time, purposes in force, policy counts, what was said before
Out      a Decision (a hold-out is one too) | a reason for silence per losing moment
Keeps    when each playbook last spoke; the times of recent decisions and whose they were
Refuses  no_purpose, not_in_audience, cooling_down, capped, outranked
Time     the moment's

Caps and cool-downs count hold-outs as if they had been spoken to; otherwise the two groups would
no longer be alike. Moments do not come in the order of their times (the timer of yesterday goes off
behind the event of today), so both look forward as well as back. Arms are drawn by inverse-gap
weighting, which has closed-form probabilities that can be logged exactly (Abe & Long 1999; Foster &
Rakhlin, ICML 2020), over Beta-Bernoulli means, with a floor so that every arm goes on being tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from streams.choose.triggers import Moment, Person
from streams.kernel import ids
from streams.kernel.purposes import BITS, PERSONALISE

FLOOR = 0.05              # least probability of an arm
GREED = 8.0               # how fast probability moves to the best arm as evidence grows
CELL_EVIDENCE_MIN = 30    # below this many trials a cell backs off to everybody's counts

TIMES_MAX = 100           # the greatest cap that a playbook may have

Said = tuple[int, str]    # when, and by which playbook
Counts = Mapping[str, tuple[int, int]]        # arm -> (trials, successes)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A decision to be recorded. `propensities` sum to 1; `arm` was drawn from them."""

    decision_id: str
    moment: Moment
    holdout: bool
    arm: str
    propensities: dict[str, float]
    evidence_count: int
    cell: str


def why_not(moment: Moment, person: Person, said: Mapping[str, Any], purposes: int) -> str:
    """A reason code for silence, or ''."""
    playbook = moment.playbook
    needed = BITS[playbook.purpose] | PERSONALISE
    if purposes & needed != needed:
        return "no_purpose"
    if playbook.audience is not None and not person.holds(playbook.audience):
        return "not_in_audience"
    at_ms, times = moment.moment_ms, times_of(said)
    own = {ms for ms, name in times if name == playbook.name}
    own.update([said["last"][playbook.name]] if playbook.name in said.get("last", {}) else [])
    if any(abs(at_ms - ms) < playbook.cooldown_ms for ms in own):
        return "cooling_down"
    spoken = most_within([ms for ms, _ in times], at_ms, playbook.cap_per_ms)
    return "capped" if spoken >= playbook.cap_messages else ""


def times_of(said: Mapping[str, Any]) -> list[Said]:
    """The recent decisions, (ms, playbook) by time; of rows of old only the times are known."""
    return [(entry, "") if isinstance(entry, int) else (entry[0], entry[1])
            for entry in said.get("times", ())]


def most_within(times: Sequence[int], at_ms: int, span_ms: int) -> int:
    """The most of `times` (sorted) that any span of `span_ms` which also holds `at_ms` holds."""
    near = [ms for ms in times if abs(ms - at_ms) < span_ms]
    starts = [ms for ms in near if ms < at_ms]
    return max(sum(start <= ms < start + span_ms for ms in near) for start in [*starts, at_ms])


def rank(moments: list[Moment]) -> list[Moment]:
    """Most valuable first; the name breaks ties, so that the order never depends on luck."""
    return sorted(moments, key=lambda m: (-m.playbook.value_micros, m.playbook.name,
                                          m.object_id))


def remember(said: dict[str, Any], moment: Moment) -> None:
    """Note that `moment` was decided, for cool-down and cap."""
    name = moment.playbook.name
    join(said, {"last": {name: moment.moment_ms}, "times": [(moment.moment_ms, name)]})


def join(said: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Into `said` what was said elsewhere to one who turns out to be the same person."""
    last = said.setdefault("last", {})
    for name, ms in other.get("last", {}).items():
        last[name] = max(ms, last.get(name, ms))
    said["times"] = sorted([*times_of(said), *times_of(other)])[-TIMES_MAX:]


def id_of(moment: Moment, profile_id: str) -> str:
    """The same moment has the same id, in any run."""
    return ids.derive("decision", moment.playbook.tenant, moment.playbook.name, profile_id,
                      moment.moment_ms, moment.object_id, moment.event_id)


def holdout_number(tenant: str, profile_id: str) -> float:
    """Sticky per person and tenant: one number decides for all playbooks, so that the hold-out of
    a small share is contained in that of a larger one."""
    return ids.unit_interval(f"holdout|{tenant}", profile_id)


def propensities(arms: list[str], counts: Counts) -> dict[str, float]:
    """Inverse-gap weighting over posterior means; each arm gets at least FLOOR (or 1/arms).

    mean_a = (successes + 1) / (trials + 2); gap = best mean - mean_a;
    p_a = 1 / (K + GREED * sqrt(n) * gap) for all but the best, which takes the rest.
    """
    k, floor = len(arms), min(FLOOR, 1.0 / len(arms))
    means = {arm: (counts.get(arm, (0, 0))[1] + 1) / (counts.get(arm, (0, 0))[0] + 2)
             for arm in arms}
    total = sum(counts.get(arm, (0, 0))[0] for arm in arms)
    best = max(arms, key=lambda arm: (means[arm], arm))
    gamma = GREED * sqrt(total)
    shares = {arm: max(floor, 1.0 / (k + gamma * (means[best] - means[arm])))
              for arm in arms if arm != best}
    shares[best] = 1.0 - sum(shares.values())
    return {arm: shares[arm] for arm in arms}


def draw(shares: Mapping[str, float], chance: float) -> str:
    """The arm at `chance` in [0, 1) along the cumulated shares."""
    passed, arm = 0.0, ""
    for arm, share in shares.items():
        passed += share
        if chance < passed:
            return arm
    return arm      # rounding: the shares add up to a hair less than 1


def decide(moment: Moment, profile_id: str, *, cell: str, in_cell: Counts, overall: Counts,
           held_as: float = 1.0) -> Chosen:
    """Choose an arm for `moment`. `in_cell` and `overall` are matured counts per arm.

    held_as   the least hold-out number of the ids under which the person was decided about before
    """
    arms = [variant.name for variant in moment.playbook.variants]
    enough = sum(trials for trials, _ in in_cell.values()) >= CELL_EVIDENCE_MIN
    used, at = (in_cell, cell) if enough else (overall, "*")
    shares = propensities(arms, used)
    decision_id = id_of(moment, profile_id)
    arm = draw(shares, ids.unit_interval("arm", decision_id))
    number = min(held_as, holdout_number(moment.playbook.tenant, profile_id))
    return Chosen(decision_id, moment, number < moment.playbook.holdout, arm, shares,
                  sum(trials for trials, _ in used.values()), at)
