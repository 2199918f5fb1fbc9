"""The playbook: what a growth team writes, as one frozen value. Pure; loading is in `loading`.

A playbook says when to speak (trigger), to whom (audience), by what right (purpose), through which
channel, about what (brief, facts), in which words (variants), how often at most (cap, cool-down),
until when it is useful (expires), and how success is counted (conversion, window, value, hold-out).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

TriggerKind = Literal["event", "edge", "absence", "recency", "score", "segment", "sequence",
                      "schedule", "date", "back_in_stock", "price_drop"]


@dataclass(frozen=True, slots=True)
class Condition:
    """A tree of tests over features and segments.

    op    all | any | not (with `parts`), feature (with name, compare, number), segment (with name);
          and what only segments ask for: bucket (with name, compare, number: the person's place in
          it, 0 to 100), cluster (with name), trait (with name, text), list (with name), was (with
          name: the person was in that segment so far)
    compare   at_least | at_most | above | below | equals | every (a multiple of it: each tenth
              order); a feature without a value fails them all. Of features that are texts:
              is | has (with `text`)
    """

    op: Literal["all", "any", "not", "feature", "segment", "bucket", "cluster", "trait", "list",
                "was"]
    parts: tuple[Condition, ...] = ()
    name: str = ""
    compare: Literal["at_least", "at_most", "above", "below", "equals", "every", "is", "has",
                     ""] = ""
    number: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a sequence: this event, or its absence up to the next step."""

    event: str
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Trigger:
    """When to speak.

    event     each `event` (optionally only while `when` holds)
    edge      `when` turns from false to true at an event; once, until it was false again
    absence   `event`, and no `without` of the same `per` object within `within_ms` after it
    recency   the last `event` lies back `within_ms`; or, when `times` > 0, lies back `times` times
              the person's own mean gap between such events (at least `events_min` of them)
    score     the sum of `weights` times features comes to `at_least`; once, until it was below
              `rearm_below`. A feature without a value counts as 0
    sequence  `steps` in their order within `within_ms`, all of the same `per` object; `event` is
              the last that must happen
    schedule  at `minute` of the day on `days` of the week (0: Monday), for people who did `event`
              (or anything, when empty) within `within_ms` before
    date      at `minute` of the day that lies `shift_days` after the date in `property` of `event`;
              before it, when negative
    back_in_stock, price_drop (by the share `at_least`)   an item that the person was last seen with
              in one of `events`, at most `within_ms` before, and has not bought (`without`) since
    segment   the person enters `segment`, or leaves it when `enters` is False

    `zone` is a time zone's name, or `person` for that of each person, or `otherwise` where that is
    not known. `rearm` is the edge's hysteresis: it fires again only after `when` was false while
    `rearm` held.
    """

    kind: TriggerKind
    event: str = ""
    without: str = ""
    within_ms: int = 0
    per: Literal["", "cart_id", "item_id", "order_id"] = ""
    when: Condition | None = None
    times: float = 0.0
    events_min: int = 1
    rearm: Condition | None = None
    weights: tuple[tuple[str, float], ...] = ()
    at_least: float = 0.0
    rearm_below: float = 0.0
    segment: str = ""
    enters: bool = True
    steps: tuple[Step, ...] = ()
    minute: int = 0
    days: tuple[int, ...] = ()
    property: str = ""
    shift_days: int = 0
    zone: str = ""
    otherwise: str = ""
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """One arm. `strategy` steers the writer; subject and body are the approved template.

    Templates hold typed slots only: {item.title} {item.price} {item.url} {first_name}
    {unsubscribe_url} {shop}. An empty body means the strategy's built-in template.
    """

    name: str
    strategy: str
    subject: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A feature of the item that may be stated, in the one sentence `says`: it holds {figure}.

    Where it is below `at_least`, or older than `max_age_ms` when the message is written, nothing
    is said of it. Texts hold the sentence as a slot named like the feature.
    """

    feature: str
    says: str
    at_least: int
    max_age_ms: int


@dataclass(frozen=True, slots=True)
class Playbook:
    """A validated playbook. Spans in ms; money in micro-units; `holdout` in [0, 0.9].

    mode    shadow: everything happens but the dispatch; nobody is sent anything
    clock   event: the tenant's time is that of its events (a replay, a simulation), not the wall's
    """

    name: str
    trigger: Trigger
    brief: str
    variants: tuple[Variant, ...]
    conversion: str
    window_ms: int
    expires_ms: int
    purpose: Literal["personalise", "contact"] = "contact"
    audience: Condition | None = None
    channels: tuple[str, ...] = ("email",)
    facts: tuple[str, ...] = ("item.title", "item.price", "item.url")
    figures: tuple[Figure, ...] = ()
    cap_messages: int = 3
    cap_per_ms: int = 7 * 86_400_000
    cooldown_ms: int = 86_400_000
    value_micros: int = 0
    holdout: float = 0.1
    mode: Literal["live", "shadow"] = "live"
    clock: Literal["wall", "event"] = "wall"
    locale: str = "en"
    shop: str = "the shop"
    banned: tuple[str, ...] = field(default_factory=tuple)
    tenant: str = "default"
    version: int = 0
    active: bool = True
