"""Whoever stands by follows every changelog from its own beginning, on the real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from conftest import module_broker

from streams import pipeline
from streams.adapters.reading import end_of
from streams.adapters.snapshots import SnapshotFiles
from streams.adapters.standby import StandbyFeed
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.choose.tables import Tables
from streams.engine.checkpoints import Base
from streams.engine.versions import Lineage, Versions, stamp_of
from streams.kernel.side_inputs import SideInputs
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

CHOOSE = pipeline.BY_NAME["choose"]
TIMEOUT_S = 60.0


class Owner:
    """Writes people's rows of partition 0, one checkpoint after the other."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._program = settings, compiled()
        self._versions = Versions(Lineage().claimed())

    def checkpoint(self, *people: bytes) -> Lineage:
        tables = self._program.tables()
        for person in people:
            tables.people.stamp(tables.people.slot(person), 7)
        number = self._versions.lineage.number + 1
        rows = tables.encode_all(people, stamp_of(number))
        producer = Producer(self._settings.kafka_client)
        for key, value in self._versions.writing(number, [(people, rows)]):
            producer.produce(CHOOSE.keeps, key=key, value=value, partition=0)
        assert producer.flush(TIMEOUT_S) == 0
        lineage = self._versions.next(number)
        asking = Consumer({**self._settings.kafka_client, "group.id": CHOOSE.group})
        asking.commit(offsets=[TopicPartition(topic, 0, number, lineage.metadata())
                               for topic in CHOOSE.inputs], asynchronous=False)
        asking.close()
        self._versions.settle(lineage)
        return lineage


@contextmanager
def standing_by(settings: Settings, folder: Path) -> Iterator[StandbyFeed]:
    logic = ChooseLogic(SideInputs(), compiled(), lambda side, tenant: (), members_min=0)
    feed = StandbyFeed(settings, CHOOSE, logic, SnapshotFiles(folder))
    feed.start()
    try:
        yield feed
    finally:
        feed._closing.set()
        feed._thread.join(TIMEOUT_S)


def base_at_the_end(feed: StandbyFeed, settings: Settings, lineage: Lineage) -> Base:
    """What a take-over would go on from, as soon as all was taken in; it follows on at once."""
    ends_at = time.monotonic() + TIMEOUT_S
    while time.monotonic() < ends_at:
        with feed._lock:
            follower = feed._followers.get(0)
            is_there = follower is not None and (
                follower._base.next_offset == end_of(settings, CHOOSE.keeps, 0))
        if is_there:
            base = feed.release(0, lineage)
            feed.follow([0])
            assert base is not None
            return base
        time.sleep(0.05)
    raise AssertionError("the changelog was not followed to its end")


def people_of(base: Base) -> list[bytes]:
    assert isinstance(base.slab, Tables)
    return sorted(base.slab.people)


def test_a_partition_that_comes_and_goes_is_followed_from_its_beginning(
        broker: Settings, tmp_path: Path) -> None:
    """Taken over, and lost again before anybody looked: what was heard went with the owner."""
    owner, people = Owner(broker), [b"%032d" % n for n in range(30)]
    with standing_by(broker, tmp_path) as feed:
        feed.follow([0])
        lineage = owner.checkpoint(*people[:10])
        for upto in (20, 30):
            assert people_of(base_at_the_end(feed, broker, lineage)) == people[:upto - 10]
            lineage = owner.checkpoint(*people[upto - 10:upto])
        assert people_of(base_at_the_end(feed, broker, lineage)) == people
