"""Absences in arrays: the stage says the same as when everything goes through `watches`."""

from __future__ import annotations

from typing import Any

import pytest
from broker_model import drive
from test_choose_crash import heard, logic, world

from streams.choose import absent, tables
from streams.choose.absences import Absences


class Plain(Absences):
    """Nothing fits: everything goes through `watches`."""

    def reserve(self, nodes: int, text_bytes: int) -> absent.Nodes:
        return super().reserve(0, 0)

    def freeze(self, slot: int, kept: dict[str, Any]) -> None:
        self.mark(slot, kept)


@pytest.mark.parametrize("seed", range(12))
def test_the_stage_says_the_same_without_arrays(seed: int, monkeypatch: pytest.MonkeyPatch,
                                                ) -> None:
    said = []
    for store in (Absences, Plain):
        monkeypatch.setattr(tables, "Absences", store)
        broker = world(seed)
        lane = drive(broker, logic(), 0, batch=5, checkpoint_every=2)
        assert lane is not None
        assert isinstance(lane.state.slab.absences, store)
        said.append([heard(broker, "decisions.made", "decision_id"),
                     heard(broker, "segments.changed", "change_id")])
    assert said[0] == said[1] and len(said[0][0]) > 10
