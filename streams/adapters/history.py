"""Kafka for worlds: produce as an app would, tell the clock, see how far the road has come."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas import contract
from streams.adapters.producing import Outbox
from streams.kernel.errors import UnreachableError
from streams.pipeline import CATALOGUE, PLAYBOOKS, RAW, STAGES, Stage
from streams.playbooks.loading import record_key, to_record
from streams.playbooks.model import Playbook
from streams.settings import Settings
from streams.worlds.replaying import clock_event

_WAIT_S = 20.0
Place = tuple[str, int]
T = TypeVar("T")


def _unreachable(settings: Settings, fault: object) -> UnreachableError:
    return UnreachableError(f"Kafka at {settings.bootstrap} does not answer ({fault})",
                            "start it with `kairos up`, or check KAIROS_KAFKA")


class KafkaBus:
    """A world's way to events.raw and catalogue.items. Not for several threads at once."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Raises UnreachableError when there is no broker, or no topic yet."""
        self.partitions = partitions(settings, RAW)
        self._outbox = Outbox(settings, name)
        self._barrier = self._outbox.barrier()
        self._catalogue = contract(CATALOGUE)
        self.sent = 0

    def event(self, key: bytes, value: bytes) -> None:
        self._outbox.put(RAW, key, value, self._barrier)
        self.sent += 1

    def clock(self, tenant: str, now_ms: int) -> None:
        for partition in range(self.partitions):
            self._outbox.put(RAW, tenant.encode(), clock_event(tenant, now_ms, partition=partition),
                             self._barrier, partition)

    def item(self, record: dict[str, object]) -> None:
        key = f"{record['tenant']}/{record['item_id']}".encode()
        self._outbox.put(CATALOGUE, key, self._catalogue.encode(record), self._barrier)

    def playbook(self, playbook: Playbook, text: str, *, version: int, published_ms: int) -> None:
        """Publish `playbook`, whose file reads `text`, under `version`."""
        record = to_record(playbook, text, published_ms=published_ms) | {"version": version}
        self._outbox.put(PLAYBOOKS, record_key(playbook.tenant, playbook.name).encode(),
                         contract(PLAYBOOKS).encode(record), self._barrier)

    def settle(self) -> None:
        """Everything sent so far is acknowledged. Raises UnreachableError."""
        self._outbox.wait(self._barrier)
        self._barrier = self._outbox.barrier()

    def close(self) -> None:
        self._outbox.close()


def partitions(settings: Settings, topic: str) -> int:
    """How many partitions `topic` has. Raises UnreachableError when there is none."""
    try:
        admin = AdminClient({**settings.kafka_client})
        found = admin.list_topics(topic, timeout=_WAIT_S).topics[topic]
    except KafkaException as fault:
        raise _unreachable(settings, fault.args[0]) from None
    if found.error is not None or not found.partitions:
        raise UnreachableError(f"the broker has no topic {topic}", "apply it with `kairos up`")
    return len(found.partitions)


def broker_id(settings: Settings) -> str:
    """The id that the cluster gave itself. Raises UnreachableError."""
    try:
        return str(AdminClient({**settings.kafka_client}).list_topics(timeout=_WAIT_S).cluster_id)
    except KafkaException as fault:
        raise _unreachable(settings, fault.args[0]) from None


