"""`python -m bench.state`: what state costs, with few people, with many, and with more than memory.

In this process, without a broker: a lane of one partition with the features and the rule of the
second workload (`bench.signal`), JSON events, rows to a changelog that is counted and thrown away.
Every case has a process of its own, so that its memory is its own. Each event's person is drawn
evenly from all (nobody is hot: the worst for a memory that holds a tenth), or nine times in ten
from a tenth of them. The unit is the same lane with few people. Rows out of memory are in a file;
how much of it the system keeps in its cache is the system's choice.

    --profiles 5000000     people in the large cases
    --recovered 1000000    people who come back from snapshot and changelog; these stand in memory
    --stores               also what one row costs there and back in other stores; RocksDB if there
                           is one: pip install rocksdict
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bench.measuring import calibrate
from bench.signal.kairos_job import SignalLogic, Told
from bench.signal.workloads import KINDS
from bench.stages import Broker
from streams.adapters.snapshots import SnapshotFile, SnapshotFiles
from streams.adapters.spilling import SpillFile
from streams.choose.features.layout import HEADER_WORDS
from streams.choose.tables import Tables, tables_of
from streams.cli.work import spare_the_collector
from streams.engine.lane import Lane
from streams.engine.ports import Offsets
from streams.engine.records import Emission, Record, Stretch
from streams.engine.room import Room
from streams.engine.rows import Rows
from streams.engine.stage import SlabPort

SMALL, RECOVERY = 50_000, -1.0
BATCH, CHECKPOINT_BATCHES = 2_000, 10
STEP_MS, START_MS = 40, 1_600_000_000_000
_TOLD = Told("W2", "json", "", "events", "fired", "bench", "", 1, 1.0)


class Roomy(SignalLogic):
    """The benchmark's stage with a limit on memory; None: there is none."""

    def __init__(self, room: Room | None) -> None:
        super().__init__(_TOLD)
        self._room = room

    def make_slab(self) -> SlabPort:       # type: ignore[override]
        return self._program.tables(self._room)


class Events:
    """Batches of events, made when they are asked for; offsets and times go on."""

    def __init__(self, people: int, seed: int) -> None:
        self._people, self._dice = people, np.random.default_rng(seed)
        self._offset = 0

    def batch(self, who: np.ndarray[Any, Any]) -> Stretch:
        first, self._offset = self._offset, self._offset + len(who)
        kinds = self._dice.integers(0, len(KINDS), len(who)).tolist()
        values = [b'{"user_id":"%032x","event_type":"%s","event_ms":%d,"value_cents":%d}' % (
            person * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128, KINDS[kind].encode(),
            START_MS + STEP_MS * (first + n), 199)
            for n, (person, kind) in enumerate(zip(who.tolist(), kinds, strict=True))]
        offsets = list(range(first, self._offset))
        return Stretch("events", 0, offsets, values,
                       lambda n: Record("events", 0, offsets[n], b"k", values[n], START_MS))

    def everybody(self) -> Iterator[Stretch]:
        for start in range(0, self._people, BATCH):
            yield self.batch(np.arange(start, min(start + BATCH, self._people)))

    def drawn(self, count: int, *, skewed: bool) -> Iterator[Stretch]:
        for _ in range(0, count, BATCH):
            who = self._dice.integers(0, self._people, BATCH)
            if skewed:
                some = self._dice.random(BATCH) < 0.9
                who[some] //= 10
            yield self.batch(who)


async def _aside(call: Callable[..., Any], *given: Any) -> Any:
    return call(*given)


class Counting(Broker):
    """Rows go nowhere, but their number is known."""

    rows = 0

    def send(self, emissions: Any, barrier: Any) -> None:
        self.rows += sum(1 for _ in emissions)


