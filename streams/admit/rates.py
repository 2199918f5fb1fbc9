"""Rates: do you leave room for the others?

In       whose event it is, or that somebody new has come to a tenant
Out      whether there is room for it
Keeps    per person and per tenant until when what came is paid for, in the partition's notes
Refuses  too_many, too_many_new
Time     the broker's, which a producer cannot choose

A token bucket, kept as the one moment at which it is full again: an event adds its price (a second
divided by the rate) to that moment, and there is room while it lies less than a burst ahead. What
lies behind now is full, and forgetting it changes nothing; so only those who came within the last
moments are kept, and a few who came too often.

Everything here depends on the records before this one and on nothing else, also what is forgotten
and when: a replay, and any cut into batches, gives the same answers. The notes are saved exactly
at the checkpoint.
"""

from __future__ import annotations

from typing import Any, Final

from streams.admit.limits import AdmitLimits

PEOPLE_MAX: Final = 4096              # kept at once; of more than that the half that came last
SWEEP_US: Final = 100_000
_SECOND_US: Final = 1_000_000
# What a person does seldom and a shop cannot do without has a bucket of its own: however much else
# comes under their name, it does not take the room of these.
WEIGHTY: Final = frozenset({"purchase", "refund", "identify", "alias", "consent"})
_RECEIPT_PREFIX: Final = "message_"


class Rates:
    """A view of the notes: {"rates": {now_us, swept_us, people: {bucket: full_us}, tenants: ...,
    prices}}.

    Of `partitions` every one has its share of a tenant's newcomers. A rate of 0 is no limit.
    """

    def __init__(self, notes: dict[str, Any], limits: AdmitLimits, *, partitions: int) -> None:
        self._kept: dict[str, Any] = notes.setdefault(
            "rates", {"now_us": 0, "swept_us": 0, "people": {}, "tenants": {}})
        self._price_us = _SECOND_US // limits.profile_rate if limits.profile_rate else 0
        self._ahead_us = self._price_us * limits.profile_burst
        self._new_price_us = (_SECOND_US * partitions // limits.newcomer_rate
                              if limits.newcomer_rate else 0)
        self._new_ahead_us = self._new_price_us * max(limits.newcomer_burst // partitions, 1)
        self._revalue("people", self._price_us, self._ahead_us)
        self._revalue("tenants", self._new_price_us, self._new_ahead_us)

    def _revalue(self, name: str, price_us: int, ahead_us: int) -> None:
        """What was taken at another price is owed at today's: who raises a rate need not wait
        until the debts of the lower one are paid."""
        prices, now_us = self._kept.setdefault("prices", {}), self._kept["now_us"]
        before = prices.get(name, price_us)
        if prices.get(name) != price_us:
            prices[name] = price_us
        if before != price_us:
            self._kept[name] = {
                who: now_us + min((full_us - now_us) * price_us // before, ahead_us)
                for who, full_us in self._kept[name].items()
                if before and full_us > now_us}

    def at(self, appended_ms: int) -> None:
        """Time goes on to a record's; it never goes back."""
        kept, now_us = self._kept, appended_ms * 1000
        if now_us <= kept["now_us"]:
            return
        kept["now_us"] = now_us
        if now_us - kept["swept_us"] >= SWEEP_US:
            kept["swept_us"] = now_us
            for name in ("people", "tenants"):
                kept[name] = {who: full_us for who, full_us in kept[name].items()
                              if full_us > now_us}

    def take_event(self, profile_id: str, event_type: str) -> bool:
        """Whether there is room for one more event of this person; it is taken then."""
        if not self._price_us:
            return True
        people: dict[str, int] = self._kept["people"]
        weighty = event_type in WEIGHTY or event_type.startswith(_RECEIPT_PREFIX)
        bucket = f"!{profile_id}" if weighty else profile_id
        full_us = max(people.pop(bucket, 0), self._kept["now_us"])
        has_room = full_us + self._price_us <= self._kept["now_us"] + self._ahead_us
        people[bucket] = full_us + self._price_us if has_room else full_us     # now the newest
        if len(people) > PEOPLE_MAX:
            self._kept["people"] = dict(list(people.items())[PEOPLE_MAX // 2:])
        return has_room

    def take_newcomer(self, tenant: str) -> bool:
        """Whether there is room for one more person whom this partition did not know."""
        if not self._new_price_us:
            return True
        tenants: dict[str, int] = self._kept["tenants"]
        full_us = max(tenants.get(tenant, 0), self._kept["now_us"]) + self._new_price_us
        if full_us > self._kept["now_us"] + self._new_ahead_us:
            return False
        tenants[tenant] = full_us
        return True
