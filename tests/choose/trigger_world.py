"""One person under triggers, driven as the stage drives them, in any order and at any pace."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from hypothesis import HealthCheck, settings

from streams.choose import triggers
from streams.choose.triggers import Features, Moment, Person
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.playbooks.model import Playbook, Trigger, Variant

START = 1_700_000_000_000
NOBODY = Person(lambda name: None, lambda name: False)


@dataclass(frozen=True)
class Declared:
    """A feature, worked out the slow way: from everything that was ever heard."""

    name: str
    event: str
    kind: str
    window_ms: int = 0
    max_age_ms: int = 0
    where: tuple[str, ...] = ()

    def value(self, heard: Iterable[dict[str, Any]], at_ms: int) -> float | None:
        own = sorted((e["event_ms"], e["value_micros"], e["item_id"]) for e in heard
                     if self.event in ("*", e["event_type"]) and e["event_ms"] <= at_ms)
        recent = [e for e in own if e[0] > at_ms - self.window_ms]
        if self.kind == "count":
            return float(len(recent))
        if self.kind == "sum":
            return sum(e[1] for e in recent) / 1e6
        if self.kind == "distinct":
            return float(len({e[2] for e in recent}))
        if self.kind == "lifetime":
            return float(len(own))
        if self.kind == "since":
            return (at_ms - own[-1][0]) / DAY_MS if own else None
        assert self.kind == "mean_gap"
        return (own[-1][0] - own[0][0]) / (len(own) - 1) / DAY_MS if len(own) > 1 else None


DECLARED = (
    Declared("product_views_1h", "product_view", "count", HOUR_MS),
    Declared("cart_adds_24h", "cart_add", "count", DAY_MS),
    Declared("spend_30d", "purchase", "sum", 30 * DAY_MS),
    Declared("distinct_items_30d", "*", "distinct", 30 * DAY_MS),
    Declared("orders_lifetime", "purchase", "lifetime"),
    Declared("mean_gap_days", "purchase", "mean_gap"),
    Declared("looked", "product_view", "lifetime"),
    Declared("looks_each", "product_view", "mean_gap"),
    Declared("days_since_purchase", "purchase", "since"),
    Declared("days_since_view", "product_view", "since", max_age_ms=400 * DAY_MS),
)
BY_NAME = {spec.name: spec for spec in DECLARED}
FEATURES = Features(DECLARED)


def law(examples: int) -> settings:
    """Settings of a property: nothing in it depends on how fast the machine is."""
    return settings(max_examples=examples, deadline=None,
                    suppress_health_check=[HealthCheck.too_slow])


def playbook(trigger: Trigger, name: str = "p", expires_ms: int = DAY_MS) -> Playbook:
    return Playbook(name=name, trigger=trigger, brief="b", variants=(Variant("a", "reminder"),),
                    conversion="purchase", window_ms=DAY_MS, expires_ms=expires_ms, tenant="t")


def event(number: int, kind: str, at_ms: int, **fields: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "event_type": kind, "event_ms": at_ms, "appended_ms": at_ms,
            "item_id": "", "cart_id": "", "order_id": "", "value_micros": 0, "timezone": "",
            "properties_json": "", "items": (), **fields}


def items_of(happened: dict[str, Any]) -> tuple[str, ...]:
    return happened["items"] or ((happened["item_id"],) if happened["item_id"] else ())


class World:
    """`kept` passes through JSON at every step, as it would through the changelog."""

    def __init__(self, *playbooks: Playbook) -> None:
        self.playbooks = playbooks
        self.kept: dict[str, Any] = {}
        self.moments: list[Moment] = []
        self.heard: list[dict[str, Any]] = []

    def person(self, at_ms: int) -> Person:
        return Person(lambda name: BY_NAME[name].value(self.heard, at_ms), lambda name: False,
                      FEATURES)

    def tell(self, happened: dict[str, Any], *, filtered: bool = False) -> list[Moment]:
        """One event. `filtered`: leave it out where `interests` says that it cannot matter."""
        items = items_of(happened)
        self.heard.append(happened)
        types = triggers.interests(self.playbooks, FEATURES)
        if (filtered and types is not None and happened["event_type"] not in types
                and not triggers.is_alert(self.kept)):
            return []
        found = triggers.on_event(self.playbooks, self.kept, happened, items,
                                  self.person(happened["event_ms"]))
        return self._found(found)

    def reach(self, watermark_ms: int) -> list[Moment]:
        """The watermark comes to `watermark_ms`: deadlines come up one by one, as timers do."""
        found: list[Moment] = []
        while (due_ms := triggers.next_deadline_ms(self.kept)) is not None:
            if due_ms > watermark_ms:
                break
            found += triggers.on_watermark(self.playbooks, self.kept, due_ms, watermark_ms,
                                           watermark_ms)
            after_ms = triggers.next_deadline_ms(self.kept)
            assert after_ms is None or after_ms > due_ms, "a timer that never ends"
        return self._found(found)

    def _found(self, found: list[Moment]) -> list[Moment]:
        self.kept = orjson.loads(orjson.dumps(self.kept))
        self.moments += found
        return found


def shuffled(world: World, events: Sequence[dict[str, Any]], dice: random.Random,
             lateness_ms: int, end_ms: int, behind_ms: int = 0) -> list[Moment]:
    """All moments when `events` come late by less than `lateness_ms`, with watermarks anywhere
    that is allowed, and a last one at `end_ms`.

    behind_ms   the watermark may be so much later, as one that waits for another partition
    """
    arrivals = sorted((e["event_ms"] + dice.randrange(lateness_ms), e["event_id"], e)
                      for e in events)
    for arrival_ms, _, happened in arrivals:
        if dice.random() < 0.4:      # whatever is still to come happened after this
            world.reach(arrival_ms - lateness_ms - dice.randrange(behind_ms + 1))
        world.tell(happened)
    world.reach(end_ms)
    return world.moments


def facts(moments: Iterable[Moment]) -> list[Any]:
    """What must be equal: everything but when it was noticed."""
    return sorted((m.playbook.name, m.moment_ms, m.event_id, m.object_id, m.items,
                   m.useful_until_ms, orjson.dumps(m.evidence, option=orjson.OPT_SORT_KEYS))
                  for m in moments)