def rss_bytes() -> int:
    """Memory of this process that is not a file's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("/proc/self/status says nothing of RssAnon")


async def case(people: int, share: float, events: int, folder: Path) -> dict[str, Any]:
    """One case: everybody once, then `events` of each kind; figures are of these."""
    row_bytes = Roomy(None)._program.people.row_bytes
    room = Room(int(people * share * (row_bytes + 112)), lambda: SpillFile(folder))
    await _warm_up()
    broker, before = Counting(), rss_bytes()
    lane = lane_of(broker, room if share else None)
    # To grow is to copy; that is not what is measured here.
    tables_of(lane.state).people.expect(people + 2 * BATCH)
    source = Events(people, 1)
    spare_the_collector()
    await _run(lane, source.everybody())
    found: dict[str, Any] = {"people": people, "row_bytes": row_bytes}
    for name in ("even", "skewed"):
        await _run(lane, source.drawn(min(events, 200_000), skewed=name == "skewed"))
        broker.rows = 0
        wall_s, walk_s, saving_s, count = await _run(
            lane, source.drawn(events, skewed=name == "skewed"))
        found[name] = {"events_per_s": count / wall_s, "cpu_us": (walk_s + saving_s) / count * 1e6,
                       "walk_us": walk_s / count * 1e6,
                       "row_us": saving_s / max(broker.rows, 1) * 1e6,
                       "rows_per_event": broker.rows / count}
    tables: Tables = tables_of(lane.state)
    found["memory_per_person"] = (rss_bytes() - before) / people
    found["cold"] = tables.people.cold_count
    if tables.people.cold is not None:
        found["disk_per_cold"] = tables.people.cold.disk_bytes / max(tables.people.cold_count, 1)
    return found


async def _warm_up() -> None:
    """What is compiled is loaded, and is nobody's state."""
    lane = lane_of(Counting(), None)
    await _run(lane, Events(100, 1).drawn(BATCH * CHECKPOINT_BATCHES, skewed=False))


async def _run(lane: Lane, batches: Iterator[Stretch]) -> tuple[float, float, float, int]:
    """(wall s, CPU s of the walks, of the checkpoints, events) of the lane's work."""
    wall_s = walk_s = saving_s = 0.0
    count = 0
    for number, batch in enumerate(batches):
        wall, cpu = time.perf_counter(), time.process_time()
        await lane.process(batch)
        walked = time.process_time()
        if number % CHECKPOINT_BATCHES == CHECKPOINT_BATCHES - 1:
            await lane.checkpoint()
        wall_s += time.perf_counter() - wall
        walk_s += walked - cpu
        saving_s += time.process_time() - walked
        count += len(batch)
    return wall_s, walk_s, saving_s, count


