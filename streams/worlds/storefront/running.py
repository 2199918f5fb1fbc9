"""Run the storefront against the pipeline: produce, wait for the road, read the mail, go on.

Virtual time goes on in slices of an hour, each acknowledged and then told to the clock. It never
runs further ahead of the road than `ahead_ms`, however slow the machine is: messages must reach
their readers well within the conversion window, or their effect would be lost to the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from streams.kernel.errors import UnreachableError
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.worlds.replaying import Bus, Pace
from streams.worlds.storefront.simulation import Mail, Reaction, Storefront

SLICE_MS = HOUR_MS
CLOSING_MS = 3 * DAY_MS
_MAIL_PAGE = 500


class Inbox(Protocol):
    """All shoppers' mail. `after` returns messages that came after id `after`, oldest first."""

    def after(self, mail_id: int, limit: int) -> list[Mail]: ...


class Browser(Protocol):
    """Does over HTTP what a reader's mail program and browser do; faults are its own to count."""

    def do(self, reaction: Reaction) -> None: ...


class Road(Protocol):
    """How far the pipeline has come in virtual time; see `adapters.history.Tide`."""

    def mark(self, virtual_ms: int) -> None: ...
    def look(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Scene:
    """What a watcher is shown."""

    now_ms: int
    start_ms: int
    end_ms: int
    sent: int
    mails: int
    behind_ms: int


@dataclass(slots=True)
class Run:
    """One run. `slices_per_s` bounds the speed; `patience_s` how long the road may stand still."""

    world: Storefront
    bus: Bus
    inbox: Inbox
    browser: Browser
    road: Road
    pace: Pace
    slices_per_s: float
    arm_of: Callable[[str], str] = lambda decision_id: ""
    watch: Callable[[Scene], None] = lambda scene: None
    ahead_ms: int = 14 * HOUR_MS
    patience_s: float = 180.0
    last_mail: int = 0
    mails: int = 0
    _now_ms: int = 0

    def go(self) -> None:
        """From the first event until every window is closed and the road has nothing left.

        Raises UnreachableError when the broker fails or the road stands still.
        """
        start_ms, end_ms = self.world.world.start_ms, self.world.end_ms
        for record in self.world.shop.records(start_ms):
            self.bus.item(record)
        self._tell(start_ms)
        began_ms, number = self.pace.now_ms(), 0
        while self._now_ms < max(end_ms, self.world.end_ms):
            self._slice(self._now_ms + SLICE_MS)
            self._read_mail()
            self._await_road(self._now_ms - self.ahead_ms)
            self._show(start_ms)
            number += 1
            rest_s = number / self.slices_per_s - (self.pace.now_ms() - began_ms) / 1000
            if rest_s > 0:
                self.pace.sleep(rest_s)
        self._await_road(self._now_ms)
        self._tell(self._now_ms + CLOSING_MS)
        self._show(start_ms)

    def _slice(self, until_ms: int) -> None:
        for ready in self.world.advance(until_ms, wall_ms=self.pace.now_ms()):
            self.bus.event(ready.key, ready.value)
        self._tell(until_ms)

    def _tell(self, now_ms: int) -> None:
        self._now_ms = min(now_ms, self.pace.now_ms())
        self.bus.clock(self.world.shop.tenant, self._now_ms)
        self.bus.settle()
        self.road.mark(self._now_ms)

    def _read_mail(self) -> None:
        while page := self.inbox.after(self.last_mail, _MAIL_PAGE):
            for mail in page:
                self.last_mail = max(self.last_mail, mail.id)
                self.mails += 1
                reaction = self.world.read(mail, self._now_ms, self.arm_of)
                if reaction != Reaction():
                    self.browser.do(reaction)

    def _await_road(self, needed_ms: int) -> None:
        reached_ms, moved_ms = self.road.look(), self.pace.now_ms()
        while reached_ms < needed_ms:
            self.pace.sleep(0.1)
            self._read_mail()
            found_ms = self.road.look()
            if found_ms > reached_ms:
                reached_ms, moved_ms = found_ms, self.pace.now_ms()
            if self.pace.now_ms() - moved_ms > self.patience_s * 1000:
                raise UnreachableError(
                    f"the pipeline has not moved for {self.patience_s:.0f} s",
                    "see `kairos status`, and the workers' logs in HOME/logs")

    def _show(self, start_ms: int) -> None:
        self.watch(Scene(self._now_ms, start_ms, self.world.end_ms,
                         sum(self.world.sent.values()), self.mails,
                         max(self._now_ms - max(self.road.look(), start_ms), 0)))
