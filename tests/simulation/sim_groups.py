"""Groups and things over several partitions: owners crash, freeze, move between machines and go on.

Each machine follows segments.rolled at its own pace, as `adapters.following` does. In the end what
every machine knows, and what whoever reads the compacted topic knows, must be what a twin says that
nothing ever befell: of one partition that heard everything, or, where things go and only the
hottest are told, of as many partitions.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from broker_model import (
    Broker,
    Crash,
    ModelChangelog,
    ModelOutbox,
    ModelSnapshots,
    ModelSource,
    StillClock,
    changelog_of,
)
from test_choose_crash import START, event

from schemas import contract
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import load
from streams.choose.entities import tally
from streams.choose.entities.asking import Things
from streams.choose.entities.spec import EntitySpec
from streams.choose.features.spec import FeatureSpec
from streams.choose.pooling import Pools
from streams.choose.program import Program
from streams.engine.lane import Lane
from streams.kernel.errors import UnreachableError
from streams.kernel.ids import partition_of
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SEGMENT, SideInputs

MACHINES = 2
ROLLED = contract(pipeline.SEGMENT_ROLLS)
Said = dict[tuple[str, str, str], tuple[int, bytes]]
Records = list[tuple[bytes, dict[str, Any]]]


class DifferenceError(AssertionError):
    """What is known of a group is not what the twin says."""


@cache
def program(is_bounded: bool) -> Program:
    """The shipped features and segments, and items: all of them, or few kept and fewer told."""
    features = (FeatureSpec("views", "product_view", "count", 30 * DAY_MS),
                FeatureSpec("people", "*", "distinct", 30 * DAY_MS))
    item = EntitySpec("item", 6 if is_bounded else 100, 3 if is_bounded else 100, features)
    return Program(load().features, load().segments, entities=(item,))


def story(dice: random.Random) -> Records:
    """What some people do; a word of the watermark ends it."""
    told: Records = []
    at_ms = START
    for number in range(dice.randrange(30, 70)):
        at_ms += dice.choice([0, MINUTE_MS, 5 * HOUR_MS, 2 * DAY_MS])
        fields = {**event(dice, number, at_ms), "profile_id": f"p{dice.randrange(7)}",
                  "item_id": f"i{int(14 * dice.random() ** 2)}"}
        told.append((fields["profile_id"].encode(), fields))
    return told


class Fenced(ModelSource):
    """A commit is taken from the partition's newest owner only."""

    def __init__(self, world: World, partition: int, topics: Sequence[str]) -> None:
        super().__init__(world.broker, topics)
        self._world, self._partition = world, partition
        self._generation = world.generations[partition] = world.generations[partition] + 1

    def commit(self, offsets: dict[tuple[str, int], int], metadata: str) -> None:
        if self._generation != self._world.generations[self._partition]:
            raise UnreachableError("ILLEGAL_GENERATION")
        super().commit(offsets, metadata)


class Clock(StillClock):
    def go_on(self, by_ms: int) -> None:
        self._now_ms += by_ms


class Machine:
    """One process: its own side inputs, as far as it has followed them."""

    def __init__(self, world: World) -> None:
        self.side = SideInputs()
        self.logic = ChooseLogic(self.side, world.program, lambda side, tenant: (), members_min=0)
        self._world, self._heard = world, dict.fromkeys(range(world.broker.partitions), 0)

    def follow(self, partition: int, count: int) -> None:
        log = self._world.broker.logs[pipeline.SEGMENT_ROLLS, partition]
        start = self._heard[partition]
        for _, value in log[start:start + count]:
            self.side.take(pipeline.SEGMENT_ROLLS, ROLLED.decode(value or b""))
        self._heard[partition] = min(start + count, len(log))

    def follow_all(self) -> None:
        for partition in self._heard:
            self.follow(partition, 10**9)