class Offsets:
    """Ends of topics and committed positions of groups, asked of the broker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AdminClient({**settings.kafka_client, "client.id": "kairos-lag"})
        self._counts: dict[str, int] = {}
        self._askers: dict[str, Consumer] = {}

    def ends(self, *topics: str) -> dict[Place, int]:
        """The next offset of every partition of `topics`."""
        wanted = {TopicPartition(topic, number): OffsetSpec.latest()
                  for topic in topics for number in range(self._count(topic))}
        asked = self._admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED,
                                         request_timeout=_WAIT_S)
        return {(place.topic, place.partition): self._answer(future).offset
                for place, future in asked.items()}

    def committed(self, group: str, topics: Iterable[str]) -> dict[Place, int]:
        """What `group` has committed of `topics`; nothing where it never did.

        Asked by a consumer that never joins: the admin client's own call ends the process when the
        group's coordinator is still loading (librdkafka issue 5040).
        """
        places = [TopicPartition(topic, number) for topic in topics
                  for number in range(self._count(topic))]
        if group not in self._askers:
            self._askers[group] = Consumer({**self._settings.kafka_client, "group.id": group,
                                            "client.id": "kairos-lag",
                                            "enable.auto.commit": False})
        try:
            found = self._askers[group].committed(places, timeout=_WAIT_S)
        except KafkaException as fault:
            raise _unreachable(self._settings, fault.args[0]) from None
        return {(place.topic, place.partition): place.offset
                for place in found if place.offset >= 0}

    def _count(self, topic: str) -> int:
        if topic not in self._counts:
            self._counts[topic] = partitions(self._settings, topic)
        return self._counts[topic]

    def close(self) -> None:
        for asker in self._askers.values():
            asker.close()
        self._askers = {}

    def _answer(self, future: Future[T]) -> T:
        try:
            return future.result(_WAIT_S)
        except (KafkaException, TimeoutError) as fault:
            raise _unreachable(self._settings, fault) from None

    def lag(self, stage: Stage) -> int:
        """Records that `stage` has yet to finish, all its inputs together."""
        return self.behind(stage.group, stage.inputs)

    def behind(self, group: str, topics: Iterable[str]) -> int:
        """Records of `topics` that `group` has yet to commit."""
        asked = tuple(topics)
        done = self.committed(group, asked)
        return sum(max(end - done.get(place, 0), 0)
                   for place, end in self.ends(*asked).items())


def lag(settings: Settings) -> dict[str, int]:
    """Records that wait, by stage. A stage that never committed counts its whole input."""
    offsets = Offsets(settings)
    try:
        return {stage.name: offsets.lag(stage) for stage in STAGES}
    finally:
        offsets.close()


@dataclass(slots=True)
class _Mark:
    virtual_ms: int
    stage_index: int
    ends: dict[Place, int]


class Tide:
    """How far the road has come in virtual time: marks that travel with the records.

    `mark(t)` notes where events.raw ends once everything up to t has been produced. When a stage
    has committed past a mark, all it made of those records stands in its output, so the mark moves
    to the end of the next stage's input. A mark that leaves the last stage proves that everything
    up to its time has been worked through.
    """

    def __init__(self, settings: Settings, *, through: str = "deliver") -> None:
        self._offsets = Offsets(settings)
        names = [stage.name for stage in STAGES]
        self._stages = STAGES[:names.index(through) + 1]
        self._marks: list[_Mark] = []
        self.reached_ms = -1

    def close(self) -> None:
        self._offsets.close()

    def mark(self, virtual_ms: int) -> None:
        self._marks.append(_Mark(virtual_ms, 0, self._offsets.ends(RAW)))

    def look(self) -> int:
        """Move the marks on; returns the virtual time up to which all has been worked through."""
        for index in range(len(self._stages) - 1, -1, -1):
            waiting = [mark for mark in self._marks if mark.stage_index == index]
            if waiting:
                self._move(index, waiting)
        return self.reached_ms

    def _move(self, index: int, waiting: list[_Mark]) -> None:
        stage = self._stages[index]
        done = self._offsets.committed(stage.group, stage.inputs)
        through = [mark for mark in waiting
                   if all(done.get(place, 0) >= end for place, end in mark.ends.items())]
        if not through:
            return
        if index + 1 == len(self._stages):
            self.reached_ms = max(self.reached_ms, *(mark.virtual_ms for mark in through))
            self._marks = [mark for mark in self._marks if mark.virtual_ms > self.reached_ms]
            return
        ends = self._offsets.ends(*self._stages[index + 1].inputs)
        for mark in through:
            mark.stage_index, mark.ends = index + 1, ends
