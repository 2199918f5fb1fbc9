"""The feed of a stage on the real broker: nothing is passed over, whatever happens around it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain, pairwise

import pytest
from chaos_world import producer
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import module_broker

from streams.adapters.consuming import BatchFeed
from streams.adapters.reading import is_transient
from streams.engine.records import Record
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

PARTITIONS, EACH = 4, 1500


def filled(settings: Settings, topic: str) -> str:
    """A topic of its own with so many records in each partition."""
    admin = AdminClient(dict(settings.kafka_client))
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    out = producer(settings)
    for number in range(EACH):
        for partition in range(PARTITIONS):
            out.produce(topic, str(number), "k", partition=partition)
    assert out.flush(30) == 0
    return topic


class Reader:
    """A stage that only notes what it is given. `done` is shared by the members of a group."""

    def __init__(self, settings: Settings, topic: str, done: dict[int, int]) -> None:
        self.settings, self.topic, self.done = settings, topic, done
        self.taken: dict[int, list[int]] = defaultdict(list)
        self.faults: list[BaseException] = []
        self.naps_s: list[float] = []
        self.after_batch: Callable[[int], None] = lambda _: None
        self._batches = 0
        self.begun = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.feed = BatchFeed(
            settings.model_copy(update={"batch_events": 200}), group=topic, topics=[topic],
            loop=asyncio.get_running_loop(), deliver=self.deliver, assigned=self.assigned,
            revoked=self.revoked, lost=lambda _: None, failed=self.faults.append)

    async def deliver(self, shares: dict[int, Sequence[Record]]) -> None:
        self._idle.clear()
        self.begun.set()
        await asyncio.sleep(self.naps_s.pop() if self.naps_s else 0)
        for record in chain.from_iterable(shares.values()):
            self.taken[record.partition].append(record.offset)
            self.done[record.partition] = record.offset + 1
        self._idle.set()
        self._batches += 1
        self.after_batch(self._batches)

    async def assigned(self, partitions: list[int]) -> dict[tuple[str, int], int]:
        return {(self.topic, p): self.done.get(p, 0) for p in partitions}

    async def revoked(self, _partitions: list[int]) -> None:
        await self._idle.wait()

    async def until_done(self) -> None:
        for _ in range(600):
            if self.faults or all(self.done.get(p, 0) == EACH for p in range(PARTITIONS)):
                break
            await asyncio.sleep(0.1)
        assert not self.faults


def test_a_client_that_has_given_up_is_not_waited_for() -> None:
    assert not is_transient(None) and is_transient(KafkaError(KafkaError._TRANSPORT))
    with pytest.raises(KafkaException):
        is_transient(KafkaError(KafkaError._FATAL))


def test_going_back_in_one_partition_passes_nothing_over_in_the_others(broker: Settings) -> None:
    async def read() -> dict[int, list[int]]:
        reader = Reader(broker, filled(broker, "feed.sought"), {})

        def go_back(batch: int) -> None:
            if batch % 5 == 0 and batch < 40:
                reader.feed.seek({(reader.topic, 0): 0})

        reader.after_batch = go_back
        reader.feed.start()
        await reader.until_done()
        reader.done[0] = 0
        reader.feed.seek({(reader.topic, 0): 0})         # when nothing new comes any more
        await reader.until_done()
        await reader.feed.stop()
        return reader.taken

    taken = asyncio.run(read())
    for partition in range(1, PARTITIONS):
        assert taken[partition] == list(range(EACH))
    assert set(taken[0]) == set(range(EACH)) and taken[0][-EACH:] == list(range(EACH))
    assert all(after in (before + 1, 0) for before, after in pairwise(taken[0]))


def test_a_rebalance_while_a_stage_takes_long_passes_nothing_over(broker: Settings) -> None:
    async def read() -> list[dict[int, list[int]]]:
        done: dict[int, int] = {}
        topic = filled(broker, "feed.slow")
        readers = [Reader(broker, topic, done) for _ in range(2)]
        slow, other = readers
        slow.naps_s = [8.0]                  # longer than a stage is waited for without polls
        slow.feed.start()
        await slow.begun.wait()
        other.feed.start()                   # joins in the middle, and leaves again
        await asyncio.sleep(6.0)
        await other.feed.stop()
        await slow.until_done()
        await slow.feed.stop()
        return [reader.taken for reader in readers]

    takens = asyncio.run(read())
    for partition in range(PARTITIONS):
        taken = [offset for one in takens for offset in one[partition]]
        assert sorted(taken) == list(range(EACH)), f"partition {partition}"
