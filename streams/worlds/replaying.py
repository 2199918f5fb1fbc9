"""Produce prepared events in event time: slice by slice, each acknowledged before time moves on.

A slice is a stretch of virtual time. Its events are produced, and behind them in every partition a
`clock` event that says that the stretch is complete. Once the broker has acknowledged all of it,
the progress is written: after each slice of a paced replay, else after some thousand events, for
an acknowledgement takes longer than a day of a small shop. After a crash the slices that were under
way are produced again: nothing is missing, and their repeats have the same event ids and are
counted as duplicates by admission.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import orjson

from streams.kernel import ids
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.worlds.mapping import ConsentRule, Mapping
from streams.worlds.preparing import Prepared
from streams.worlds.progress import Progress, ProgressFile

CLOSING_MS = 30 * DAY_MS         # longer than any window that we ship: what is open will close
_SLICES_MAX = 2_000
_SLICE_EVENTS_MAX = 20_000
_UNDER_WAY_MAX = 2_000           # events sent before they are waited for, when there is no pace


class Bus(Protocol):
    """Where a world produces to. Everything sent before `settle` returns is acknowledged.

    What is sent to one partition arrives there in the order of sending and without gaps: when a
    message is given up, nothing behind it arrives. So a clock never overtakes an event.
    """

    def event(self, key: bytes, value: bytes) -> None: ...
    def clock(self, tenant: str, now_ms: int) -> None: ...
    def item(self, record: dict[str, object]) -> None: ...
    def settle(self) -> None: ...


class Pace(Protocol):
    """Wall time, as far as a world needs it."""

    def now_ms(self) -> int: ...
    def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """What a watcher is shown after each slice."""

    events: int
    events_total: int
    clock_ms: int
    repeated: int


def clock_event(tenant: str, now_ms: int, *, partition: int) -> bytes:
    """The control event that tells one partition of events.raw how late it is for `tenant`."""
    return orjson.dumps({"event_id": ids.derive("clock", tenant, now_ms, partition),
                         "event_type": "clock", "event_ms": now_ms, "tenant": tenant,
                         "source": "kairos/clock"})


def slice_of(span_ms: int) -> int:
    """The length of a slice: an hour for days, a day for years; at least a minute."""
    for slice_ms in (MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS):
        if span_ms <= 500 * slice_ms:
            return slice_ms
    return max(DAY_MS, span_ms // _SLICES_MAX)


class _WithConsent:
    """Adds the mapping's consent claims to events: to each, or to each person's first."""

    def __init__(self, rule: ConsentRule | None) -> None:
        claims = {word: True for word in (rule.grant if rule else ())}
        claims |= {word: False for word in (rule.deny if rule else ())}
        self._ending = b',"consent":%b}' % orjson.dumps(claims) if claims else b""
        self._every = rule is not None and rule.on == "every"
        self._told: set[bytes] = set()

    def add(self, key: bytes, payload: bytes) -> bytes:
        if not self._ending:
            return payload
        if not self._every:
            if key in self._told:
                return payload
            self._told.add(key)
        return payload[:-1] + self._ending


def _slices(prepared: Prepared, slice_ms: int) -> Iterator[tuple[int, list[tuple[bytes, bytes]]]]:
    """(end of the slice, its events). Empty stretches are passed over; very full ones are cut."""
    held: list[tuple[bytes, bytes]] = []
    number = 0
    for event_ms, key, payload in prepared.events():
        place = (event_ms - prepared.first_ms) // slice_ms
        if held and place != number:
            yield prepared.first_ms + (number + 1) * slice_ms - 1, held
            held = []
        elif len(held) >= _SLICE_EVENTS_MAX:
            yield event_ms - 1, held       # not `event_ms`: more events of that moment may follow
            held = []
        number = place
        held.append((key, payload))
    if held:
        yield prepared.first_ms + (number + 1) * slice_ms - 1, held


def replay(prepared: Prepared, mapping: Mapping, bus: Bus, file: ProgressFile, start: Progress, *,
           pace: Pace, days_per_s: float | None = None,
           hold: Callable[[], None] = lambda: None,
           watch: Callable[[Standing], None] = lambda standing: None) -> Progress:
    """Produce everything behind `start.position`, then let time run on until windows are closed.

    days_per_s   virtual days in a second; None as fast as the broker takes them
    hold         called before each slice; returns when the slice may be produced
    Raises UnreachableError when the broker does not acknowledge; progress stands where it was.
    """
    facts = _Facts(prepared, mapping, bus)
    facts.state(None)
    if not prepared.counts.events:
        done = replace(start, done=True)
        file.write(done)
        return done
    run = _Run(mapping, bus, file, start, pace, days_per_s)
    run.tell(max(start.clock_ms, prepared.first_ms - 1))
    slice_ms = slice_of(prepared.last_ms - prepared.first_ms)
    for end_ms, events in _slices(prepared, slice_ms):
        if run.passed_over(events):
            continue
        hold()
        run.wait_for(end_ms)
        run.produce(end_ms, events)
        facts.restate_if_due(run.progress.clock_ms)
        watch(Standing(run.progress.position, prepared.counts.events, run.progress.clock_ms,
                       run.repeated))
    for end_ms in itertools.chain(range(prepared.last_ms + slice_ms,
                                        prepared.last_ms + CLOSING_MS, max(slice_ms, DAY_MS)),
                                  (prepared.last_ms + CLOSING_MS,)):
        run.tell(end_ms)
    run.finish()
    return run.progress


class _Facts:
    """States the catalogue, and states it again as virtual time goes on."""

    def __init__(self, prepared: Prepared, mapping: Mapping, bus: Bus) -> None:
        self._records, self._bus = prepared.catalogue, bus
        self._every_ms = mapping.catalogue.restate_ms if mapping.catalogue else 0
        self._stated_ms = prepared.first_ms

    def state(self, as_of_ms: int | None) -> None:
        for record in self._records:
            self._bus.item(record if as_of_ms is None else {**record, "as_of_ms": as_of_ms})
        self._bus.settle()

    def restate_if_due(self, now_ms: int) -> None:
        if self._every_ms and now_ms - self._stated_ms >= self._every_ms:
            self._stated_ms = now_ms
            self.state(now_ms)


class _Run:
    def __init__(self, mapping: Mapping, bus: Bus, file: ProgressFile, start: Progress, pace: Pace,
                 days_per_s: float | None) -> None:
        self._tenant, self._bus, self._file, self._pace = mapping.tenant, bus, file, pace
        self._consent = _WithConsent(mapping.consent)
        self._skip = start.position
        self._seen, self._clock_ms = 0, start.clock_ms
        self.progress = start
        self.repeated = 0
        self._days_per_s = days_per_s
        self._origin: tuple[int, int] | None = None          # (wall ms, virtual ms) of the start

    def tell(self, virtual_ms: int) -> None:
        """The tenant's clock says `virtual_ms`; never later than the real now, never back."""
        now_ms = min(virtual_ms, self._pace.now_ms())
        self._bus.clock(self._tenant, now_ms)
        self._clock_ms = max(now_ms, self._clock_ms)

    def settle(self) -> None:
        """Wait for all that was sent, and write down how far that is."""
        self._bus.settle()
        self.progress = replace(self.progress, position=self._seen, clock_ms=self._clock_ms)
        self._file.write(self.progress)

    def passed_over(self, events: list[tuple[bytes, bytes]]) -> bool:
        """True when an earlier run produced the whole slice; it is only remembered who was told."""
        if self._seen + len(events) > self._skip:
            return False
        for key, payload in events:
            self._consent.add(key, payload)
        self._seen += len(events)
        return True

    def wait_for(self, virtual_ms: int) -> None:
        """Sleep until the pace allows `virtual_ms`."""
        if self._days_per_s is None:
            return
        if self._origin is None:
            self._origin = (self._pace.now_ms(), virtual_ms)
        wall_ms, first_ms = self._origin
        due_ms = wall_ms + (virtual_ms - first_ms) / DAY_MS / self._days_per_s * 1000
        rest_s = (due_ms - self._pace.now_ms()) / 1000
        if rest_s > 0:
            self._pace.sleep(rest_s)

    def produce(self, end_ms: int, events: list[tuple[bytes, bytes]]) -> None:
        for key, payload in events:
            self._bus.event(key, self._consent.add(key, payload))
        self.tell(end_ms)
        self._seen += len(events)
        if self._days_per_s is not None or (
                self._seen - self.progress.position >= _UNDER_WAY_MAX):
            self.settle()

    def finish(self) -> None:
        self.settle()
        self.progress = replace(self.progress, done=True)
        self._file.write(self.progress)
