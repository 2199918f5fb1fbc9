"""The storefront's world: time goes on, shoppers act, messages reach them and change what they do.

Pure: virtual time, the wall's time and the mail come in as arguments. The same seed gives the same
shoppers, plans and mess; what the messages change depends on which ones the pipeline sent.

Potential outcomes with common random numbers: each shopper who leaves a cart has one number `draw`.
They buy within the window if it lies below their chance, which is higher after reading a message
that works on them. What the message changed is therefore the difference of two known chances.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from streams.kernel.moments import DAY_MS, MINUTE_MS
from streams.worlds.storefront.people import Shopper, draw
from streams.worlds.storefront.shop import Item, Shop
from streams.worlds.storefront.visits import Visitor
from streams.worlds.storefront.wire import FATES, Event, Packet, mess, packet, repeat

QUIET_MS = 30 * MINUTE_MS       # the playbook's absence: the moment lies this long after the cart
_MARGIN_MS = 10 * MINUTE_MS     # nobody buys nearer to the window's end than this


@dataclass(frozen=True, slots=True)
class Mail:
    """One message from a shopper's mailbox. `variant` is the arm it was written for."""

    id: int
    to: str
    decision_id: str
    variant: str
    open_url: str
    click_url: str
    unsubscribe_url: str


@dataclass(frozen=True, slots=True)
class Reaction:
    """What the reader's browser does: addresses to get or to post to, empty for nothing."""

    open_url: str = ""
    click_url: str = ""
    unsubscribe_url: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """One line of the simulator's own log: a message, who got it, and by how much it mattered."""

    decision_id: str
    shopper: int
    strategy: str
    in_time: bool
    chance_without: float
    chance_with: float
    converts: bool


@dataclass(slots=True)
class _Cart:
    visitor: Visitor
    items: tuple[Item, ...]
    abandoned_ms: int
    bought: bool = False
    answered: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """The settings of a simulation. `days`: how long shoppers come; `mess_share`: bad traffic."""

    seed: int
    shoppers: int
    days: float
    start_ms: int
    window_ms: int
    strategies: dict[str, str]
    event_bytes_max: int = 65_536
    mess_share: float = 0.03


@dataclass(slots=True)
class Storefront:
    """Call `advance` slice by slice; give mail to `read` as it comes."""

    world: World
    shop: Shop
    sent: Counter[str] = field(default_factory=Counter)
    log: list[Reading] = field(default_factory=list)
    _agenda: list[tuple[int, int, Packet]] = field(default_factory=list)
    _carts: dict[str, _Cart] = field(default_factory=dict)
    _dice: random.Random = field(default_factory=random.Random)
    _number: int = 0
    last_abandoned_ms: int = 0
    expected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        world = self.world
        self._dice = random.Random(f"kairos mess {world.seed}")
        for shopper in draw(world.seed, world.shoppers, days=world.days,
                            categories=len(self.shop.categories)):
            self._settle_in(shopper)

    def _settle_in(self, shopper: Shopper) -> None:
        visitor = Visitor(shopper, self.shop, start_ms=self.world.start_ms,
                          run=f"sf{self.world.seed}")
        plan = visitor.plan()
        for event in plan.events:
            self._schedule(shopper, event)
        if plan.abandoned_ms:
            cart = self._carts[shopper.email] = _Cart(visitor, plan.cart, plan.abandoned_ms)
            self.last_abandoned_ms = max(self.last_abandoned_ms, plan.abandoned_ms)
            if shopper.returns_anyway:
                cart.bought = True
                self._schedule(shopper, visitor.purchase(
                    plan.abandoned_ms + min(shopper.return_ms,
                                            self.world.window_ms - 2 * _MARGIN_MS), plan.cart))

    def _schedule(self, shopper: Shopper, event: Event) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (event["event_ms"], self._number, packet(
            event, key=shopper.key, avro=shopper.avro, agreed=shopper.consent != "nothing")))

    @property
    def carts(self) -> int:
        return len(self._carts)

    @property
    def end_ms(self) -> int:
        """When the last cart's window is closed and nothing more can happen."""
        planned = max((entry[0] for entry in self._agenda), default=self.world.start_ms)
        return max(planned, self.last_abandoned_ms + QUIET_MS + self.world.window_ms) + MINUTE_MS

    def advance(self, until_ms: int, *, wall_ms: int) -> Iterator[Packet]:
        """Everything that is sent up to virtual `until_ms`, the mess among it."""
        while self._agenda and self._agenda[0][0] <= until_ms:
            event_ms, _, ready = heapq.heappop(self._agenda)
            yield self._counted(ready)
            if self._dice.random() < self.world.mess_share:
                yield self._counted(self._mess(ready, event_ms, wall_ms))

    def _counted(self, ready: Packet) -> Packet:
        self.sent[ready.kind] += 1
        self.expected[ready.fate] += 1
        return ready

    def _mess(self, previous: Packet, now_ms: int, wall_ms: int) -> Packet:
        kind = self._dice.choice(tuple(FATES))
        if kind == "repeated":
            return repeat(previous)
        self._number += 1
        return mess(kind, self._dice, tenant=self.shop.tenant, now_ms=now_ms, wall_ms=wall_ms,
                    number=self._number, bytes_max=self.world.event_bytes_max)

    def read(self, mail: Mail, now_ms: int,
             arm_of: Callable[[str], str] = lambda decision_id: "") -> Reaction:
        """A message lies in a mailbox at virtual `now_ms`. What follows is on the agenda after it.

        arm_of   the arm of a decision, asked only when the message itself does not say it
        """
        cart = self._carts.get(mail.to)
        if cart is None:
            return Reaction()                                # nobody of ours
        shopper = cart.visitor.shopper
        if cart.answered or not shopper.reads:
            return Reaction(open_url=mail.open_url) if shopper.reads else Reaction()
        cart.answered = True
        strategy = self.world.strategies.get(mail.variant or arm_of(mail.decision_id), "")
        reading = self._judge(mail, cart, shopper, strategy, now_ms)
        self.log.append(reading)
        if reading.converts and not cart.bought:
            cart.bought = True
            self._schedule(shopper, cart.visitor.purchase(now_ms + shopper.reading_ms, cart.items))
        clicks = reading.converts or shopper.curious
        return Reaction(mail.open_url, mail.click_url if clicks else "",
                        mail.unsubscribe_url if shopper.unsubscribes and not clicks else "")

    def _judge(self, mail: Mail, cart: _Cart, shopper: Shopper, strategy: str,
               now_ms: int) -> Reading:
        closes_ms = cart.abandoned_ms + QUIET_MS + self.world.window_ms
        in_time = now_ms + shopper.reading_ms <= closes_ms - _MARGIN_MS
        without = shopper.chance("")
        chance = shopper.chance(strategy) if in_time else without
        return Reading(mail.decision_id, shopper.number, strategy, in_time, without, chance,
                       shopper.draw < chance)


def start_of(wall_ms: int, *, days: float, window_ms: int) -> int:
    """A start, on the hour, from which the whole simulation and its closing lie in the past."""
    span_ms = int(days * DAY_MS) + window_ms + 5 * DAY_MS
    return (wall_ms - span_ms) // (60 * MINUTE_MS) * (60 * MINUTE_MS)
