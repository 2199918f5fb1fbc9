"""The simulation: workers crash, freeze, are replaced and go on; the answers stay those of a twin.

    make sim                  WORLDS of them: more than a hundred thousand crashes, two minutes or
                              more by the machine
    make sim SEEDS=20000      that many worlds; a seed that fails is printed
    make sim SEED=7           this one again, with what happened

A seed is a world and everything that happens in it. Nothing here waits, and nothing here depends
on the machine.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Any

import sim_choose
import sim_cold
import sim_groups
import sim_stage
from sim_broker import Broker, Changelog, Clock, Crash, Producer, Snapshots, Source
from sim_turns import Turns, pause

from streams.engine import checkpoints, saving, snapshots, versions
from streams.engine.lane import Lane
from streams.engine.records import Record
from streams.engine.stage import PartitionState, StageLogic
from streams.engine.standby import Follower
from streams.engine.versions import Lineage
from streams.kernel.errors import KairosError, UnreachableError

WORLDS = 12_000            # 9.4 crashes each
EFFECTS_MAX = 20_000       # a world that does not come to its end by then fails
MACHINES = ("one", "two")


class DifferenceError(AssertionError):
    """The engine's answer is not the twin's."""


class Process:
    """A worker that owns the partition, believes it does, or is dead."""

    def __init__(self, world: World, fuse: int, trouble: dict[int, str]) -> None:
        self.world, self.fuse, self.count = world, fuse, 0
        self.generation = world.broker.generation = world.broker.generation + 1
        self.running, self.over = False, False
        self.caught_up = self._has_failed = False
        broker, changelog = world.broker, world.changelog
        self.outbox = Producer(broker, self.effect, trouble)
        self.source = Source(broker, world.logic.topics, self.generation, self.effect)
        self.lane: Lane = world.lane_type(
            world.logic, 0, upstream=1, changelog_topic=changelog, outbox=self.outbox,
            source=self.source, changelog=Changelog(broker, changelog, self.effect),
            snapshots=Snapshots(broker, world.dice.choice(MACHINES), self.effect),
            clock=Clock(broker), aside=self._aside,
            standby=world if world.dice.random() < 0.5 else None)
        self.lane.lock, self.lane._under_way = Turns(), Turns()     # type: ignore[assignment]
        self._life: Coroutine[Any, Any, None] = self._live()
        self._beside: Coroutine[Any, Any, None] | None = None      # a checkpoint, as batches go on

    def effect(self) -> None:
        """Something is about to happen outside: the world may end first, or others may act."""
        self.count += 1
        self.world.effects += 1
        if self.world.effects > EFFECTS_MAX:
            raise DifferenceError("the world does not come to an end")
        if self.count > self.fuse:
            self.world.happened["crashes"] += 1
            raise Crash
        self.world.meddle(self)

    async def _aside(self, work: Callable[..., Any], *given: Any) -> Any:
        await pause()
        return work(*given)

    def step(self) -> None:
        """Run on to the next place where the process may be stopped."""
        self.running = True
        try:
            if self._beside is not None and self.world.dice.random() < 0.4:
                self._step_beside(self._beside)
            else:
                self._life.send(None)
        except (StopIteration, Crash):
            self.over = True
        finally:
            self.running = False
        if self.over:
            self.end()

    def _step_beside(self, checkpoint: Coroutine[Any, Any, None]) -> None:
        try:
            checkpoint.send(None)
        except StopIteration:
            self._beside = None
        except UnreachableError:
            self._beside, self._has_failed = None, True

    def kill(self) -> None:
        self.world.happened["crashes"] += 1
        self.end()

    def end(self) -> None:
        self.over = True
        for each in (self._life, self._beside):
            if each is not None:
                each.close()
        self.outbox.die()

    async def _live(self) -> None:
        try:
            await self._aside(self.lane.recover)
            await self._work()
        except UnreachableError:
            self.world.happened["given up"] += 1
            if self.world.dice.random() < 0.3:      # the group takes the partition back meanwhile
                await self._leave()

    async def _work(self) -> None:
        dice, lane, broker = self.world.dice, self.lane, self.world.broker
        size = dice.choice((1, 2, 3, 5, 100))
        while True:
            progress = False
            for topic in lane.logic.topics:
                start = self.source.sought.pop((topic, 0), lane.positions.get((topic, 0), 0))
                batch = broker.records(topic, start, dice.randrange(1, size + 1))
                progress = progress or bool(batch)
                await self._take(batch)
                await pause()
            if self._has_failed:
                raise UnreachableError("a checkpoint failed")
            if self._beside is None and dice.random() < 0.3:
                self._beside = lane.checkpoint()
            elif not progress or dice.random() < 0.4:
                await lane.checkpoint()
            if not progress or dice.random() < 0.05:
                self.caught_up = await self._leave() and not progress
                return

    async def _take(self, batch: list[Record]) -> None:
        self.world.happened["batches beside a checkpoint"] += bool(
            batch and self.lane._under_way.locked())
        await self.lane.process(batch)

    async def _leave(self) -> bool:
        """As the runner lets a partition go: a last checkpoint, a snapshot. True when it could."""
        try:
            async with self.lane.at_rest():
                if self._beside is not None:
                    self._beside.close()
                    self._beside = None
            await self.lane.checkpoint()
            self.lane.snapshot()
        except UnreachableError:
            return False
        return True


class World:
    """One seed: logs, workers, and what befalls them."""

    def __init__(self, seed: int, stage: Any = sim_stage, *, lane_type: type[Lane] = Lane,
                 logic: StageLogic | None = None, gapless: bool = True, talk: bool = False) -> None:
        self.dice = random.Random(seed)
        self.stage, self.lane_type, self.talk = stage, lane_type, talk
        self.logic: StageLogic = logic or stage.logic()
        self.changelog = f"{self.logic.name}-changelog"
        self.broker = Broker(self.dice)
        self.broker.gapless = gapless
        stage.fill(self.broker, self.dice)
        self.processes: list[Process] = []
        self.follower: Follower | None = None
        self.followed_by: StageLogic = self.logic
        self.happened: Counter[str] = Counter()
        self.effects = 0
        self.calm = False
        self._meddling = False

    def run(self) -> Counter[str]:
        """Raises DifferenceError when an answer is wrong."""
        moved, saved = versions.EPOCHS_MAX, saving.ROWS_AT_ONCE
        versions.EPOCHS_MAX = self.dice.choice((1, moved))      # some move rows as old ones would
        saving.ROWS_AT_ONCE = self.dice.choice((1, 2, 5, saved))
        try:
            self._run()
        finally:
            versions.EPOCHS_MAX, saving.ROWS_AT_ONCE = moved, saved
            for process in self.processes:
                process.end()
        return self.happened

    def _run(self) -> None:
        troubles = self.dice.randrange(4, 24)
        while troubles or not self._is_done():
            owner = self._owner()
            if owner is None or (troubles and self.dice.random() < 0.06):
                troubles = max(troubles - 1, 0)
                self.calm = not troubles
                self._start()
            elif self.dice.random() < 0.02:
                self._say("killed", owner)
                owner.kill()
            elif self.dice.random() < 0.15:
                self._step(self.dice.choice(self.processes))
            else:
                self._step(owner)
            self._bury()
        self._compare("at the end")
        while self.processes:                       # whoever was stopped until now
            self._step(self.dice.choice(self.processes))
            self._bury()
        while self.broker.producers:                # whatever is still on its way
            self.dice.choice(self.broker.producers).arrive()
        self._compare("after the last zombie")

    def stand_by(self) -> None:
        """Somebody follows the changelog, some of it at a time, now and then for good too late."""
        broker, dice, log = self.broker, self.dice, self.broker.log(self.changelog)
        lineage = checkpoints.newest(metadata for _, metadata in broker.offsets.values())
        if self.follower is None or not self.follower.is_usable(broker.now_ms):
            self.follower = Follower(checkpoints.Base.begin(self.logic, lineage), broker.now_ms)
            self.followed_by = self.logic
        end = dice.choice((log.end, dice.randrange(self.follower.next_offset, log.end + 1)))
        found = [(offset, key, value) for offset, key, value, _ in log.entries
                 if self.follower.next_offset <= offset < end]
        self.follower.take(found, end, broker.now_ms)
        self.follower.settle(lineage)

    def release(self, partition: int, lineage: Lineage) -> checkpoints.Base | None:
        """Whoever takes the partition over stood by until now."""
        follower, self.follower = self.follower, None
        if follower is None or self.followed_by is not self.logic:      # of another build
            return None
        found = follower.base(lineage, self.broker.now_ms)
        self.happened["from a standby"] += found is not None
        return found

    def _owner(self) -> Process | None:
        newest = self.processes[-1] if self.processes else None
        return newest if newest and newest.generation == self.broker.generation else None

    def _is_done(self) -> bool:
        """True when an owner has read everything and gone in peace."""
        return self.calm and self._done

    _done = False

    def _start(self) -> None:
        dice = self.dice
        fuse = 10**9 if self.calm else dice.choice((0, 1, 2, 3, 5, 8, 13, 21, 34, 55))
        trouble = {}
        if not self.calm and dice.random() < 0.25:
            trouble = {dice.randrange(12): dice.choice(("unheard", "lost"))}
        self._tamper()
        process = Process(self, fuse, trouble)
        self._say(f"started, fuse {fuse}, {trouble}", process)
        if self.processes:
            self.happened["zombies"] += 1
        self.processes.append(process)

    def _tamper(self) -> None:
        """A snapshot may be gone, damaged, or from a changelog that reached further."""
        if self.broker.snapshots and self.dice.random() < 0.2:
            machine = self.dice.choice(sorted(self.broker.snapshots))
            whole, how = self.broker.snapshots[machine], self.dice.randrange(3)
            if how == 0:
                del self.broker.snapshots[machine]
            elif how == 1:
                at = self.dice.randrange(len(whole))
                self.broker.snapshots[machine] = (whole[:at] + bytes([whole[at] ^ 1])
                                                  + whole[at + 1:])
            else:
                self._reach_further(machine)

    def _reach_further(self, machine: str) -> None:
        like = self.logic.make_slab()
        found = snapshots.read(BytesIO(self.broker.snapshots[machine]), layout=like.layout,
                               width=like.width, ends=defaultdict(lambda: 10**9),
                               now_ms=self.broker.now_ms)
        if found is not None:
            encoder = snapshots.Encoder()
            head = encoder.head(replace(found, next_offset=10**9), layout=like.layout,
                                width=like.width)
            with suppress(snapshots.DamagedError):
                parts = [encoder.rows(rows) for rows in found.rows]
                self.broker.snapshots[machine] = b"".join([head, *parts,
                                                           encoder.end(found.number)])

    def _step(self, process: Process) -> None:
        if not process.running and not process.over:
            process.step()
            self._done = self._done or (process.over and process.caught_up
                                        and process.generation == self.broker.generation)

    def _bury(self) -> None:
        for process in self.processes:
            if process.over:
                self._say("ended", process)
        self.processes = [process for process in self.processes if not process.over]

    def meddle(self, acting: Process) -> None:
        """In the middle of `acting`'s work: the network, compaction, zombies, a new owner."""
        self.broker.stir(self.changelog)
        if self.dice.random() < 0.05:
            self.stand_by()
        if self._meddling:
            return
        self._meddling = True
        what = self.dice.random()
        if what < 0.05 and len(self.processes) > 1:
            for _ in range(self.dice.randrange(1, 6)):
                self._step(self.dice.choice(self.processes))
        elif what < 0.06 and not self.calm:
            self._start()
        self._meddling = False

    def _say(self, what: str, process: Process) -> None:
        if self.talk:
            print(f"  effect {self.effects}: generation {process.generation} {what}")

    def state(self) -> PartitionState:
        """What the next owner would recover."""
        lineage = checkpoints.newest(metadata for _, metadata in self.broker.offsets.values())
        entries = ((key, value) for _, key, value, _ in self.broker.log(self.changelog).entries)
        return checkpoints.recover(self.logic, 0, upstream=1, lineage=lineage,
                                   changelog=entries)[0]

    def _compare(self, when: str) -> None:
        for (topic, _), (offset, _) in self.broker.offsets.items():
            if offset != self.broker.log(topic).end:
                raise DifferenceError(f"{when}: {topic} is committed at {offset}, its end is "
                                      f"{self.broker.log(topic).end}")
        self.stage.compare(self, when)


