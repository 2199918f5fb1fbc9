"""`python -m bench.stages`: what each stage costs by itself, in this process, without a broker.

A seeded load walks through all five stages, each in a real lane of one partition (walk, emissions,
dirty rows, mark, versions) whose broker is memory. The unit is orjson-decoding the same events in
the same run: what any consumer in this language pays at least. Choose's emissions are compose's
input, and so on, so a stage's figure is per record of its own input; the last line adds up the
road per raw event. The garbage collector's work is in the figures, at a worker's settings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from bench import load
from streams.adapters.models import compose_logic
from streams.admit.agent import AdmitLogic
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.cli.work import spare_the_collector
from streams.deliver.agent import DeliverLogic, DeliverParams
from streams.deliver.ports import Parcel, Reply
from streams.engine.lane import Lane
from streams.engine.ports import BarrierPort, Offsets
from streams.engine.records import Emission, Record
from streams.engine.stage import StageLogic
from streams.kernel.side_inputs import SideInputs
from streams.learn.agent import LearnLogic
from streams.pipeline import BY_NAME, CATALOGUE, PLAYBOOKS, RAW
from streams.playbooks import loading
from streams.playbooks.active import ActivePlaybooks
from streams.privacy.pseudonyms import Pseudonyms
from streams.privacy.vault import Deposit
from streams.settings import Settings
from streams.worlds.replaying import clock_event

PEOPLE, BATCH, CHECKPOINT_BATCHES = 5_000, 500, 4
STEP_MS = 30_000       # a week in 20,000 events: deadlines pass, windows close, rows are let go
_KEY = b"thirty-two bytes that are no key"


@dataclass
class Broker:
    """All ports of a lane; everything is acknowledged at once and nothing is kept but emissions."""

    sent: list[Emission] = field(default_factory=list)
    pending: int = 0
    fault: str = ""

    def barrier(self) -> BarrierPort:
        return self

    def end_of(self, topic: str, partition: int) -> int:
        return -1

    def send(self, emissions: Iterable[Emission], barrier: BarrierPort) -> None:
        self.sent.extend(emissions)

    def wait(self, barrier: BarrierPort) -> None:
        return None

    def commit(self, offsets: Offsets, metadata: str) -> None:
        return None

    def committed(self, partitions: Sequence[int]) -> dict[tuple[str, int],
                                                           tuple[int, str | None]]:
        return {}

    def seek(self, offsets: Offsets) -> None:
        raise AssertionError("a lane went back: a walk has failed")

    def read(self, partition: int, start: int) -> Iterator[tuple[bytes, bytes | None]]:
        return iter(())

    def end(self, partition: int) -> int:
        return 0

    def load(self, partition: int) -> None:
        return None

    def begin(self, partition: int) -> Broker:
        return self

    def write(self, part: bytes) -> None:
        return None

    def finish(self) -> None:
        return None

    def abandon(self) -> None:
        return None

    def now_ms(self) -> int:
        return load.START_MS


class Everybody:
    """A vault in which everybody has an address, and a channel that takes everything."""

    def put_many(self, deposits: Iterable[Deposit]) -> None:
        raise AssertionError("nobody identifies themselves in this load")

    def get(self, profile_id: str, name: str) -> str | None:
        return f"{profile_id}@shop.example" if name == "email" else "Ada"

    def forget(self, profile_id: str) -> bool:
        return False

    async def send(self, parcel: Parcel) -> Reply:
        return Reply("taken", "OK", confirmed=True)

    async def close(self) -> None:
        return None


@dataclass(frozen=True)
class Cost:
    """What one stage paid. `walk_s` and `checkpoint_s` are CPU seconds of this process."""

    stage: str
    records: int
    walk_s: float
    checkpoint_s: float

    @property
    def us_per_record(self) -> float:
        return (self.walk_s + self.checkpoint_s) / self.records * 1e6


def raw_batches(count: int) -> list[list[Record]]:
    """The load in batches, each closed by a clock event: the tenant lives by its events."""
    values, batches, offset = list[bytes](), list[list[Record]](), 0
    end_ms = load.START_MS
    for number, (_, event) in enumerate(load.events(
            count, seed=1, people=PEOPLE, step_ms=STEP_MS)):
        values.append(orjson.dumps(event))
        if len(values) == BATCH or number == count - 1:
            end_ms = event["event_ms"]
            values.append(clock_event(load.TENANT, end_ms, partition=0))
            batches.append([Record(RAW, 0, offset + at, b"k", value, end_ms)
                            for at, value in enumerate(values)])
            offset, values = offset + len(values), []
    return batches


def side_inputs() -> SideInputs:
    side = SideInputs()
    for item in load.items(load.TENANT, load.START_MS):
        side.take(CATALOGUE, item)
    for name in load.PLAYBOOKS:
        text = load.playbook(name, "event").replace("mode: shadow", "mode: live")
        found = loading.from_yaml(text, load.TENANT, 1)
        record = loading.to_record(found, text, published_ms=load.START_MS)
        side.take(PLAYBOOKS, {**record, "version": 1})
    return side


def logics(side: SideInputs) -> list[StageLogic]:
    """The stages as the workers build them, but for vault and channel."""
    everybody, playbooks = Everybody(), ActivePlaybooks(loading.from_yaml)
    return [AdmitLogic(side, Pseudonyms(_KEY), everybody, partitions=1),
            ChooseLogic(side, compiled(), playbooks.of, members_min=20),
            compose_logic(Settings.model_validate({}), side),
            DeliverLogic(side, everybody, {"email": everybody}, DeliverParams(
                _KEY, "https://shop.example", "Shop <hello@shop.example>")),
            LearnLogic(side)]


class Road:
    """What each topic holds by now, batch by batch; index: number of the raw batch."""

    def __init__(self, raw: list[list[Record]]) -> None:
        self.topics: dict[str, list[list[Record]]] = {RAW: raw}
        self._next: dict[str, int] = {}

    def batch(self, logic: StageLogic, at: int) -> list[Record]:
        """The inputs of a stage that raw batch `at` led to."""
        return [record for topic in logic.topics if topic in self.topics
                for record in self.topics[topic][at]]

    def take(self, stage: str, emitted: Sequence[Emission], at: int) -> None:
        """Append what a stage emitted to its topics."""
        for topic in BY_NAME[stage].outputs:
            batches = self.topics.setdefault(topic, [])
            batches += [[] for _ in range(at + 1 - len(batches))]
        for emission in emitted:
            if emission.value is None or emission.topic not in self.topics:
                continue
            offset = self._next.get(emission.topic, 0)
            self._next[emission.topic] = offset + 1
            self.topics[emission.topic][at].append(Record(
                emission.topic, 0, offset, emission.key, emission.value, load.START_MS))


async def _aside(call: Callable[..., Any], *given: Any) -> Any:
    return call(*given)


async def measure(logic: StageLogic, road: Road, batches: int) -> Cost:
    """Run one stage over all that waits for it, with a checkpoint every few batches."""
    broker = Broker()
    lane = Lane(logic, 0, upstream=1, changelog_topic="changelog", outbox=broker, source=broker,
                changelog=broker, snapshots=broker, clock=broker, aside=_aside)
    lane.recover()
    walk_s = checkpoint_s = 0.0
    for at in range(batches):
        batch = road.batch(logic, at)
        began = time.process_time()
        await lane.process(batch)
        walked = time.process_time()
        if at % CHECKPOINT_BATCHES == CHECKPOINT_BATCHES - 1 or at == batches - 1:
            await lane.checkpoint()
        checkpoint_s += time.process_time() - walked
        walk_s += walked - began
        road.take(logic.name, broker.sent, at)
        broker.sent.clear()
    return Cost(logic.name, lane.records_count, walk_s, checkpoint_s)


def unit_us(raw: list[list[Record]]) -> float:
    """CPU microseconds to decode one raw event, the best of five passes."""
    values, passes = [record.value for batch in raw for record in batch], []
    for _ in range(5):
        began = time.process_time()
        for value in values:
            orjson.loads(value)
        passes.append(time.process_time() - began)
    return min(passes) / len(values) * 1e6


def run(count: int) -> tuple[float, list[Cost], Road]:
    """(the unit, what each stage cost, all that was emitted), after a short run to warm up."""
    walk_all(raw_batches(2 * BATCH))
    spare_the_collector()
    raw = raw_batches(count)
    unit = unit_us(raw)
    return unit, *walk_all(raw)


def walk_all(raw: list[list[Record]]) -> tuple[list[Cost], Road]:
    """Take raw batches down the whole road, stage after stage."""
    side = side_inputs()
    road = Road(raw)
    return [asyncio.run(measure(logic, road, len(raw))) for logic in logics(side)], road


def show(unit: float, costs: Sequence[Cost], events: int) -> None:
    print(f"in process, {events:,} events of {PEOPLE:,} people; unit: orjson decodes an event in "
          f"{unit:.2f} CPU us")
    print(f"{'':10} {'records':>9} {'walk us':>9} {'rows us':>9} {'CPU us':>8} {'x unit':>8}")
    for cost in costs:
        print(f"{cost.stage:10} {cost.records:9,} {cost.walk_s / cost.records * 1e6:9.1f} "
              f"{cost.checkpoint_s / cost.records * 1e6:9.1f} {cost.us_per_record:8.1f} "
              f"{cost.us_per_record / unit:8.1f}")
    road = sum(cost.walk_s + cost.checkpoint_s for cost in costs) / events * 1e6
    print(f"{'road, per raw event':40} {road:8.1f} {road / unit:8.1f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=20_000)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    unit, costs, _ = run(asked.events)
    if asked.json:
        print(json.dumps({"events": asked.events, "unit_us": unit,
                          "stages": [cost.__dict__ for cost in costs]}))
    else:
        show(unit, costs, asked.events)


if __name__ == "__main__":
    main()
