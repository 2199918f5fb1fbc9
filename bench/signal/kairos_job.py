"""Kairos in the benchmark: its feed, lanes, rows and kernel, as the choose stage has them.

The workload's features are declared like any others, its rule is a condition that the kernel asks
at every event, and what the stage does with an event of interest is to say so. The input is the
benchmark's own, so its columns are laid out here as those of an admitted event.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from bench.signal import phases
from bench.signal import workloads as w
from bench.signal.data import AVRO_SCHEMA
from bench.signal.json_columns import TEXT, WHOLE, JsonColumns
from streams import pipeline
from streams.adapters.producing import Outbox
from streams.app import Worker, attach
from streams.choose import kernel, waking
from streams.choose.absences import Wait
from streams.choose.features.layout import EVER_MS
from streams.choose.features.spec import FeatureSpec
from streams.choose.program import NO_NAMES, NOTHING_TOLD, GroupSlots, Program
from streams.choose.tables import Tables, tables_of
from streams.cli.work import spare_the_collector
from streams.engine.avro_columns import ColumnDecoder
from streams.engine.records import Emission, Out, Record, columns_of
from streams.engine.stage import PartitionState
from streams.kernel.purposes import PERSONALISE
from streams.playbooks.conditions import parse_condition
from streams.playbooks.model import Condition
from streams.settings import Settings

# Columns as the kernel wants them; what the input does not have is constant.
USER, TYPE, MS, CENTS, ZERO, PURPOSES, OFFSET = range(7)
FIELDS = kernel.Fields(event_id=ZERO, tenant=ZERO, event_type=TYPE, event_ms=MS, profile_id=USER,
                       value_micros=CENTS, quantity=ZERO, locale=ZERO, purposes=PURPOSES,
                       origin_partition=ZERO, origin_offset=OFFSET, origin_sequence=ZERO)
NAMES = {"user_id": TEXT, "event_type": TEXT, "event_ms": WHOLE, "value_cents": WHOLE}
NO_TENANT, ABSENCE = "", "left"


def features_of(workload: str) -> tuple[FeatureSpec, ...]:
    if workload == "W3":
        # The oldest window that holds an event: eleven full steps and the live one.
        return (FeatureSpec("spent", "*", "sum", w.HOPPING_SIZE_MS - w.HOPPING_STEP_MS,
                            of=("value",)),)
    if workload != "W2":
        return (FeatureSpec("events", "*", "lifetime"),)
    counts = [FeatureSpec(f"{kind}_{name}", kind, "count", tile_ms * tiles)
              for kind in w.KINDS for name, tile_ms, tiles in w.RINGS]
    decays = [FeatureSpec(f"{kind}_decay_{n}", kind, "decay", half_life_ms=half_life_ms)
              for kind in w.KINDS for n, half_life_ms in enumerate(w.HALF_LIVES_MS)]
    _, tile_ms, tiles = w.RINGS[w.MONEY_RING]
    return (*counts, *decays, FeatureSpec("money", "purchase", "sum", tile_ms * tiles,
                                          of=("value",)))


def rule_of(workload: str) -> Condition | None:
    """What the kernel asks at every event; None: every event is of interest."""
    if workload == "W1":
        asked: Any = {"feature": "events", "every": w.COUNT_EVERY}
    elif workload == "W3":
        asked = {"feature": "spent", "at_least": w.HOPPING_CENTS / 100}
    elif workload == "W2":
        asked = {"all": [
            {"feature": "view_1h", "at_least": w.RULE_VIEWS_1H_MIN},
            {"feature": "view_1h", "at_most": w.RULE_VIEWS_1H_MAX},
            {"feature": "cart_add_24h", "at_least": w.RULE_CARTS_24H_MIN},
            {"feature": "purchase_7d", "at_most": w.RULE_PURCHASES_7D_MAX},
            {"feature": "view_decay_0", "at_least": w.RULE_DECAYED_VIEWS_MIN},
            {"feature": "money", "below": w.RULE_CENTS_30D_BELOW / 100}]}
    else:
        return None
    return parse_condition(asked, features=None, segments=None)


@dataclass(frozen=True)
class Told:
    """The job, as the environment tells it (`systems.Job`)."""

    workload: str
    form: str
    bootstrap: str
    source: str
    out: str
    group: str
    state: str
    partitions: int
    interval_s: float

    @classmethod
    def read(cls) -> Told:
        env = {name.removeprefix("BENCH_").lower(): value for name, value in os.environ.items()}
        return cls(env["workload"], env["form"], env["bootstrap"], env["source"], env["out"],
                   env["group"], env["state"], int(env["partitions"]), float(env["interval_s"]))


class SignalLogic:
    """The stage of the benchmark."""

    name = "signal"

    def __init__(self, told: Told) -> None:
        self._told = told
        self.topics = (told.source,)
        self._program = Program(features_of(told.workload), (), recent_ids=0)
        self._program.fields = FIELDS
        rule = rule_of(told.workload)
        self._program.waits_columns = ZERO, ZERO, ZERO
        waits = [Wait(NO_TENANT, ABSENCE, "cart_add", "purchase", "", w.ABSENCE_MS)]
        self._interests = (self._program.interests([], waits) if told.workload == "W4"
                           else self._program.interests([(NO_TENANT, "*", rule)]))
        self._json = JsonColumns(NAMES)
        self._avro = ColumnDecoder(AVRO_SCHEMA, b"")
        self._groups: dict[int, GroupSlots] = {}

    def make_slab(self) -> Tables:
        return self._program.tables()

    def recovered(self, state: PartitionState) -> None:
        tables = tables_of(state)
        groups = self._groups[state.partition] = GroupSlots(self._program, tables)
        groups.know(NO_TENANT)
        slots = np.fromiter(tables.people.index, np.int64)
        due_ms = tables.absences.deadlines_of(slots)
        waiting = due_ms > 0
        tables.people.views.armed[slots[waiting]] = due_ms[waiting]
        tables.timers(NO_TENANT).push(due_ms[waiting], slots[waiting])

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None:
        """Nothing: time is that of the events."""

    def before_checkpoint(self, state: PartitionState, out: Out) -> None:
        """Nothing goes out per interval."""

    def walk(self, state: PartitionState, records: Sequence[Record], out: Out) -> None:
        batch, tables = self._batch(records), tables_of(state)
        count, at = len(batch.offsets), 0
        sizes = batch.sizes[:, USER].astype(np.int64)
        tables.people.bring(batch.raw, batch.numbers[:, USER], sizes)
        tables.people.reserve(count, int(sizes.sum()))
        tables.absences.reserve_for(self._interests.waits, batch)
        seen = kernel.Seen(*state.seen.arrays(self._told.source, 1))
        results = kernel.no_results(count)
        while at < count:
            stopped = self._program.run(at, batch, tables, seen, self._interests,
                                        self._groups[state.partition], results)
            for n in (np.nonzero(results.says[at:stopped])[0] + at).tolist():
                tables.people.views.waits[results.slot[n]] = 0
                if self._told.workload != "W3" or self._lifted(tables, batch, n,
                                                                 int(results.slot[n])):
                    self._fire(tables, int(results.slot[n]), int(batch.numbers[n, MS]), out, state)
            armed = np.nonzero(results.armed_ms[at:stopped])[0] + at
            tables.timers(NO_TENANT).push(results.armed_ms[armed], results.slot[armed])
            assert stopped == count or batch.usable[stopped], "the benchmark's own data is sound"
            at = stopped
        state.seen.take_arrays(self._told.source, *seen)
        if self._told.workload == "W4":
            self._lapse(tables, int(batch.numbers[:, MS].max()), out, state)

    def _fire(self, tables: Tables, slot: int, event_ms: int, out: Out,
              state: PartitionState) -> None:
        key = tables.people.key(slot)
        out.emissions.append(Emission(self._told.out, key, orjson.dumps(
            {"user_id": key.decode(), "event_ms": event_ms}), state.partition))

    def _lifted(self, tables: Tables, batch: kernel.Batch, n: int, slot: int) -> bool:
        """Whether this event lifted the sum over the bound at which the kernel came back."""
        sum_units = self._program.feature(tables.people, slot, "spent", int(batch.numbers[n, MS]))
        assert sum_units is not None, "the event itself lies in its windows"
        return round(sum_units * 100) - int(batch.numbers[n, CENTS]) // 10_000 < w.HOPPING_CENTS

    def _lapse(self, tables: Tables, newest_ms: int, out: Out, state: PartitionState) -> None:
        """Time is that of the batch's newest event: what was due before it is decided."""
        in_force = tables.absences.in_force([ABSENCE])
        for who in waking.woken(self._program, tables, NO_TENANT, in_force,
                                limit_ms=newest_ms - 1, unseen_below=EVER_MS, stamp=0):
            for _, ripe in who.ripe:
                self._fire(tables, who.slot, ripe.anchor_ms, out, state)

    def _batch(self, records: Sequence[Record]) -> kernel.Batch:
        offsets, values = columns_of(records)
        if self._told.form == "json":
            found, order = self._json.decode(values), list(range(4))
        else:
            found = self._avro.decode(values)
            order = [self._avro.fields[name] for name in NAMES]
        count = len(values)
        numbers, sizes = np.zeros((count, 7), np.int64), np.zeros((count, 7), np.int32)
        for column, there in enumerate(order):
            numbers[:, column], sizes[:, column] = found.numbers[:, there], found.sizes[:, there]
        numbers[:, CENTS] *= 10_000
        numbers[:, PURPOSES], numbers[:, OFFSET] = PERSONALISE, offsets
        none = np.zeros(count, np.int64)
        return kernel.Batch(found.raw, numbers, numbers.view(np.float64), sizes, found.good,
                            np.array(offsets, np.int64), none.view(np.uint64), none, none,
                            NO_NAMES, 0, NOTHING_TOLD)


