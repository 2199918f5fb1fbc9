"""The Kafka producer of a process: murmur2, acks from all, and a barrier that means it.

`flush()` alone is no barrier: a failed message counts as flushed. So every message reports to its
barrier, and a barrier holds only when each report was free of error.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.adapters.reading import unreachable
from streams.engine.ports import BarrierPort
from streams.engine.records import Emission
from streams.kernel.errors import UnreachableError
from streams.settings import Settings

PARTITION_BY_KEY = -1        # librdkafka's RD_KAFKA_PARTITION_UA: let the partitioner choose
REMEDY = "look at the broker: kairos status, kairos doctor"

_OPTIONS = {
    "acks": "all", "enable.idempotence": True, "partitioner": "murmur2_random",
    "compression.type": "lz4", "message.max.bytes": 2_000_000,
}
PATIENCE_S = 60.0            # with a broker that acknowledges nothing

# Gapless: when a message is given up, none behind it may arrive. A reader knows repeats by the
# highest origin it has seen; what a gap leaves out would be taken for a repeat when it comes. Such
# a producer takes nothing more after a message that was given up: for a worker, which restarts.
# librdkafka's guarantee leaves out messages that it gives up because time has passed. So it gives
# up none for that (0): whoever waits for acknowledgements does, and with it the whole process.
_OUTBOX = {
    "enable.gapless.guarantee": True, "linger.ms": 1, "queue.buffering.max.messages": 500_000,
    "delivery.timeout.ms": 0,
}


class Reporting:
    """librdkafka's producer with what all of ours agree on, and a thread for its reports.

    options   of librdkafka, beyond those; linger and timeouts are the caller's to choose
    """

    def __init__(self, settings: Settings, name: str, options: dict[str, Any]) -> None:
        self.producer = Producer({**settings.kafka_client, **_OPTIONS, **options,
                                  "client.id": name})
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="delivery-reports", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closing.is_set():
            self.producer.poll(0.1)

    def close(self) -> None:
        """End the thread, and send what waits, for ten seconds at most."""
        self._closing.set()
        self._thread.join(2)
        self.producer.flush(10)        # serves reports too: one thread at a time does


class Barrier:
    """Counts what was produced under it and what was acknowledged. One stage, one barrier.

    One thread at a time sends under it, one serves the reports, any may wait: `sent` and `_came`
    have one writer each, so that a message costs no lock. The lock is for whoever waits.
    """

    def __init__(self) -> None:
        self.sent = 0
        self._came = 0
        self._settled = threading.Condition()
        self._fault: str = ""
        self._ends: dict[tuple[str | None, int | None], int] = {}

    def reported(self, fault: KafkaError | None, message: Message) -> None:
        if fault is not None:
            self._fault = self._fault or str(fault)
        else:
            # Reports of a partition come in the order of its offsets, as its messages were sent.
            offset = message.offset()
            if offset is not None:
                self._ends[message.topic(), message.partition()] = offset + 1
        self._came += 1
        if self._came == self.sent:
            with self._settled:
                self._settled.notify_all()

    def refused(self, fault: str) -> None:
        """The message sent last was not even taken. Called by who sends."""
        with self._settled:
            self._fault = self._fault or fault
            self.sent -= 1
            self._settled.notify_all()

    def settled_within(self, timeout_s: float) -> bool:
        """Wait until nothing is pending; False when that took longer."""
        with self._settled:
            return self._settled.wait_for(lambda: not self.pending, timeout_s)

    def end_of(self, topic: str, partition: int) -> int:
        """Offset after the last acknowledged message there; -1 when there was none."""
        return self._ends.get((topic, partition), -1)

    @property
    def pending(self) -> int:
        return self.sent - self._came

    @property
    def fault(self) -> str:
        return self._fault


class Outbox:
    """Produces emissions. Thread-safe, as librdkafka's producer is."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._reporting = Reporting(settings, name, _OUTBOX)
        self._producer = self._reporting.producer

    def barrier(self) -> Barrier:
        return Barrier()

    def send(self, emissions: Iterable[Emission], barrier: BarrierPort) -> None:
        """Hand over to librdkafka; blocks while its queue is full (back-pressure).

        Raises UnreachableError when it takes no more, or when its queue stays full for
        `PATIENCE_S`; the barrier then has the fault.
        """
        assert isinstance(barrier, Barrier)
        produce, reported = self._producer.produce, barrier.reported
        for emission in emissions:
            place = PARTITION_BY_KEY if emission.partition is None else emission.partition
            barrier.sent += 1
            try:
                # By position: names would cost the client more than all else that happens here.
                produce(emission.topic, emission.value, emission.key, place, reported)
            except BufferError:
                self._insist(emission, place, barrier)
            except KafkaException as fault:
                raise _refused(barrier, fault) from fault

    def put(self, topic: str, key: bytes, value: bytes | None, barrier: Barrier,
            partition: int | None = None) -> None:
        self.send((Emission(topic, key, value, partition),), barrier)

    def _insist(self, emission: Emission, place: int, barrier: Barrier) -> None:
        """The queue was full: again until there is room."""
        end = time.monotonic() + PATIENCE_S
        while True:
            time.sleep(0.01)
            try:
                self._producer.produce(emission.topic, emission.value, emission.key, place,
                                       barrier.reported)
                return
            except BufferError as fault:
                if time.monotonic() > end:
                    raise _refused(barrier, fault) from fault
            except KafkaException as fault:
                raise _refused(barrier, fault) from fault

    def wait(self, barrier: BarrierPort, timeout_s: float = PATIENCE_S) -> None:
        """Return when everything under `barrier` is acknowledged by the broker.

        Raises UnreachableError when a message failed for good or time ran out; the caller must
        then commit nothing and give up its partitions' state.
        """
        assert isinstance(barrier, Barrier)
        # Not `flush`: it waits for what others send as well, and for reports that the thread has
        # served meanwhile.
        if not barrier.settled_within(timeout_s):
            raise UnreachableError(
                f"Kafka acknowledged nothing for {timeout_s:g} s ({barrier.pending} messages "
                "wait)", REMEDY)
        if barrier.fault:
            raise UnreachableError(f"Kafka refused a message: {barrier.fault}", REMEDY)

    def close(self) -> None:
        self._reporting.close()


def _refused(barrier: Barrier, fault: KafkaException | BufferError) -> UnreachableError:
    barrier.refused(str(fault))
    return unreachable("Kafka takes no messages any more", fault)