def run(seed: int, **options: Any) -> Counter[str]:
    """One world. Raises DifferenceError, or whatever the engine raised that it should not."""
    return World(seed, **options).run()


def play(seed: int, choose_every: int, *, talk: bool = False) -> Counter[str]:
    """The world of this seed: a plain stage's, or the choose stage's, by turns as it is shipped,
    with definitions that change, with next to no memory, and over several partitions."""
    if not choose_every or seed % choose_every != choose_every - 1:
        return run(seed, talk=talk)
    kind = seed // choose_every % 4
    if kind == 3:
        return sim_groups.run(seed)
    if kind != 1:
        return run(seed, stage=sim_cold if kind else sim_choose, talk=talk)
    import sim_changing  # it is made of the worlds above

    found: Counter[str] = sim_changing.run(seed, talk=talk)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=WORLDS, help="number of worlds")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--choose-every", type=int, default=500,
                        help="every n-th world is the choose stage's; 0: none")
    given = parser.parse_args()
    logging.disable(logging.ERROR)       # a walk that fails is meant to, and is logged by the lane
    if given.seed is not None:
        print(dict(play(given.seed, given.choose_every, talk=True)))
        return 0
    began, total = time.monotonic(), Counter[str]()
    for seed in range(given.seeds):
        try:
            total += play(seed, given.choose_every)
        except (AssertionError, KairosError, LookupError, ValueError) as fault:
            print(f"seed {seed}: {type(fault).__name__}: {fault}\n"
                  f"once more, with what happened: make sim SEED={seed}", file=sys.stderr)
            return 1
        if (seed + 1) % 1000 == 0:
            print(f"{seed + 1} worlds, {total['crashes']} crashes, "
                  f"{time.monotonic() - began:.0f} s", flush=True)
    print(f"{given.seeds} worlds, every answer that of the twin: {total['crashes']} crashes, "
          f"{total['zombies']} workers replaced while they lived, {total['given up']} given up, "
          f"{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