@dataclass(frozen=True, slots=True)
class SignalStage(pipeline.Stage):
    told_group: str = ""

    @property
    def group(self) -> str:
        return self.told_group


async def run(told: Told, stopwatch: phases.Stopwatch | None) -> None:
    settings = Settings(home=told.state, kafka=told.bootstrap, partitions=told.partitions,
                        flush_ms=int(told.interval_s * 1000),
                        batch_events=int(os.environ.get("BENCH_BATCH", "20000")))
    stage = SignalStage("signal", (told.source,), (told.out,), (), f"{told.group}-changelog",
                        (pipeline.Step("signal", "does the rule hold?"),), told.group)
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def end(fault: BaseException | None) -> None:
        if not ended.done():
            ended.set_result(fault)

    def failed(fault: BaseException) -> None:
        loop.call_soon_threadsafe(end, fault)

    loop.add_signal_handler(signal.SIGTERM, end, None)
    outbox = Outbox(settings, told.group)
    app = Worker(told.group, broker=f"kafka://{told.bootstrap}", store="memory://",
                 autodiscover=False, topic_disable_leader=True, datadir=told.state)
    service = attach(app, settings, stage, SignalLogic(told), outbox,
                     failed)
    await app.start()
    spare_the_collector()
    await service.start()
    fault = await ended
    if stopwatch is not None:
        stopwatch.save(Path(os.environ["BENCH_PHASES"]))
    if fault is not None:
        raise fault
    await service.stop()
    await app.stop()
    await asyncio.to_thread(outbox.close)


def make_changelog(told: Told) -> None:
    admin, name = AdminClient({"bootstrap.servers": told.bootstrap}), f"{told.group}-changelog"
    made = admin.create_topics([NewTopic(name, told.partitions, 1,
                                         config={"cleanup.policy": "compact"})])[name]
    try:
        made.result(30)
    except KafkaException as fault:         # another process of this job was first
        if fault.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def main() -> None:
    told = Told.read()
    make_changelog(told)
    # Inside a run that says where its time goes (`phases`).
    stopwatch = phases.watch(SignalLogic) if os.environ.get("BENCH_PHASES") else None
    asyncio.run(run(told, stopwatch))
    sys.exit(0)


if __name__ == "__main__":
    main()
