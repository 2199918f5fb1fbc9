"""The sink is killed between any two effects, again and again; nothing is lost or doubled.

The model has a log with offsets and metadata, a warehouse that forgets no token, inserts that are
in although the sink died, inserts that come in late, and a dice for everything.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from sinks.cutting import Cut
from sinks.decoding import Decoded, Fault
from sinks.intents import Arrival, Where
from sinks.ports import LedgerEntry, OwnershipChanged, RowsRefused, Unavailable
from sinks.writer import Writer

HERE = Where("decisions.made", 0)
POINTS = ("before intent", "after intent", "before insert", "after insert", "insert comes late",
          "before commit", "after commit", "around ledger", "around quarantine")


class Crash(BaseException):
    """kill -9: no handler of ours may catch it."""


@dataclass(frozen=True)
class Rows:
    records: tuple[Arrival, ...]

    @property
    def height(self) -> int:
        return len(self.records)

    def slice(self, offset: int, length: int) -> Rows:
        return Rows(self.records[offset:offset + length])


@dataclass
class World:
    """Kafka and ClickHouse together, and the dice that kill the sink at `points`."""

    dice: random.Random
    points: tuple[str, ...]
    records: list[Arrival]
    with_intent: bool = True
    danger: float = 0.15
    committed: tuple[int, str] = (0, "")
    stored: list[int] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    ledger: dict[tuple[int, int], LedgerEntry] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)
    late: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    crashes: int = 0

    def maybe(self, point: str) -> None:
        if point in self.points and self.dice.random() < self.danger:
            self.crashes += 1
            raise Crash(point)

    def settle(self) -> None:
        """What was under way when the sink died may come in now, or never."""
        while self.late and self.dice.random() < 0.5:
            self._store(*self.late.pop())

    def _store(self, token: str, offsets: tuple[int, ...]) -> None:
        if token not in self.tokens:
            self.tokens.add(token)
            self.stored += offsets

    def commit(self, offsets: Mapping[Where, tuple[int, str]]) -> None:
        offset, metadata = offsets[HERE]
        kind = "intent" if metadata else "commit"
        self.maybe(f"before {kind}")
        if self.dice.random() < 0.05:
            raise OwnershipChanged("rebalance")
        self.committed = (offset, metadata if self.with_intent else "")
        self.maybe(f"after {kind}")

    def decode(self, where: Where, topic_id: str, records: Sequence[Arrival]) -> Decoded:
        good = tuple(r for r in records if r.value in (b"good", b"refused"))
        faults = tuple(Fault(r, "bad_avro", "") for r in records if r.value == b"poison")
        return Decoded(Rows(good), faults, sum(r.value is None for r in records))  # type: ignore[arg-type]

    def offsets(self, rows: Rows) -> list[int]:
        return [record.offset for record in rows.records]

    def present(self, where: Where, topic_id: str, first: int, last: int) -> set[int]:
        found = {offset for offset in self.stored if first <= offset <= last}
        self.settle()            # a late insert may slip in just after the look
        return found

    def insert(self, where: Where, rows: Rows, token: str) -> None:
        self.maybe("before insert")
        if any(record.value == b"refused" for record in rows.records):
            raise RowsRefused("constraint")
        offsets = tuple(self.offsets(rows))
        if "insert comes late" in self.points and self.dice.random() < self.danger:
            self.late.append((token, offsets))
            self.crashes += 1
            raise Crash("insert comes late")
        if self.dice.random() < 0.05:
            raise Unavailable("not in")
        self._store(token, offsets)
        self.maybe("after insert")
        if self.dice.random() < 0.05:
            raise Unavailable("in, but the answer was lost")

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        self.maybe("around ledger")
        for entry in entries:
            self.ledger[entry.first, entry.last] = entry
        self.maybe("around ledger")

    def send(self, faults: Sequence[Fault]) -> None:
        self.maybe("around quarantine")
        self.quarantined.update({f.record.offset: f.reason for f in faults})
        self.maybe("around quarantine")


def log_of(dice: random.Random, count: int) -> list[Arrival]:
    """Offsets with gaps, some poison, some refused rows, some watermarks, a turn of the month."""
    records, offset = [], 0
    for index in range(count):
        offset += 1 if dice.random() < 0.95 else dice.randrange(2, 5)
        value = dice.choices([b"good", b"poison", b"refused", None], [90, 3, 3, 4])[0]
        records.append(Arrival(*HERE, offset - 1, b"k", value, 1_764_000_000_000 + index * 10**7))
    return records


def run(world: World) -> None:
    """Start sinks until one of them reaches the end of the log."""
    dice, clock = world.dice, 0
    while True:
        writer = Writer(world, world, world, schema_of=lambda _: "s", warn=lambda _: None,  # type: ignore[arg-type]
                        cut=Cut(rows_max=dice.randrange(1, 60), age_ms_max=dice.randrange(1, 40)))
        try:
            writer.assign(HERE, *world.committed, topic_id="t")
            for record in world.records:
                if record.offset >= world.committed[0]:
                    clock += 1
                    writer.take(record, clock)
                    if dice.random() < 0.3:
                        _try(writer, clock)
            writer.reached(HERE, world.records[-1].offset + 1)
            for _ in range(500):
                clock += 100
                if _try(writer, clock) and writer.idle \
                        and world.committed[0] > world.records[-1].offset:
                    world.late.clear()
                    return
        except Crash:
            world.settle()


def _try(writer: Writer, now_ms: int) -> bool:
    try:
        writer.advance(now_ms, force=now_ms % 3 == 0)
        return True
    except (OwnershipChanged, Unavailable):
        return False


def verdict(world: World) -> str:
    """What is wrong, or nothing."""
    expected = [r.offset for r in world.records if r.value == b"good"]
    culprits = {r.offset for r in world.records if r.value in (b"poison", b"refused")}
    if sorted(world.stored) != expected:
        twice = len(world.stored) - len(set(world.stored))
        return f"{twice} twice, {len(set(expected) - set(world.stored))} lost"
    if set(world.quarantined) != culprits:
        return "quarantine differs"
    position = 0
    for first, last in sorted(world.ledger):
        if first != position:
            return f"ledger: {first} follows {position}"
        position = last + 1
    entries = world.ledger.values()
    counted = (sum(e.rows for e in entries), sum(e.poison_rows for e in entries),
               sum(e.control_rows for e in entries))
    wanted = (len(expected), len(culprits), sum(r.value is None for r in world.records))
    return "" if counted == wanted else f"ledger counts {counted}, not {wanted}"


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_one_point_neither_loses_nor_doubles(point: str) -> None:
    crashes = 0
    for seed in range(60):
        dice = random.Random(seed)
        world = World(dice, (point,), log_of(dice, 250))
        run(world)
        assert not verdict(world), f"{seed=} {point=}: {verdict(world)}"
        crashes += world.crashes
    assert crashes > 60, "the model never crashed: it proves nothing"


def test_crashes_everywhere_neither_lose_nor_double() -> None:
    for seed in range(300):
        dice = random.Random(seed)
        world = World(dice, POINTS, log_of(dice, 250), danger=0.08)
        run(world)
        assert not verdict(world), f"{seed=}: {verdict(world)}"


def test_without_the_intent_the_same_crashes_double_rows() -> None:
    broken = 0
    for seed in range(60):
        dice = random.Random(seed)
        world = World(dice, POINTS, log_of(dice, 250), with_intent=False, danger=0.08)
        run(world)
        broken += "twice" in verdict(world)
    assert broken > 30
