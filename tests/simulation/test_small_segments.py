"""Segments of few people are neither the policy's cell nor named in a decision; all else stays."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from broker_model import drive
from test_choose_crash import PLAYBOOKS, world

from schemas import contract
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.kernel.side_inputs import SideInputs

ORDER = compiled().segments
CELLS = {"segment", "segments_json", "policy_version"}


def rolled(segment: str, partition: int, members: int) -> dict[str, Any]:
    return {"tenant": "t", "segment": segment, "partition": partition, "members": members,
            "sums_json": "{}", "event_ms": 1, "recorded_ms": 1}


def told(seed: int, *rolls: dict[str, Any], members_min: int) -> tuple[list[Any], list[Any]]:
    """Decisions and segment changes of a world in which others said `rolls` of the segments."""
    side, broker = SideInputs(), world(seed)
    for record in rolls:
        side.take("segments.rolled", record)
    logic = ChooseLogic(side, compiled(), lambda side, tenant: PLAYBOOKS, members_min=members_min)
    assert drive(broker, logic, 0) is not None
    return tuple([each.decode(value) for _, value in broker.logs[each_topic, 0]  # type: ignore[return-value]
                  if each.is_mine(value)] for each_topic in ("decisions.made", "segments.changed")
                 for each in (contract(each_topic),))


def test_members_are_the_sum_of_the_newest_word_of_each_partition() -> None:
    side = SideInputs()
    assert side.members("t", "vip") == 0
    for partition, members in ((0, 7), (1, 12), (0, 9), (0, 9)):
        side.take("segments.rolled", rolled("vip", partition, members))
    assert side.members("t", "vip") == 21
    assert side.members("t", "new") == side.members("u", "vip") == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_small_segment_is_not_used_and_nothing_else_changes(seed: int) -> None:
    free, changes = told(seed, members_min=0)
    used = {name for each in free for name in orjson.loads(each["segments_json"])}
    assert len(used) >= 2, "the world has people in segments"
    small = next(name for name in ORDER if name in used)
    rolls = [rolled(name, part, 9 if name == small else 10) for name in ORDER for part in (0, 1)]
    kept, same_changes = told(seed, *rolls, members_min=20)
    assert same_changes == changes, "membership itself stays"
    assert [e["decision_id"] for e in kept] == [e["decision_id"] for e in free]
    for one, other in zip(free, kept, strict=True):
        named = [n for n in orjson.loads(one["segments_json"]) if n != small]
        assert orjson.loads(other["segments_json"]) == named
        assert other["segment"] == (named[0] if named else "other")
        assert {k: v for k, v in one.items() if k not in CELLS} == {
            k: v for k, v in other.items() if k not in CELLS}
    assert any(e["segment"] == small for e in free)


def test_sizes_that_nobody_has_told_are_too_small() -> None:
    unheard, _ = told(0, members_min=1)
    assert unheard
    assert {(e["segment"], e["segments_json"]) for e in unheard} == {("other", "[]")}