class World:
    """One seed: a story, its partitions, machines, and what befalls them."""

    def __init__(self, seed: int, *, partitions: int, is_bounded: bool) -> None:
        self.dice = random.Random(seed)
        self.program, self.is_bounded = program(is_bounded), is_bounded
        self.broker, self.clock = Broker(partitions=partitions), Clock()
        self.generations = [0] * partitions
        self._todo = story(random.Random(seed))
        self._ends = not is_bounded and seed % 2 == 0
        self._machines = [Machine(self) for _ in range(MACHINES)]
        self._owners: dict[int, Lane] = {}
        self._zombies: list[Lane] = []
        self.happened: Counter[str] = Counter()

    def feed(self, count: int) -> None:
        """The next records come; some twice, as an upstream crash leaves them."""
        taken, self._todo = self._todo[:count], self._todo[count:]
        for key, fields in taken:
            where = partition_of(key, self.broker.partitions)
            log = self.broker.logs[pipeline.ADMITTED, where]
            origin = {"origin_partition": 0, "origin_offset": len(log)}
            log.append((key, contract(pipeline.ADMITTED).encode({**fields, **origin})))
            if fields["event_ms"] % 7 == 0:
                log.append(log[-1])

    def end_of_time(self) -> None:
        """Every partition hears that a year has passed, of every partition."""
        for where in range(self.broker.partitions):
            log = self.broker.logs[pipeline.ADMITTED, where]
            for origin in range(self.broker.partitions):
                log.append((b"t", contract("watermark").encode({
                    "tenant": "t", "origin_partition": origin, "appended_ms": 1,
                    "watermark_ms": START + 400 * DAY_MS, "origin_offset": 10**6,
                    "origin_sequence": 0})))

    async def run(self) -> None:
        """All that befalls the owners, then peace until nothing is left to say."""
        troubles = self.dice.randrange(20, 60)
        if self.dice.random() < 0.4:                # nothing is left to change what was told
            self.feed(10**9)
        for _ in range(troubles):
            await self._trouble()
        await self.peace()

    async def _trouble(self) -> None:
        dice, what = self.dice, self.dice.random()
        partition = dice.randrange(self.broker.partitions)
        if what < 0.15:
            self.feed(dice.randrange(1, 15))
        elif what < 0.3:
            self.clock.go_on(dice.choice((1, 1_000, 6_000, 40_000)))
        elif what < 0.45:
            dice.choice(self._machines).follow(partition, dice.randrange(1, 30))
        elif what < 0.6:
            await self._move(partition)
        elif what < 0.75 and self._zombies:
            lane = dice.choice(self._zombies)
            if not await self._acts(lane):
                self._zombies.remove(lane)
        elif partition in self._owners and not await self._acts(self._owners[partition]):
            del self._owners[partition]

    async def _move(self, partition: int) -> None:
        """A new owner, on any machine; the one before is gone, or does not know it yet."""
        old = self._owners.pop(partition, None)
        if old is not None and self.dice.random() < 0.5:
            self.happened["zombies"] += 1
            self._zombies.append(old)
        lane = self._lane(partition)
        if lane is not None:
            self._owners[partition] = lane

    def _lane(self, partition: int) -> Lane | None:
        machine = self.dice.choice(self._machines)
        machine.follow_all()        # as `ControlFeed.bootstrap` does, but for who lives already

        async def aside(work: Callable[..., Any], *given: Any) -> Any:
            return work(*given)

        changelog = changelog_of(machine.logic)
        lane = Lane(machine.logic, partition, upstream=self.broker.partitions,
                    changelog_topic=changelog, outbox=ModelOutbox(self.broker),
                    source=Fenced(self, partition, machine.logic.topics),
                    changelog=ModelChangelog(self.broker, changelog),
                    snapshots=ModelSnapshots(self.broker), clock=self.clock, aside=aside)
        return lane if self._survives(lane.recover) else None

    def _survives(self, work: Callable[[], Any]) -> bool:
        self._light()
        try:
            work()
        except Crash:
            self.happened["crashes"] += 1
            return False
        finally:
            self.broker.fuse = 10**9
        return True

    def _light(self) -> None:
        if self.dice.random() < 0.25:
            self.broker.fuse = self.broker.effects + self.dice.randrange(25)

    async def _acts(self, lane: Lane) -> bool:
        """A batch, a checkpoint, a quiet moment or all of it; False: it is over."""
        self._light()
        try:
            if self.dice.random() < 0.8:
                await self._take(lane, self.dice.randrange(1, 20))
            if self.dice.random() < 0.5:
                await lane.checkpoint()
            if self.dice.random() < 0.3:
                await lane.idle()
        except (Crash, UnreachableError) as end:
            self.happened["crashes"] += isinstance(end, Crash)
            return False
        finally:
            self.broker.fuse = 10**9
        return True

    async def _take(self, lane: Lane, count: int) -> bool:
        start = lane.positions.get((pipeline.ADMITTED, lane.partition), 0)
        batch = self.broker.records(pipeline.ADMITTED, lane.partition)[start:start + count]
        if batch:
            await lane.process(batch)
        return bool(batch)

    async def peace(self) -> None:
        """Everything comes, everybody acts, zombies last; whoever was overtaken says it again."""
        self.feed(10**9)
        if self._ends:
            self.end_of_time()
        moves = self.dice.random() < 0.5            # whoever was to say something is gone by then
        for partition in range(self.broker.partitions):
            lane = None if moves else self._owners.get(partition)
            lane = lane or self._lane_in_peace(partition)
            self._owners[partition] = lane
            while await self._take(lane, 7):
                pass
            await lane.checkpoint()
        for machine in self._machines:
            machine.follow_all()
        for lane in self._zombies:
            with suppress(UnreachableError):
                self.clock.go_on(60_000)
                await lane.checkpoint()
        for _ in range(3):
            for machine in self._machines:
                machine.follow_all()
            self.clock.go_on(60_000)
            for lane in self._owners.values():
                await lane.idle()
                await lane.checkpoint()
        for machine in self._machines:
            machine.follow_all()

    def _lane_in_peace(self, partition: int) -> Lane:
        lane = None
        while lane is None:
            lane = self._lane(partition)
        return lane

    def known(self) -> list[Said]:
        """What each machine says of all groups, and a reader of the compacted topic."""
        reader = SideInputs()
        for partition in range(self.broker.partitions):
            log = self.broker.logs[pipeline.SEGMENT_ROLLS, partition]
            for value in {key: value for key, value in log}.values():
                reader.take(pipeline.SEGMENT_ROLLS, ROLLED.decode(value or b""))
        return [self._said(side) for side in (*(m.side for m in self._machines), reader)]

    def _said(self, side: SideInputs) -> Said:
        pools = {SEGMENT: Pools(self.program.groups, side),
                 "item": Pools(self.program.entities[0].layout, side)}
        things = Things(self.program.entities, side, people_min=0)
        found: Said = {}
        for group in side.rolls:
            tenant, entity, name = group
            slot = pools[entity].slot(group)
            row = b"" if slot is None else pools[entity].rows.views.u8[slot].tobytes()[8:]
            # Of a thing the people of late: what partitions told is as of other moments in each.
            newest_ms = None if entity == SEGMENT else things.newest_ms(*group)
            members = (side.members(tenant, name) if newest_ms is None
                       else things.people(*group, newest_ms + 10 * DAY_MS))
            found[group] = members, row
        return found


def run(seed: int) -> Counter[str]:
    """One world. Raises DifferenceError when what is known of groups is not the twin's."""
    is_bounded, bits = seed % 3 == 2, tally.BLOCK_BITS
    tally.BLOCK_BITS = 3            # things go every eight offsets
    try:
        partitions = 2 + seed % 2
        world = World(seed, partitions=partitions, is_bounded=is_bounded)
        asyncio.run(world.run())
        twin = World(seed, partitions=partitions if is_bounded else 1, is_bounded=is_bounded)
        asyncio.run(twin.peace())
    finally:
        tally.BLOCK_BITS = bits
    expected = twin.known()[-1]
    for who, found in zip((*range(MACHINES), "a reader"), world.known(), strict=True):
        wrong = [group for group in expected.keys() | found.keys()
                 if found.get(group) != expected.get(group)]
        if wrong:
            raise DifferenceError(
                f"{who} knows of {sorted(wrong)[:3]} members "
                f"{[found.get(group, ('nothing',))[0] for group in sorted(wrong)[:3]]}, the twin "
                f"{[expected.get(group, ('nothing',))[0] for group in sorted(wrong)[:3]]}")
    world.happened["groups"] += len(expected)
    return world.happened
