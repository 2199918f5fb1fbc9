"""A replay is in event time, resumable at any point, and nothing is missing or behind the clock."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.kernel.errors import KairosError, UnreachableError
from streams.kernel.moments import DAY_MS
from streams.worlds.loading import load
from streams.worlds.preparing import Prepared, prepare
from streams.worlds.progress import Progress, ProgressFile
from streams.worlds.replaying import CLOSING_MS, replay
from streams.worlds.sorting import Sorter

SAMPLES = Path(__file__).with_name("samples")
WALL_MS = 1_800_000_000_000


class Broker:
    """Takes what is acknowledged; fails for good when its patience is at an end."""

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self._held: list[dict[str, Any]] = []
        self.fails_at = -1

    def event(self, key: bytes, value: bytes) -> None:
        self._held.append(json.loads(value) | {"_key": key})

    def clock(self, tenant: str, now_ms: int) -> None:
        self._held.append({"event_type": "clock", "tenant": tenant, "event_ms": now_ms})

    def item(self, record: dict[str, Any]) -> None:
        self.items.append(record)

    def settle(self) -> None:
        """Acknowledge all, or part of it and then die: what was taken before stays."""
        if 0 <= self.fails_at < len(self.log) + len(self._held):
            self.log += self._held[:self.fails_at - len(self.log)]
            self._held = []
            raise UnreachableError("the broker is gone")
        self.log += self._held
        self._held = []


class Pace:
    def __init__(self) -> None:
        self.wall_ms = WALL_MS
        self.slept_s = 0.0

    def now_ms(self) -> int:
        return self.wall_ms

    def sleep(self, seconds: float) -> None:
        self.wall_ms += round(seconds * 1000)
        self.slept_s += seconds


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Prepared]:
    mapping = load(Path("streams/worlds/retail.yml"))
    with prepare(SAMPLES / "online_retail.parquet", mapping, folder=tmp_path,
                 rejects=tmp_path / "rejects.jsonl") as made:
        yield made


def _replay(prepared: Prepared, broker: Broker, book: ProgressFile, **options: Any) -> Progress:
    mapping = load(Path("streams/worlds/retail.yml"))
    start = book.read("s", restart=False)
    return replay(prepared, mapping, broker, book, start, pace=options.pop("pace", Pace()),
                  **options)


def _behind_the_clock(log: list[dict[str, Any]]) -> list[str]:
    seen: set[str] = set()
    late, clock_ms = [], -1
    for event in log:
        if event["event_type"] == "clock":
            clock_ms = max(clock_ms, event["event_ms"])
        elif event["event_id"] not in seen:
            seen.add(event["event_id"])
            if event["event_ms"] <= clock_ms:
                late.append(event["event_id"])
    return late


def test_events_come_in_order_of_time_between_clocks(prepared: Prepared, tmp_path: Path) -> None:
    broker = Broker()
    done = _replay(prepared, broker, ProgressFile(tmp_path / "p.json"))
    events = [e for e in broker.log if e["event_type"] != "clock"]
    assert done.done and len(events) == prepared.counts.events == done.position
    assert [e["event_ms"] for e in events] == sorted(e["event_ms"] for e in events)
    assert broker.log[0] == {"event_type": "clock", "tenant": "retail",
                             "event_ms": prepared.first_ms - 1}
    assert broker.log[-1]["event_ms"] == prepared.last_ms + CLOSING_MS
    assert not _behind_the_clock(broker.log)
    assert all(item["as_of_ms"] == prepared.first_ms for item in
               broker.items[:len(prepared.catalogue)])


def test_consent_is_said_once_by_each_person(prepared: Prepared, tmp_path: Path) -> None:
    broker = Broker()
    _replay(prepared, broker, ProgressFile(tmp_path / "p.json"))
    told = [e["_key"] for e in broker.log if e.get("consent")]
    assert len(told) == len(set(told)) == len({
        e["_key"] for e in broker.log if e["event_type"] != "clock"})


@pytest.mark.parametrize("seed", range(25))
def test_a_replay_that_dies_anywhere_ends_as_one_that_did_not(
        prepared: Prepared, tmp_path: Path, seed: int) -> None:
    dice, book, broker = random.Random(seed), ProgressFile(tmp_path / "p.json"), Broker()
    for _ in range(dice.randint(1, 4)):
        broker.fails_at = len(broker.log) + dice.randint(0, 20)
        try:
            _replay(prepared, broker, book)
        except UnreachableError:
            continue
    broker.fails_at = -1
    done = _replay(prepared, broker, book) if not book.read("s", restart=False).done else None
    whole = Broker()
    _replay(prepared, whole, ProgressFile(tmp_path / "whole.json"))
    ids = {e["event_id"] for e in broker.log if e["event_type"] != "clock"}
    assert ids == {e["event_id"] for e in whole.log if e["event_type"] != "clock"}, f"{seed=}"
    assert not _behind_the_clock(broker.log), f"{seed=}"
    assert done is None or done.done


def test_the_pace_is_kept_in_virtual_days(prepared: Prepared, tmp_path: Path) -> None:
    pace = Pace()
    _replay(prepared, Broker(), ProgressFile(tmp_path / "p.json"), pace=pace, days_per_s=0.5)
    span_days = (prepared.last_ms - prepared.first_ms) / DAY_MS
    assert pace.slept_s == pytest.approx(span_days / 0.5, rel=0.1)


def test_the_clock_never_runs_ahead_of_the_real_one(prepared: Prepared, tmp_path: Path) -> None:
    pace, broker = Pace(), Broker()
    pace.wall_ms = prepared.last_ms + DAY_MS
    _replay(prepared, broker, ProgressFile(tmp_path / "p.json"), pace=pace)
    assert max(e["event_ms"] for e in broker.log) <= pace.wall_ms


def test_progress_of_another_file_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    book = ProgressFile(tmp_path / "p.json")
    book.write(Progress("one", position=5))
    with pytest.raises(KairosError, match="--restart"):
        book.read("two", restart=False)
    assert book.read("two", restart=True) == Progress("two")
    assert book.read("one", restart=False).position == 5


@pytest.mark.parametrize("seed", range(5))
def test_sorting_on_disk_gives_what_sorting_in_memory_gives(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    items = [((dice.randrange(50), i), bytes([i % 256])) for i in range(300)]
    dice.shuffle(items)
    with Sorter(tmp_path, memory_items=dice.randint(1, 400)) as sorter:
        for key, payload in items:
            sorter.add(key, payload)
        assert list(sorter) == list(sorter) == sorted(items), f"{seed=}"
    assert not list(tmp_path.iterdir())
