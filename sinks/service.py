"""The running sink: poll, advance, back off, stop without leaving anything half done."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaException

from schemas import contract
from sinks.client import connect
from sinks.consumer import KafkaSource
from sinks.cutting import Cut
from sinks.offsets import Reach, reach_by
from sinks.ports import OwnershipChanged, Unavailable
from sinks.quarantine import KafkaQuarantine
from sinks.warehouse import INSERT_WAIT_S, ClickHouseWarehouse
from sinks.writer import Writer
from streams.settings import Settings

BACK_OFF_S_MIN: Final = 0.5
BACK_OFF_S_MAX: Final = 10.0         # how late the sink may notice that all is well again
SAID_AGAIN_S: Final = 30.0           # how often it says what it still waits for
POLL_S: Final = 0.1
STOP_WAIT_S: Final = 10.0
ENDS_EVERY_S: Final = 5.0
# A small insert costs as much as one of a thousand rows. So trickles are let grow older when rounds
# are slow: inserts take about a fifth of the time, and freshness is at worst AGE_MS_SLOW.
REST_RATIO: Final = 4
AGE_MS_SLOW: Final = 5_000
COUNTED: Final = "events.raw"        # the topic whose records the accounting starts from

_LOG = logging.getLogger("kairos.sink")


@dataclass(slots=True)
class BackOff:
    """Waits that double up to a limit; tells of each change of state, and now and then of a long
    wait and what it is for by now."""

    pause: Callable[[bool], None]
    blocked_since_s: float | None = None
    until_s: float = 0.0
    said_s: float = 0.0
    wait_s: float = BACK_OFF_S_MIN
    dice: random.Random = field(default_factory=random.Random)

    def waiting(self, now_s: float) -> bool:
        return self.blocked_since_s is not None and now_s < self.until_s

    def failed(self, why: str, now_s: float) -> None:
        if self.blocked_since_s is None:
            self.blocked_since_s, self.wait_s = now_s, BACK_OFF_S_MIN
            self.pause(True)
            self.said_s = now_s
            _LOG.warning("waiting, reading is paused and nothing is lost: %s", why)
        elif now_s - self.said_s >= SAID_AGAIN_S:
            self.said_s = now_s
            _LOG.warning("still waiting after %.0f s: %s", now_s - self.blocked_since_s, why)
        self.until_s = now_s + self.wait_s * self.dice.uniform(0.8, 1.2)
        self.wait_s = min(self.wait_s * 2, BACK_OFF_S_MAX)

    def succeeded(self, now_s: float) -> None:
        if self.blocked_since_s is not None:
            _LOG.warning("going on after %.1f s", now_s - self.blocked_since_s)
            self.blocked_since_s = None
            self.pause(False)


class SinkService:
    """`name` tells sinks of one group apart in Kafka's tools and logs, and by their ready files."""

    def __init__(self, settings: Settings, name: str, cut: Cut | None = None) -> None:
        self._source = KafkaSource(settings, name)
        self._bootstrap = settings.bootstrap
        self._warehouse = ClickHouseWarehouse(
            lambda: connect(settings, user="writer", wait_s=INSERT_WAIT_S * 1.5),
            verify=settings.embedded_clickhouse,
            members_min=settings.segment_members_min)
        self._writer = Writer(
            self._source, self._warehouse, KafkaQuarantine(settings, _LOG.error),
            schema_of=lambda topic: contract(topic).fingerprint.hex(), warn=_LOG.warning,
            cut=cut or Cut())
        self._back_off = BackOff(self._source.pause)
        self._ends: list[Reach] = []
        self._ends_due_s = 0.0

    def run(self, stop: threading.Event, ready: Callable[[], None]) -> None:
        """Until `stop`. Raises KairosError when waiting would not help."""
        self._prepare(stop)
        self._source.start(self._writer, ready)
        try:
            while not stop.is_set():
                self._source.poll(POLL_S)
                self._advance()
            self._finish()
        finally:
            self._source.close()

    def _prepare(self, stop: threading.Event) -> None:
        """Bring the tables up to date; waits for ClickHouse as long as it takes."""
        while not stop.is_set():
            try:
                for name in self._warehouse.prepare():
                    _LOG.info("applied migration %s", name)
                self._back_off.succeeded(time.monotonic())
                return
            except Unavailable as fault:
                self._back_off.failed(str(fault), time.monotonic())
                stop.wait(min(self._back_off.until_s - time.monotonic(), 2.0))

    def _advance(self, *, force: bool = False) -> bool:
        """One round, if it is time; True when nothing failed."""
        now_s = time.monotonic()
        if self._back_off.waiting(now_s) and not force:
            return False
        try:
            self._writer.advance(int(time.time() * 1000), force=force)
            took_ms = int((time.monotonic() - now_s) * 1000)
            self._writer.age_ms = min(AGE_MS_SLOW, max(took_ms * REST_RATIO,
                                                       self._writer.age_ms * 9 // 10))
            self._note_ends(now_s, force=force)
        except OwnershipChanged:
            return False           # the callbacks of the next poll tell what is still ours
        except Unavailable as fault:
            self._back_off.failed(str(fault), now_s)
            return False
        self._back_off.succeeded(now_s)
        return True

    def _note_ends(self, now_s: float, *, force: bool) -> None:
        if now_s < self._ends_due_s and not force:
            return
        try:
            ends = reach_by(self._source.consumer, COUNTED)
        except KafkaException as fault:
            raise Unavailable(f"Kafka does not answer at {self._bootstrap}") from fault
        self._ends_due_s = now_s + ENDS_EVERY_S
        if ends and ends != self._ends:
            self._warehouse.note_ends([(e.topic, e.partition, e.begin, e.end) for e in ends],
                                      int(time.time() * 1000))
            self._ends = ends

    def _finish(self) -> None:
        """Land what was read. What cannot land now is read again by whoever comes next."""
        deadline_s = time.monotonic() + STOP_WAIT_S
        while time.monotonic() < deadline_s:
            if self._advance(force=True) and self._writer.idle:
                _LOG.info("stopped; everything that was read has landed")
                return
            self._source.poll(POLL_S)
        _LOG.warning("stopped; what had not landed will be read again")