class Keeping(Broker):
    """A broker that keeps the newest of each changelog key, as compaction does, and commits."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.log: dict[bytes, tuple[int, bytes | None]] = {}
        self.offsets: dict[tuple[str, int], tuple[int, str | None]] = {}
        self.files, self.next = SnapshotFiles(folder), 0

    def send(self, emissions: Iterable[Emission], barrier: Any) -> None:
        for each in emissions:
            if each.topic == "changelog":
                self.log.pop(each.key, None)
                self.log[each.key] = self.next, each.value
                self.next += 1

    def end_of(self, topic: str, partition: int) -> int:
        return self.next

    def end(self, partition: int) -> int:
        return self.next

    def read(self, partition: int, start: int) -> Iterator[tuple[bytes, bytes | None]]:
        return ((key, value) for key, (offset, value) in self.log.items() if offset >= start)

    def commit(self, offsets: Offsets, metadata: str) -> None:
        self.offsets.update({where: (offset, metadata) for where, offset in offsets.items()})

    def committed(self, partitions: Sequence[int]) -> dict[tuple[str, int],
                                                           tuple[int, str | None]]:
        return self.offsets or {("events", 0): (0, None)}

    def load(self, partition: int) -> BinaryIO | None:      # type: ignore[override]
        return self.files.load(partition)

    def begin(self, partition: int) -> SnapshotFile:        # type: ignore[override]
        return self.files.begin(partition)


def lane_of(broker: Broker, room: Room | None) -> Lane:
    lane = Lane(Roomy(room), 0, upstream=1, changelog_topic="changelog", outbox=broker,
                source=broker, changelog=broker, snapshots=broker, clock=broker, aside=_aside)
    lane.recover()
    return lane


async def recovery(people: int, folder: Path) -> dict[str, Any]:
    """Seconds until a partition is back, with a snapshot and what a twentieth of the people
    changed since, and without one; writing it takes `snapshot_s`, all at once."""
    await _warm_up()
    broker, source = Keeping(folder), Events(people, 1)
    lane = lane_of(broker, None)
    await _run(lane, source.everybody())
    await lane.checkpoint()
    began = time.perf_counter()
    lane.snapshot()
    found: dict[str, Any] = {"people": people, "snapshot_s": time.perf_counter() - began,
                             "snapshot_bytes": (folder / "0.snapshot").stat().st_size}
    await _run(lane, source.drawn(people // 20, skewed=False))
    await lane.checkpoint()
    expected = len(tables_of(lane.state).people)
    del lane
    for name in ("with_snapshot_s", "without_s"):
        began = time.perf_counter()
        again = lane_of(broker, None)
        found[name] = time.perf_counter() - began
        assert len(tables_of(again.state).people) == expected
        del again
        (folder / "0.snapshot").unlink(missing_ok=True)
    return found


def stores(rows: int, folder: Path) -> dict[str, float]:
    """Wall microseconds to put a row of the workload away and to take it back, at random."""
    logic, dice = Roomy(None), np.random.default_rng(1)
    tables = logic._program.tables(Room(1, lambda: SpillFile(folder)))
    people, keys = tables.people, [b"%032x" % n for n in range(rows)]
    for n, key in enumerate(keys):
        slot = people.slot(key)
        people.views.i64[slot, HEADER_WORDS:HEADER_WORDS + 40] = dice.integers(0, 2**60, 40)
        people.views.i64[slot, 0] = n
    order = dice.permutation(rows)
    found = {"packed (ours)": _packed(people, keys, order)}
    flat = np.zeros((rows, people.row_bytes), np.uint8)
    found["rows as they are"] = _flat(flat, order, folder)
    rocks = _rocks(people.row_bytes, order, folder)
    if rocks is not None:
        found["RocksDB"] = rocks
    return found


def _packed(people: Rows, keys: list[bytes], order: np.ndarray[Any, Any]) -> float:
    people.make_room()
    raw = np.frombuffer(b"".join(keys), np.uint8)
    sizes = np.full(BATCH, 32, np.int64)
    people.bring(raw, 32 * order[:BATCH], sizes)       # compiled, or loaded
    people.make_room()
    began = time.perf_counter()
    for start in range(0, len(order) - BATCH, BATCH):
        people.bring(raw, 32 * order[start:start + BATCH], sizes)
        people.make_room()
    return (time.perf_counter() - began) / (len(order) - BATCH) * 1e6


def _flat(rows: np.ndarray[Any, Any], order: np.ndarray[Any, Any], folder: Path) -> float:
    """A file of rows of one size, mapped; without keys, free places, tails and timers."""
    file = np.memmap(folder / "flat", np.uint8, "w+", shape=rows.shape)
    file[:] = rows
    began = time.perf_counter()
    for start in range(0, len(order) - BATCH, BATCH):
        some = order[start:start + BATCH]
        taken = file[some]
        file[some] = taken
    return (time.perf_counter() - began) / (len(order) - BATCH) * 1e6


def _rocks(row_bytes: int, order: np.ndarray[Any, Any], folder: Path) -> float | None:
    try:
        from rocksdict import AccessType, Options, Rdict, WriteOptions
    except ImportError:
        return None
    options, unsafe = Options(raw_mode=True), WriteOptions()
    unsafe.disable_wal = True              # a cache need not outlive the process
    held = Rdict(str(folder / "rocks"), options, access_type=AccessType.read_write())
    held.set_write_options(unsafe)
    row = np.random.default_rng(1).bytes(320) + bytes(row_bytes - 320)
    for n in range(len(order)):
        held[b"%032x" % n] = row
    began = time.perf_counter()
    for n in order.tolist():
        key = b"%032x" % n
        held[key] = held[key]
    return (time.perf_counter() - began) / len(order) * 1e6


def show(figures: list[tuple[str, dict[str, Any]]], loop_s: float) -> None:
    print(f"in process, no broker; a calibration loop takes {loop_s * 1e3:.0f} ms here")
    print(f"{'':30} {'drawn evenly':>41} {'nine of ten by a tenth':>41} {'memory':>8} {'file':>6}")
    print(f"{'':30}" + 2 * (f" {'events/s':>9} {'CPU us':>6} {'x few':>6} {'rows':>5}"
                           f" {'walk':>5} {'a row':>5}")
          + f" {'each':>8} {'each':>6}")
    few = figures[0][1]
    for name, found in figures:
        cells = "".join(
            f" {found[how]['events_per_s']:9,.0f} {found[how]['cpu_us']:6.2f} "
            f"{found[how]['cpu_us'] / few[how]['cpu_us']:6.2f} {found[how]['rows_per_event']:5.2f} "
            f"{found[how]['walk_us']:5.2f} {found[how]['row_us']:5.2f}"
            for how in ("even", "skewed"))
        print(f"{name:30}{cells} {found['memory_per_person']:8,.0f} "
              f"{found.get('disk_per_cold', 0):6,.0f}")
    print("walk: CPU us of an event outside of checkpoints; a row: of one in them")
    print(f"rows: written to the changelog per event; each: bytes per person in memory, and in the "
          f"file per person there; a row has {few['row_bytes']:,}")


def show_recovery(found: dict[str, Any]) -> None:
    whole_s = found["without_s"]
    print(f"{found['people']:,} people come back in {whole_s:.1f} s from the whole changelog, with "
          f"a snapshot and a twentieth changed since in {found['with_snapshot_s']:.1f} s "
          f"({found['with_snapshot_s'] / whole_s:.2f}x); it was written in "
          f"{found['snapshot_s']:.1f} s, {found['snapshot_bytes'] / found['people']:,.0f} bytes "
          "each")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--profiles", type=int, default=200_000)
    options.add_argument("--recovered", type=int, default=100_000)
    options.add_argument("--events", type=int, default=200_000)
    options.add_argument("--stores", action="store_true")
    options.add_argument("--folder", type=Path, help="where files go; default: the system's own")
    options.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="kairos-bench-") as folder:
        if asked.case:
            people, share = int(asked.case[0]), float(asked.case[1])
            work = (case(people, share, asked.events, Path(folder)) if share >= 0
                    else recovery(people, Path(folder)))
            print(json.dumps(asyncio.run(work)))
            return
        cases = [(f"{SMALL:,} people", SMALL, 0.0),
                 (f"{asked.profiles:,} people", asked.profiles, 0.0),
                 (f"{asked.profiles:,}, memory for a tenth", asked.profiles, 0.1)]
        figures = [(name, _apart(people, share, asked)) for name, people, share in cases]
        show(figures, calibrate())
        show_recovery(_apart(asked.recovered, RECOVERY, asked))
        if asked.stores:
            found = stores(min(asked.profiles, 200_000), Path(folder))
            ours = found["packed (ours)"]
            print("a row into a store and back: " + ", ".join(
                f"{name} {us:.1f} us ({us / ours:.1f}x)" for name, us in found.items()))


def _apart(people: int, share: float, asked: argparse.Namespace) -> dict[str, Any]:
    """The case in a process of its own."""
    told = [sys.executable, "-m", "bench.state", "--events", str(asked.events),
            "--case", str(people), str(share)]
    if asked.folder is not None:
        told += ["--folder", str(asked.folder)]
    said = subprocess.run(told, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
