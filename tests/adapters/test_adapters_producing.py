"""A barrier holds until each message under it was reported, by whichever thread and in any way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaError

from streams.adapters.producing import Barrier


class Report:
    """What librdkafka hands over with a delivery report."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


def _sent(count: int) -> Barrier:
    barrier = Barrier()
    barrier.sent = count
    return barrier


def test_nothing_sent_is_settled() -> None:
    assert Barrier().settled_within(0)


def test_whoever_waits_is_woken_by_the_last_report() -> None:
    barrier, waiting = _sent(200), threading.Barrier(5)

    def wait() -> bool:
        waiting.wait()
        return barrier.settled_within(60)

    with ThreadPoolExecutor(5) as pool:
        waiters = [pool.submit(wait) for _ in range(4)]
        waiting.wait()
        for offset in range(199):
            barrier.reported(None, Report(offset))          # type: ignore[arg-type]
        assert not barrier.settled_within(0) and not any(each.done() for each in waiters)
        barrier.reported(None, Report(199))                 # type: ignore[arg-type]
        assert all(each.result(60) for each in waiters)
    assert barrier.end_of("t", 0) == 200 and not barrier.fault


def test_what_was_given_up_or_not_even_taken_settles_it_too_with_the_fault() -> None:
    barrier = _sent(2)
    barrier.reported(KafkaError(KafkaError._MSG_TIMED_OUT), Report(-1001))  # type: ignore[arg-type]
    assert not barrier.settled_within(0)
    barrier.refused("the queue is gone")
    assert barrier.settled_within(0) and "timed out" in barrier.fault.lower()
    assert barrier.end_of("t", 0) == -1
