"""Rules: conditions over features and segments, compiled to postfix for the kernel.

The truth is that of `streams.playbooks.conditions.holds`, which tests hold it against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.choose.features.buckets import place_of
from streams.choose.features.clusters import RUNGS, Clusters, nearest
from streams.choose.features.layout import MASK, R_A, R_B, R_HOW, READ_RATIO, TENANT, Layout
from streams.choose.features.lists import PeopleList, is_listed
from streams.choose.features.reading import has_text, read
from streams.choose.features.texts import name_hash
from streams.engine.compiling import compiled
from streams.engine.hashing import signed_hash
from streams.kernel.errors import KairosError
from streams.playbooks.conditions import COMPARES
from streams.playbooks.model import Condition

_DEPTH_MAX = 60
(_FEATURE, _SEGMENT, _ALL, _ANY, _NOT, _UNLESS, _IF, _BUCKET, _CLUSTER, _TRAIT, _LIST, _TEXT,
 _WAS) = range(13)


@dataclass(frozen=True)
class Rules:
    """Steps `starts[r]` to `starts[r + 1]` are rule r's: (step; feature, segment, cluster, hash of
    a bucket's name, word of a trait, or where in `numbers` a list begins; compare, hash of a
    trait's or a feature's text, or where in `numbers` the clusters are or a list ends).

    numbers     what a step compares with; behind them the clusters, and then the lists
    watched     features that decide (of a ratio: its parts)
    crossings   (feature, value from which on a comparison of it is another)
    """

    starts: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    watched: npt.NDArray[np.int64]
    crossings: npt.NDArray[np.float64]


def compile_rules(rules: Sequence[Condition], layout: Layout, segments: Sequence[str],
                  clusters: Clusters | None = None, lists: Sequence[PeopleList] = ()) -> Rules:
    """`segments[r]` is the name by which later rules may ask for rule r; `lists`: all that rules
    ask for, each once.

    Raises KairosError when one is nested too deeply.
    """
    steps: list[tuple[int, int, int, float]] = []
    starts = [0]
    for rule in rules:
        _emit(rule, layout, _Names(list(segments), clusters, [each.name for each in lists]), steps,
              0)
        starts.append(len(steps))
    compared = [(arg, turn) for step, arg, compare, number in steps if step == _FEATURE
                for turn in _turns(COMPARES[compare], number)]
    numbers = [s[3] for s in steps]
    if clusters is not None and any(step == _CLUSTER for step, *_ in steps):
        steps = [(step, arg, len(numbers) if step == _CLUSTER else compare, number)
                 for step, arg, compare, number in steps]
        numbers += clusters.packed(layout.by_name, layout.specs)
        compared += _steps_of(clusters, layout)
    ends = (len(numbers) + np.cumsum([0, *(len(each.places) for each in lists)])).tolist()
    steps = [(step, ends[arg], ends[arg + 1], number) if step == _LIST else
             (step, arg, compare, number) for step, arg, compare, number in steps]
    watched = {part for feature, _ in compared for part in _parts(feature, layout)}
    watched.update(arg for step, arg, *_ in steps if step == _TEXT)
    packed = [np.array(numbers, np.float64), *(each.places for each in lists)]
    return Rules(np.array(starts, np.int64),
                 np.array([s[:3] for s in steps], np.int64).reshape(len(steps), 3),
                 np.concatenate(packed), np.array(sorted(watched), np.int64),
                 np.array(compared, np.float64).reshape(len(compared), 2))


def _turns(compare: str, number: float) -> tuple[float, ...]:
    """The values from which on a comparison is another: that of 7 for `at_least: 7`, but what is
    just above 7 for `at_most: 7`."""
    beyond = math.nextafter(number, math.inf)
    if compare in ("at_least", "below"):
        return (number,)
    return (beyond,) if compare in ("at_most", "above") else (number, beyond)


def _parts(feature: int, layout: Layout) -> tuple[int, ...]:
    read_as = layout.reads[feature]
    if read_as[R_HOW] == READ_RATIO:
        return int(read_as[R_A]), int(read_as[R_B])
    return (feature,)


def _steps_of(clusters: Clusters, layout: Layout) -> list[tuple[int, float]]:
    """What moves people between clusters: any change of a feature (its number does not matter), and
    each rung of a time since."""
    found: list[tuple[int, float]] = []
    for axis in clusters.axes:
        f = layout.by_name[axis.feature]
        found += [(f, rung) for rung in (RUNGS if layout.specs[f].kind == "since" else (0.0,))]
    return found


class _Names(NamedTuple):
    """What rules ask for by name."""

    segments: list[str]
    clusters: Clusters | None
    lists: list[str]


def _emit(rule: Condition, layout: Layout, names: _Names,
          steps: list[tuple[int, int, int, float]], depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise KairosError("a condition is nested too deeply", f"at most {_DEPTH_MAX} levels")
    if rule.op == "feature" and (
            rule.text or layout.specs[layout.by_name[rule.name]].value_is != "number"):
        # A number asked for a text, or a text for a number, holds for nobody.
        steps.append((_TEXT, layout.by_name[rule.name],
                      name_hash(rule.text) if rule.text else 0, 0.0))
    elif rule.op == "feature":
        steps.append((_FEATURE, layout.by_name[rule.name], COMPARES.index(rule.compare),
                      rule.number))
    elif rule.op == "bucket":
        steps.append((_BUCKET, signed_hash(rule.name), COMPARES.index(rule.compare), rule.number))
    elif rule.op == "cluster":
        assert names.clusters is not None, "definitions accept only clusters that are learned"
        steps.append((_CLUSTER, names.clusters.names.index(rule.name), 0, 0.0))
    elif rule.op in ("segment", "was"):
        steps.append((_SEGMENT if rule.op == "segment" else _WAS, names.segments.index(rule.name),
                      0, 0.0))
    elif rule.op == "trait":
        steps.append((_TRAIT, layout.traits[rule.name], signed_hash(rule.text), 0.0))
    elif rule.op == "list":
        steps.append((_LIST, names.lists.index(rule.name), 0, 0.0))
    else:
        # Pairwise, so that the stack of truths stays shallow however long a list is; and what
        # cannot change the answer any more is jumped over.
        code = {"all": _ALL, "any": _ANY, "not": _NOT}[rule.op]
        for n, part in enumerate(rule.parts):
            jump = len(steps)
            if n:
                steps.append((_UNLESS if code == _ALL else _IF, 0, 0, 0.0))
            _emit(part, layout, names, steps, depth + 1)
            if n or code == _NOT:
                steps.append((code, 0, 0, 0.0))
            if n:
                steps[jump] = (steps[jump][0], len(steps), 0, 0.0)


@compiled
def _compares(compare, value, number):
    if compare == 0:
        return value >= number
    if compare == 1:
        return value <= number
    if compare == 2:
        return value > number
    if compare == 3:
        return value < number
    if compare == 5:
        return value > 0.0 and number > 0.0 and value % number == 0.0
    return value == number


@compiled
def rule_holds(steps, numbers, first, last, rd, u8, u16, i64, slot, at_ms, mask, who):
    """The truth of one rule as of `at_ms`, for a member of the segments in `mask`; those of the row
    are the ones that the person was in before.

    who   hash of the person's id; any number where no rule asks for a bucket or a list
    """
    stack = uint64(0)
    one = uint64(1)
    s = first - 1
    while s + 1 < last:
        s += 1
        step = steps[s, 0]
        if step in (_UNLESS, _IF):
            if (stack & one) == (one if step == _IF else uint64(0)):
                s = steps[s, 1] - 1
        elif step == _FEATURE:
            value, has, _ = read(rd, u8, u16, i64, slot, steps[s, 1], at_ms)
            truth = has and _compares(steps[s, 2], value, numbers[s])
            stack = (stack << one) | (one if truth else uint64(0))
        elif step == _SEGMENT:
            stack = (stack << one) | ((uint64(mask) >> uint64(steps[s, 1])) & one)
        elif step == _WAS:
            stack = (stack << one) | ((uint64(i64[slot, MASK]) >> uint64(steps[s, 1])) & one)
        elif step == _BUCKET:
            place = place_of(who, i64[slot, TENANT], steps[s, 1])
            truth = _compares(steps[s, 2], place, numbers[s])
            stack = (stack << one) | (one if truth else uint64(0))
        elif step == _TRAIT:
            truth = i64[slot, steps[s, 1]] == steps[s, 2]
            stack = (stack << one) | (one if truth else uint64(0))
        elif step == _TEXT:
            truth = has_text(rd, u8, u16, i64, slot, steps[s, 1], steps[s, 2], at_ms)
            stack = (stack << one) | (one if truth else uint64(0))
        elif step == _LIST:
            truth = is_listed(numbers, steps[s, 1], steps[s, 2], who)
            stack = (stack << one) | (one if truth else uint64(0))
        elif step == _CLUSTER:
            own = nearest(numbers, steps[s, 2], rd, u8, u16, i64, slot, at_ms)
            stack = (stack << one) | (one if own == steps[s, 1] else uint64(0))
        elif step == _NOT:
            stack ^= one
        else:
            b = stack & one
            stack >>= one
            if step == _ALL:
                stack &= b | ~one
            else:
                stack |= b
    return (stack & one) == one


@compiled
def members_mask(starts, steps, numbers, rd, u8, u16, i64, slot, at_ms, who):
    """Bit r is set when rule r holds; a rule may ask for those before it, and for what the row says
    of the past. Asked again with that in the row, it says the same."""
    mask = np.int64(0)
    for r in range(len(starts) - 1):
        if rule_holds(steps, numbers, starts[r], starts[r + 1], rd, u8, u16, i64, slot, at_ms,
                      mask, who):
            mask |= np.int64(1) << np.int64(r)
    return mask


