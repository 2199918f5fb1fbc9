"""What a shopper does in the shop, as the events an app would send. Pure; all chance comes in."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.worlds.storefront.people import Shopper
from streams.worlds.storefront.shop import Item, Shop

Event = dict[str, Any]
_PURPOSES = ("measure", "personalise", "contact", "train")
_WORDS = ("gift", "birthday", "sale", "small", "wool", "new", "set", "blue")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a shopper does unless a message changes it, in order of time.

    abandoned_ms  when the last item went into a cart that was left, or 0
    """

    events: tuple[Event, ...]
    cart: tuple[Item, ...]
    abandoned_ms: int


def consent_of(shopper: Shopper) -> dict[str, bool]:
    if shopper.consent == "nothing":
        return dict.fromkeys(_PURPOSES, False)
    return {**dict.fromkeys(_PURPOSES, True), "contact": shopper.consent == "all"}


class Visitor:
    """Writes the events of one shopper; ids count up, so the same seed gives the same ids."""

    def __init__(self, shopper: Shopper, shop: Shop, *, start_ms: int, run: str) -> None:
        self.shopper, self.shop = shopper, shop
        self._dice = random.Random(f"{run} {shopper.number}")
        self._run, self._start_ms, self._count = run, start_ms, 0
        self._known = not shopper.anonymous_id

    def plan(self) -> Plan:
        shopper, dice = self.shopper, self._dice
        comes_ms = self._start_ms + shopper.comes_ms
        first_ms = comes_ms - int(dice.uniform(0.1, 0.28) * DAY_MS) * max(shopper.visits, 1)
        first_ms = max(first_ms, self._start_ms + MINUTE_MS)
        events = self._arrive(first_ms)
        for visit in range(shopper.visits):
            at_ms = first_ms + 5 * MINUTE_MS + (comes_ms - first_ms) * visit // shopper.visits
            events += self._browse(at_ms)
        if shopper.withdraws:
            events.append(self.event("consent", comes_ms - MINUTE_MS, consent={"contact": False}))
        shown = self._browse(comes_ms)
        events += shown
        if shopper.ending == "browse":
            return Plan(_ordered(events), (), 0)
        cart = tuple(dice.sample(self._shelf(), dice.choice((1, 1, 2))))
        at_ms = shown[-1]["event_ms"] + MINUTE_MS
        events += [self.event("cart_add", at_ms + i * MINUTE_MS, item_id=item.item_id,
                              category=item.category, quantity=1.0, price=item.price,
                              currency=self.shop.currency, cart_id=self.cart_id)
                   for i, item in enumerate(cart)]
        left_ms = events[-1]["event_ms"]
        if shopper.ending == "abandon":
            return Plan(_ordered(events), cart, left_ms)
        bought = self.purchase(left_ms + 4 * MINUTE_MS, cart)
        events += [self.event("checkout_start", left_ms + 2 * MINUTE_MS, cart_id=self.cart_id),
                   bought, *self._maybe_refund(bought)]
        return Plan(_ordered(events), cart, 0)

    @property
    def cart_id(self) -> str:
        return f"cart-{self.shopper.number:05d}"

    def event(self, kind: str, event_ms: int, **fields: Any) -> Event:
        """One event of this shopper, under the ids that the app knows at that time."""
        self._count += 1
        who = ({"user_id": self.shopper.user_id} if self._known
               else {"anonymous_id": self.shopper.anonymous_id})
        return {"event_id": f"{self._run}-{self.shopper.number:05d}-{self._count:03d}",
                "event_type": kind, "event_ms": event_ms, "tenant": self.shop.tenant,
                "source": "storefront-app", **who, **fields}

    def purchase(self, event_ms: int, cart: tuple[Item, ...]) -> Event:
        return self.event("purchase", event_ms, cart_id=self.cart_id,
                          order_id=f"order-{self.shopper.number:05d}-{self._count + 1:03d}",
                          currency=self.shop.currency,
                          lines=[{"item_id": item.item_id, "quantity": 1.0, "price": item.price}
                                 for item in cart])

    def _arrive(self, event_ms: int) -> list[Event]:
        """The first visit: consent banner, perhaps a while as a stranger, then signing in."""
        shopper, events = self.shopper, list[Event]()
        if not self._known:
            claims = consent_of(shopper) | {"contact": False}
            del claims["contact"]
            events = [self.event("page_view", event_ms, consent=claims),
                      self.event("page_view", event_ms + 20_000)]
        self._known = True
        traits = {"email": shopper.email, "first_name": shopper.first_name,
                  "locale": shopper.locale}
        identify = self.event("identify", event_ms + MINUTE_MS, consent=consent_of(shopper),
                              traits=traits)
        if shopper.anonymous_id:
            identify["anonymous_id"] = shopper.anonymous_id
        return [*events, identify]

    def _shelf(self) -> tuple[Item, ...]:
        names = self.shop.categories
        liked = self._dice.random() < 0.75
        place = self.shopper.favourite if liked else self._dice.randrange(len(names))
        return self.shop.of(names[place])

    def _browse(self, event_ms: int) -> list[Event]:
        dice = self._dice
        events = [self.event("page_view", event_ms)]
        if dice.random() < 0.3:
            events.append(self.event("search", event_ms + 15_000, query=dice.choice(_WORDS)))
        for i in range(dice.randint(1, 4)):
            item = dice.choice(self._shelf())
            events.append(self.event("product_view", event_ms + (i + 1) * 30_000,
                                     item_id=item.item_id, category=item.category,
                                     price=item.price, currency=self.shop.currency))
        return events

    def _maybe_refund(self, bought: Event) -> list[Event]:
        if self._dice.random() >= 0.08:
            return []
        return [self.event("refund", bought["event_ms"] + int(self._dice.uniform(4, 20) * HOUR_MS),
                           order_id=bought["order_id"], currency=self.shop.currency,
                           lines=bought["lines"][:1])]


def _ordered(events: list[Event]) -> tuple[Event, ...]:
    return tuple(sorted(events, key=lambda event: (event["event_ms"], event["event_id"])))
