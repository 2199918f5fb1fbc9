"""A tenant without a playbook, of whom some partitions never hear: its time passes all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from admit_world import NOW_MS, World, event, new_state, read, record

from streams.admit.limits import AdmitLimits
from streams.engine.records import Out
from streams.engine.watermarks import NEVER, Watermarks
from streams.kernel.moments import DAY_MS, MINUTE_MS

PARTITIONS = 4


class Partitions:
    """All partitions of events.raw, walked by one worker, and what choose makes of watermarks."""

    def __init__(self, folder: Path, limits: AdmitLimits | None = None) -> None:
        self.world = World(folder, partitions=PARTITIONS, limits=limits)
        self.states = [new_state(partition) for partition in range(PARTITIONS)]
        self.heard = Watermarks(PARTITIONS)
        self.consents: list[dict[str, Any]] = []

    def walk(self, partition: int, *values: dict[str, Any], now_ms: int = NOW_MS) -> None:
        out = Out("admit", now_ms)
        self.world.logic.walk(self.states[partition], [
            record(n, value, partition=partition) for n, value in enumerate(values)], out)
        self._hear(out)

    def idle(self, now_ms: int) -> None:
        for state in self.states:
            out = Out("admit", now_ms)
            self.world.logic.idle(state, out, idle_ms=1)
            self._hear(out)

    def _hear(self, out: Out) -> None:
        for emission in out.emissions:
            kind, fields = read(emission)
            if kind == "watermark" and emission.partition == 0:
                self.heard.advance(fields["tenant"], fields["origin_partition"],
                                   fields["watermark_ms"])
            elif kind == "consents.changed":
                self.consents.append(fields)
                self.world.side.take(kind, fields)


@pytest.fixture
def partitions(tmp_path: Path) -> Partitions:
    return Partitions(tmp_path)


def test_time_passes_for_a_tenant_that_one_partition_alone_has_heard_of(
        partitions: Partitions) -> None:
    partitions.walk(2, event("1", tenant="small"))
    assert partitions.heard.of("small") == NEVER
    partitions.idle(NOW_MS + MINUTE_MS // 2)
    assert partitions.heard.of("small") == NEVER, "clock events may still be on their way"
    partitions.idle(NOW_MS + MINUTE_MS)
    assert partitions.heard.of("small") == NOW_MS
    partitions.idle(NOW_MS + DAY_MS)
    assert partitions.heard.of("small") == NOW_MS + DAY_MS - MINUTE_MS


def test_a_worker_that_starts_later_knows_of_the_tenant_from_the_words_of_its_people(
        tmp_path: Path, partitions: Partitions) -> None:
    partitions.walk(2, event("1", tenant="small"))
    (tmp_path / "later").mkdir()
    later = Partitions(tmp_path / "later")
    for word in partitions.consents:
        later.world.side.take("consents.changed", word)
    later.idle(NOW_MS + DAY_MS)
    assert later.heard.of("small") == NOW_MS + DAY_MS - MINUTE_MS


def test_nobody_s_time_passes_without_a_word_on_consent(partitions: Partitions) -> None:
    """Of people who said nothing no event is used, so there is nothing to lapse."""
    partitions.walk(2, {**event("1", tenant="small"), "consent": None})
    partitions.idle(NOW_MS + DAY_MS)
    assert partitions.world.side.tenants == {} and partitions.heard.of("small") == NEVER


def test_a_replay_s_time_stands_in_every_partition(partitions: Partitions) -> None:
    """Its clock events reach every partition before a minute has passed."""
    start_ms = NOW_MS - 4_000 * DAY_MS
    tick = {"event_type": "clock", "tenant": "retail", "event_ms": start_ms}
    partitions.walk(0, {**tick, "event_id": "c0"},
                    event("1", tenant="retail", event_ms=start_ms))
    partitions.idle(NOW_MS + 1)
    for partition in range(1, PARTITIONS):
        partitions.walk(partition, {**tick, "event_id": f"c{partition}"})
    partitions.idle(NOW_MS + DAY_MS)
    assert partitions.heard.of("retail") == start_ms


def test_tenants_of_other_partitions_leave_the_room_that_there_is(tmp_path: Path) -> None:
    partitions = Partitions(tmp_path, AdmitLimits(tenants_max=2))
    partitions.walk(0, event("1", tenant="a"), event("2", tenant="b"))
    partitions.walk(1, event("3", tenant="c"))
    partitions.idle(NOW_MS + DAY_MS)
    assert [len(state.notes["clocks"]) for state in partitions.states] == [2, 2, 2, 2]
