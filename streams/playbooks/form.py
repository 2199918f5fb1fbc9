"""The form of a playbook file: every key once, with its shape and its sentence.

The loader, the JSON Schema and the table in the documentation are made from `PLAYBOOK`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from streams.kernel import moments
from streams.playbooks import vocabulary
from streams.playbooks.conditions import COMPARES, TEXT_BYTES_MAX, TEXT_COMPARES
from streams.playbooks.shapes import (
    Choice,
    Either,
    Fault,
    Fields,
    Key,
    ListOf,
    MapOf,
    Number,
    Shape,
    Share,
    Span,
    Text,
    Zone,
)
from streams.playbooks.source import Spot

_EVENT = Text("an event type like cart_add", "[a-z][a-z0-9_]{0,63}", most=64)
_FEATURE = Text("a feature's name", "[a-z][a-z0-9_]{0,63}", most=64)
_SEGMENT = Text("a segment's name", "[a-z][a-z0-9_]{0,63}", most=64)
_OBJECT = Choice(("cart_id", "item_id", "order_id"))
# Of fewer looks or orders could be known whose they were.
FIGURE_LEAST, FIGURES_MAX = 10, 4
_NAME = Text("a name like abandoned-cart", "[a-z][a-z0-9_-]{0,63}", most=64)


@dataclass(frozen=True, slots=True)
class Texts:
    """What a feature may be that is a text: one, or any of several."""

    def schema(self) -> dict[str, Any]:
        one = {"type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX}
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": 20}]}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        if not (spot.sequence is None or 0 < len(spot.sequence) <= 20):
            yield Fault(spot.line, f"{where} has {len(spot.sequence)} texts", "write 1 to 20")
        for each in (spot,) if spot.sequence is None else spot.sequence:
            if not isinstance(each.value, str) or not (
                    0 < len(each.value.encode()) <= TEXT_BYTES_MAX):
                yield Fault(each.line, f"{where} is no text of up to {TEXT_BYTES_MAX} bytes",
                            "write it in quotes, or a shorter one; longer ones are kept cut")


@dataclass(frozen=True, slots=True)
class Conditions:
    """A tree of tests: all, any, not, feature or segment."""

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/$defs/condition"}

    def faults(self, spot: Spot, where: str) -> Iterable[Fault]:
        kind = next((name for name in _CONDITION if spot.mapping and name in spot.mapping), None)
        if kind is None:
            yield Fault(spot.line, f"{where} is not a condition", "write {feature: name, "
                        "at_least: 3}, {segment: name}, {all: [...]}, {any: [...]} or {not: ...}")
            return
        yield from _CONDITION[kind].faults(spot, where)


_TEXTS: Final = Texts()
_WHEN: Final = Conditions()
_CONDITION: Final[dict[str, Fields]] = {
    "all": Fields({"all": Key(ListOf(_WHEN, least=1, most=20), "every one holds", True)}),
    "any": Fields({"any": Key(ListOf(_WHEN, least=1, most=20), "at least one holds", True)}),
    "not": Fields({"not": Key(_WHEN, "it does not hold", True)}),
    "segment": Fields({"segment": Key(_SEGMENT, "the person is in this segment", True)}),
    "feature": Fields({
        "feature": Key(_FEATURE, "a feature of the person", True),
        **{name: Key(Number(-1e15, 1e15), f"the feature is {name.replace('_', ' ')} this")
           for name in COMPARES},
        **{name: Key(_TEXTS, f"the feature {name} this text, or one of these")
           for name in TEXT_COMPARES.values()}}, one_of=(*COMPARES, *TEXT_COMPARES.values())),
}

_STEP: Final = Either(_EVENT, Fields({"not": Key(_EVENT, "this does not happen", True)}))

_ZONE: Final = {
    "zone": Key(Zone("person"), "by whose clock: a time zone like Europe/Berlin, or person (when "
                "left out) for each person's own"),
    "otherwise": Key(Zone(), "the zone of people whose own is not known; UTC when left out")}

_CARES: Final = {
    "seen": Key(ListOf(_EVENT, least=1, most=8), "events that show interest in an item; "
                "[product_view, cart_add] when left out"),
    "without": Key(_EVENT, "the event that ends it; purchase when left out"),
    "within": Key(Span(least_ms=moments.HOUR_MS), "how long interest lasts; 30d when left out")}

_TRIGGERS: Final[dict[str, Shape]] = {
    "absence": Fields({
        "after": Key(_EVENT, "the event that opens the wait", True),
        "without": Key(_EVENT, "the event that ends it", True),
        "within": Key(Span(), "how long to wait", True),
        "per": Key(_OBJECT,
                   "the object the two events share; without it, the person")}),
    "event": Fields({
        "on": Key(_EVENT, "the event", True),
        "when": Key(_WHEN, "only while this holds")}),
    "edge": Fields({
        "when": Key(_WHEN, "what turns from false to true", True),
        "rearm": Key(_WHEN, "what must hold, besides 'when' being false, before it fires again")}),
    "score": Fields({
        "sum": Key(ListOf(Fields({
            "feature": Key(_FEATURE, "a feature of the person; without a value it adds nothing",
                           True),
            "weight": Key(Number(-1e9, 1e9), "what one unit of it adds", True)}), least=1, most=20),
            "what is added up", True),
        "at_least": Key(Number(-1e15, 1e15), "fires once when the sum comes to this", True),
        "rearm_below": Key(Number(-1e15, 1e15), "fires again only after the sum was below this; "
                           "at_least when left out")}),
    "sequence": Fields({
        "steps": Key(ListOf(_STEP, least=2, most=8, repeats=True), "what happens one after the "
                     "other; {not: event} is what does not happen before the next step, or, as the "
                     "last step, before the time is over", True),
        "within": Key(Span(), "all of it in this span, from the first event on", True),
        "per": Key(_OBJECT, "the object the events share; without it, the person")}),
    "schedule": Fields({
        "at": Key(Text("a time of day in whole quarters, like 09:00 or 17:45",
                       "(?:[01][0-9]|2[0-3]):(?:00|15|30|45)"), "at this time", True),
        "on": Key(ListOf(Choice(vocabulary.WEEKDAYS), least=1), "on these days; every day when "
                  "left out"),
        "after": Key(_EVENT, "for people who did this; anything, when left out"),
        "seen": Key(Span(least_ms=moments.DAY_MS), "and did it within this span before; 90d when "
                    "left out"), **_ZONE}),
    "date": Fields({
        "on": Key(_EVENT, "the event that carries the date", True),
        "property": Key(Text("a property's name", "[A-Za-z_][A-Za-z0-9_.-]*", most=64),
                        "its property that holds the date", True),
        "before": Key(Span(least_ms=moments.DAY_MS), "this many whole days before the date"),
        "after": Key(Span(least_ms=moments.DAY_MS), "this many whole days after it; without either "
                     "key, on the day itself"),
        "at": Key(Text("a time of day like 09:00", "(?:[01][0-9]|2[0-3]):[0-5][0-9]"),
                  "at this time", True),
        "per": Key(_OBJECT, "the object whose date it is; without it, the person has one date"),
        **_ZONE}),
    "back_in_stock": Fields(_CARES),
    "price_drop": Fields({
        "at_least": Key(Share(0.99), "how much of the price it lost", True), **_CARES}),
    "segment": Fields({
        "enters": Key(_SEGMENT, "the person comes into this segment"),
        "leaves": Key(_SEGMENT, "the person drops out of this segment")},
        one_of=("enters", "leaves")),
    "recency": Fields({
        "after": Key(_EVENT, "the event to count from", True),
        "due": Key(Number(0.1, 10), "times the person's own mean gap between such events"),
        "quiet": Key(Span(least_ms=moments.HOUR_MS), "a fixed span since the last such event"),
        "min_events": Key(Number(1, 1000, whole=True), "how many such events there must be")},
        one_of=("due", "quiet")),
}

PLAYBOOK: Final = Fields({
    "playbook": Key(_NAME, "its name, in the tenant", True),
    "trigger": Key(Fields({name: Key(shape, f"when: {name}")
                           for name, shape in _TRIGGERS.items()}, one_of=tuple(_TRIGGERS)),
                   f"when to speak: {', '.join(_TRIGGERS)}", True),
    "audience": Key(_WHEN, "to whom; everyone when left out"),
    "purpose": Key(Choice(("personalise", "contact")), "the consent it needs: contact to write "
                   "to a person, personalise to use what is known without writing", True),
    "channels": Key(ListOf(Choice(vocabulary.CHANNELS), least=1), "where, best first"),
    "brief": Key(Text("a sentence or two for the writer", most=400),
                 "what the message is about, for the writer", True),
    "facts": Key(ListOf(Choice(vocabulary.FACTS)), "what the message may state of the item; "
                 "without these facts nothing is sent"),
    "figures": Key(MapOf(_FEATURE, Fields({
        "says": Key(Text("a sentence with {figure} in it", most=160),
                    "the sentence that states it", True),
        "at_least": Key(Number(FIGURE_LEAST, 1e9, whole=True),
                        "the least that is stated; of less nothing is said", True),
        "max_age": Key(Span(least_ms=moments.MINUTE_MS),
                       "how old it may be: of older ones nothing is said", True)}),
        most=FIGURES_MAX), "features of the item that the message may state, by their names"),
    "variants": Key(MapOf(_NAME, Fields({
        "strategy": Key(Choice(tuple(vocabulary.STRATEGIES)), "how the writer argues", True),
        "subject": Key(Text("a subject line with slots", most=120), "approved subject"),
        "body": Key(Text("a text with slots", most=2000), "approved text")})),
        "the arms that are compared", True),
    "cap": Key(Fields({
        "messages": Key(Number(1, 100, whole=True), "at most this many", True),
        "per": Key(Span(least_ms=moments.MINUTE_MS), "in this span", True)}),
        "most messages to a person, those of other playbooks counted"),
    "cooldown": Key(Span(least_ms=0), "least time between two of them"),
    "expires": Key(Span(least_ms=moments.MINUTE_MS, most_ms=30 * moments.DAY_MS),
                   "after this it is not sent any more", True),
    "conversion": Key(Fields({
        "event": Key(_EVENT, "the event that counts as success", True),
        "within": Key(Span(least_ms=moments.MINUTE_MS), "how long after the moment", True)}),
        "how success is counted", True),
    "value": Key(Number(0, 1e6), "worth of a conversion in whole currency units; 0 or left out: "
                 "the purchase's own value"),
    "holdout": Key(Share(), "share of people who get nothing, as the comparison"),
    "mode": Key(Choice(("live", "shadow")), "shadow composes and records but does not send"),
    "clock": Key(Choice(("wall", "event")), "event: time is that of the events (a replay, a "
                 "simulation), not the wall's"),
    "locale": Key(Choice(vocabulary.LOCALES), "language of the message"),
    "shop": Key(Text("a name without braces or mark-up", r"[^{}<>\r\n\t]+", most=60),
                "how the shop calls itself"),
    "banned": Key(ListOf(Text("a word or phrase", most=80)), "words that must not appear"),
})


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a playbook file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Kairos playbook",
        "$defs": {"condition": {"oneOf": [shape.schema() for shape in _CONDITION.values()]}},
        **PLAYBOOK.schema(),
    }
