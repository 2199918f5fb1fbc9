"""A barrier holds until each message under it was reported, by whichever thread and in any way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import KafkaError

from streams.adapters import producing
from streams.adapters.producing import Barrier, Outbox
from streams.engine.records import Emission
from streams.kernel.errors import UnreachableError
from streams.settings import Settings


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


@pytest.fixture
def narrow(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outbox]:
    """An outbox with room for five messages, at a broker that does not answer."""
    def made(**options: object) -> Outbox:
        monkeypatch.setattr(producing, "_OUTBOX", {
            **producing._OUTBOX, "queue.buffering.max.messages": 5, **options})
        return Outbox(settings, "narrow")
    return made


MESSAGES = [Emission("t", b"k", b"%d" % n, None) for n in range(12)]


def test_a_full_queue_holds_the_sender_up_until_there_is_room(
        narrow: Callable[..., Outbox]) -> None:
    outbox = narrow(**{"delivery.timeout.ms": 300})     # what is given up makes room
    barrier = outbox.barrier()
    outbox.send(MESSAGES, barrier)
    assert barrier.sent == 12 and barrier.settled_within(60)
    with pytest.raises(UnreachableError, match="timed out"):
        outbox.wait(barrier)
    outbox.close()


def test_who_finds_no_room_for_too_long_is_refused_and_no_message_is_passed_over(
        narrow: Callable[..., Outbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """librdkafka would pass over messages whose time is up, whatever guarantee it is asked for."""
    monkeypatch.setattr(producing, "PATIENCE_S", 0.2)
    outbox = narrow()
    barrier = outbox.barrier()
    with pytest.raises(UnreachableError, match=r"takes no messages any more.*[Qq]ueue full"):
        outbox.send(MESSAGES, barrier)
    assert barrier.fault and barrier.sent == barrier.pending == 5
    with pytest.raises(UnreachableError, match=r"acknowledged nothing.*5 messages wait"):
        outbox.wait(barrier, 0.1)
    outbox._reporting.producer.purge()
    outbox.close()
