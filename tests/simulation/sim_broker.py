"""A deterministic broker with everything that may go wrong between it and a worker.

Messages wait in a worker's producer and reach each log in their order, at any later moment, also
when the worker is dead or long replaced; between logs there is no order. An acknowledgement may be
lost, and a message given up. Logs have gaps. The changelog is compacted at any moment; tombstones
live a day. A commit is taken from the newest generation only. Every append and commit is an
*effect*: before each one the world may end, or others may act.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO

from streams.engine.records import Emission, Record
from streams.kernel.errors import UnreachableError
from streams.kernel.moments import DAY_MS

Offsets = dict[tuple[str, int], int]


class Crash(BaseException):
    """The process is gone."""


@dataclass(slots=True)
class Log:
    """One partition: (offset, key, value, appended_ms), with gaps."""

    entries: list[tuple[int, bytes, bytes | None, int]] = field(default_factory=list)
    end: int = 0

    def append(self, key: bytes, value: bytes | None, at_ms: int, gap: int = 0) -> int:
        offset = self.end + gap
        self.entries.append((offset, key, value, at_ms))
        self.end = offset + 1
        return offset

    def compact(self, upto: int, now_ms: int) -> None:
        """Keep the last entry of a key among the first `upto`; old tombstones go as well."""
        last = {key: offset for offset, key, _, _ in self.entries[:upto]}
        self.entries[:upto] = [
            entry for entry in self.entries[:upto]
            if last[entry[1]] == entry[0] and (entry[2] is not None or now_ms - entry[3] < DAY_MS)]


class Broker:
    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.logs: dict[str, Log] = {}
        self.offsets: dict[tuple[str, int], tuple[int, str]] = {}
        self.snapshots: dict[str, bytes] = {}      # by machine
        self.generation = 0
        self.now_ms = 10 * DAY_MS
        self.gapless = True
        self.producers: list[Producer] = []        # those with messages on their way

    def log(self, topic: str) -> Log:
        return self.logs.setdefault(topic, Log())

    def stir(self, changelog: str) -> None:
        """What happens by itself: messages arrive, logs are compacted, time passes."""
        what = self.dice.random()
        if what < 0.10:
            if self.producers:
                self.dice.choice(self.producers).arrive()
        elif what < 0.13:
            log = self.log(changelog)
            log.compact(self.dice.randrange(len(log.entries) + 1), self.now_ms)
        elif what < 0.20:
            self.now_ms += self.dice.choice((1, 1_000, 400_000, DAY_MS // 3))

    def records(self, topic: str, start: int, count: int) -> list[Record]:
        found = []
        for offset, key, value, at_ms in self.log(topic).entries:
            if offset >= start:
                found.append(Record(topic, 0, offset, key, value or b"", at_ms))
                if len(found) == count:
                    break
        return found


class Barrier:
    def __init__(self) -> None:
        self.pending, self.fault, self._ends = 0, "", dict[str, int]()

    def end_of(self, topic: str, partition: int) -> int:
        return self._ends.get(topic, -1)

    def reported(self, topic: str, offset: int, fault: str) -> None:
        self.pending -= 1
        self.fault = self.fault or fault
        if not fault:
            self._ends[topic] = max(self._ends.get(topic, -1), offset + 1)


class Producer:
    """One process's producer: in order per topic, acknowledged one by one.

    `trouble` maps the number of a message to "unheard" (it arrives, its acknowledgement does not)
    or "lost" (it is given up; when gapless, the producer with it).
    """

    def __init__(self, broker: Broker, effect: Callable[[], None],
                 trouble: dict[int, str]) -> None:
        self._broker, self._effect, self._trouble = broker, effect, trouble
        self._queues: dict[str, list[tuple[Emission, Barrier]]] = {}
        self._count = 0
        self._dead = False

    def barrier(self) -> Barrier:
        return Barrier()

    def send(self, emissions: Iterable[Emission], barrier: Barrier) -> None:
        for each in emissions:
            if self._dead:
                raise UnreachableError("the producer takes nothing any more")
            barrier.pending += 1
            self._queues.setdefault(each.topic, []).append((each, barrier))
        self._tell()

    def _tell(self) -> None:
        """The broker knows who has messages on their way."""
        self._queues = {topic: queue for topic, queue in self._queues.items() if queue}
        if self._queues and self not in self._broker.producers:
            self._broker.producers.append(self)
        elif not self._queues and self in self._broker.producers:
            self._broker.producers.remove(self)

    def arrive(self) -> None:
        """The first message on its way to some topic meets its fate."""
        topic = self._broker.dice.choice(list(self._queues))
        emission, barrier = self._queues[topic].pop(0)
        fate = self._trouble.get(self._count, "")
        self._count += 1
        if fate == "lost":
            barrier.reported(topic, -1, "given up")
            if self._broker.gapless:
                self._purge()
        else:
            gap = int(self._broker.dice.random() < 0.1)
            offset = self._broker.log(topic).append(emission.key, emission.value,
                                                    self._broker.now_ms, gap)
            barrier.reported(topic, offset, "timed out" if fate else "")
        self._tell()

    def _purge(self) -> None:
        self._dead = True
        for topic, queue in self._queues.items():
            for _, barrier in queue:
                barrier.reported(topic, -1, "given up")
            queue.clear()

    def wait(self, barrier: Barrier) -> None:
        while barrier.pending:
            self._effect()
            if barrier.pending:
                self.arrive()
        if barrier.fault:
            raise UnreachableError(barrier.fault)

    def die(self) -> None:
        """The process is gone; what the network has of its messages may still arrive."""
        for queue in self._queues.values():
            del queue[self._broker.dice.randrange(len(queue) + 1):]
        self._tell()


class Source:
    """A member of the group, of the generation it joined with."""

    def __init__(self, broker: Broker, topics: Sequence[str], generation: int,
                 effect: Callable[[], None]) -> None:
        self._broker, self._topics = broker, topics
        self._generation, self._effect = generation, effect
        self.sought: Offsets = {}

    def commit(self, offsets: Offsets, metadata: str) -> None:
        self._effect()
        if self._generation != self._broker.generation:
            raise UnreachableError("ILLEGAL_GENERATION")
        for where, offset in offsets.items():
            self._broker.offsets[where] = (offset, metadata)
        self._effect()      # the answer may be lost with the process

    def committed(self, partitions: Sequence[int]) -> dict[tuple[str, int],
                                                           tuple[int, str | None]]:
        return {(topic, 0): self._broker.offsets.get((topic, 0), (-1001, None))
                for topic in self._topics}

    def seek(self, offsets: Offsets) -> None:
        self.sought.update(offsets)

    def end_of(self, topic: str, partition: int) -> int:
        return self._broker.log(topic).end


class Changelog:
    """Read piece by piece: others may write, and compaction run, in the middle."""

    def __init__(self, broker: Broker, topic: str, effect: Callable[[], None]) -> None:
        self._broker, self._topic, self._effect = broker, topic, effect

    def read(self, partition: int, start: int) -> Iterator[tuple[bytes, bytes | None]]:
        self._effect()
        log, at = self._broker.log(self._topic), start
        end = log.end
        while at < end:
            piece = [entry for entry in log.entries if at <= entry[0] < end][:40]
            if not piece:
                break
            yield from ((key, value) for _, key, value, _ in piece)
            at = piece[-1][0] + 1
            self._effect()

    def end(self, partition: int) -> int:
        return self._broker.log(self._topic).end


class Snapshots:
    """The files of one machine."""

    def __init__(self, broker: Broker, machine: str, effect: Callable[[], None]) -> None:
        self._broker, self._machine, self._effect = broker, machine, effect

    def load(self, partition: int) -> BytesIO | None:
        stored = self._broker.snapshots.get(self._machine)
        return None if stored is None else BytesIO(stored)

    def begin(self, partition: int) -> SnapshotFile:
        return SnapshotFile(self._broker, self._machine, self._effect)


class SnapshotFile:
    """It replaces the one before when it is finished, at once."""

    def __init__(self, broker: Broker, machine: str, effect: Callable[[], None]) -> None:
        self._broker, self._machine, self._effect = broker, machine, effect
        self._parts: list[bytes] | None = []

    def write(self, part: bytes) -> None:
        assert self._parts is not None, "it was finished or given up"
        self._effect()
        self._parts.append(part)

    def finish(self) -> None:
        assert self._parts is not None, "it was finished or given up"
        self._effect()
        self._broker.snapshots[self._machine], self._parts = b"".join(self._parts), None

    def abandon(self) -> None:
        self._parts = None


class Clock:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def now_ms(self) -> int:
        return self._broker.now_ms
