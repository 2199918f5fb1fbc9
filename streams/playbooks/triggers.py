"""Triggers of a playbook: from a checked tree to the value, its cross rules, and its one line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, Literal, cast

from streams.kernel import moments
from streams.playbooks import vocabulary
from streams.playbooks.conditions import parse_condition, show_condition
from streams.playbooks.model import Condition, Step, Trigger
from streams.playbooks.shapes import Fault, share_of
from streams.playbooks.source import Spot


def condition_of(tree: object) -> Condition:
    return parse_condition(tree, features=None, segments=None)


def trigger_of(tree: dict[str, Any]) -> Trigger:
    """The trigger of a tree that keeps the form."""
    (kind, says), = tree.items()
    return _OF[kind](says)


def _absence(says: dict[str, Any]) -> Trigger:
    return Trigger("absence", says["after"], says["without"], moments.parse_span(says["within"]),
                   says.get("per", ""))


def _event(says: dict[str, Any]) -> Trigger:
    return Trigger("event", says["on"], when=_maybe(says.get("when")))


def _edge(says: dict[str, Any]) -> Trigger:
    return Trigger("edge", when=condition_of(says["when"]), rearm=_maybe(says.get("rearm")))


def _recency(says: dict[str, Any]) -> Trigger:
    quiet = says.get("quiet")
    return Trigger("recency", says["after"],
                   within_ms=0 if quiet is None else moments.parse_span(quiet),
                   times=float(says.get("due", 0.0)),
                   events_min=int(says.get("min_events", 1 if quiet is not None else 2)))


def _score(says: dict[str, Any]) -> Trigger:
    return Trigger("score", weights=tuple((part["feature"], float(part["weight"]))
                                          for part in says["sum"]),
                   at_least=float(says["at_least"]),
                   rearm_below=float(says.get("rearm_below", says["at_least"])))


def _segment(says: dict[str, Any]) -> Trigger:
    return Trigger("segment", segment=says.get("enters") or says["leaves"],
                   enters="enters" in says)


def _sequence(says: dict[str, Any]) -> Trigger:
    steps = tuple(Step(step["not"], True) if isinstance(step, dict) else Step(step)
                  for step in says["steps"])
    return Trigger("sequence", [step.event for step in steps if not step.absent][-1],
                   within_ms=moments.parse_span(says["within"]), per=says.get("per", ""),
                   steps=steps)


def _schedule(says: dict[str, Any]) -> Trigger:
    days = says.get("on", vocabulary.WEEKDAYS)
    return Trigger("schedule", says.get("after", ""),
                   within_ms=moments.parse_span(says.get("seen", "90d")), minute=_minute(says),
                   days=tuple(sorted(vocabulary.WEEKDAYS.index(day) for day in days)),
                   **_zone(says))


def _date(says: dict[str, Any]) -> Trigger:
    shift_ms = (moments.parse_span(says.get("after", "0d"))
                - moments.parse_span(says.get("before", "0d")))
    return Trigger("date", says["on"], per=says.get("per", ""), property=says["property"],
                   shift_days=shift_ms // moments.DAY_MS, minute=_minute(says), **_zone(says))


def _cares(kind: Literal["back_in_stock", "price_drop"], says: dict[str, Any]) -> Trigger:
    return Trigger(kind, without=says.get("without", "purchase"),
                   within_ms=moments.parse_span(says.get("within", "30d")),
                   at_least=share_of(says.get("at_least", 0)) or 0.0,
                   events=tuple(says.get("seen", ("product_view", "cart_add"))))


def _minute(says: dict[str, Any]) -> int:
    hours, minutes = says["at"].split(":")
    return int(hours) * 60 + int(minutes)


def _zone(says: dict[str, Any]) -> dict[str, Any]:
    return {"zone": says.get("zone", "person"), "otherwise": says.get("otherwise", "UTC")}


def _maybe(tree: object) -> Condition | None:
    return None if tree is None else condition_of(tree)


_OF: dict[str, Callable[[dict[str, Any]], Trigger]] = {
    "absence": _absence, "event": _event, "edge": _edge, "recency": _recency, "score": _score,
    "segment": _segment, "sequence": _sequence, "schedule": _schedule, "date": _date,
    "back_in_stock": partial(_cares, "back_in_stock"), "price_drop": partial(_cares, "price_drop"),
}


def rule_faults(spot: Spot, rhythms: Collection[str] | None = None) -> Iterator[Fault]:
    """Faults of a trigger that keeps the form: what two of its keys say together.

    rhythms   event types that have both features which a recency's `due` is made of; None: all
    """
    (kind, says), = cast("dict[str, Spot]", spot.mapping).items()
    keys = says.mapping or {}
    if kind == "absence" and keys["after"].value == keys["without"].value:
        yield Fault(keys["without"].line, "trigger.absence waits for the event that starts it",
                    "name another event in 'without'")
    least = keys.get("min_events")
    if kind == "recency" and "due" in keys and least and cast("int", least.value) < 2:
        yield Fault(least.line, "a mean gap needs two events", "write min_events: 2 or more")
    if kind == "recency" and "due" in keys and rhythms is not None:
        yield from _due_rules(keys, rhythms)
    if kind == "score":
        yield from _score_rules(keys)
    if kind == "sequence":
        yield from _sequence_rules(keys["steps"])
    if "otherwise" in keys and keys.get("zone", Spot("person", 0)).value != "person":
        yield Fault(keys["otherwise"].line, f"trigger.{kind} goes by one clock for everybody",
                    "leave 'otherwise' out, or write zone: person")
    if kind == "date":
        yield from _date_rules(keys)
    seen = keys.get("seen") if kind in ("back_in_stock", "price_drop") else None
    for part in (seen.sequence if seen else None) or ():
        if part.value == (keys["without"].value if "without" in keys else "purchase"):
            yield Fault(part.line, f"trigger.{kind}: '{part.value}' shows interest and ends it",
                        "name it once; 'without' is purchase when left out")


def _sequence_rules(spot: Spot) -> Iterator[Fault]:
    forbidden: set[object] = set()
    steps = spot.sequence or []
    if steps[0].mapping is not None:
        yield Fault(steps[0].line, "trigger.sequence.steps begins with what does not happen",
                    "begin with an event; its time opens the window")
    for step in steps:
        if step.mapping is not None:
            forbidden.add(step.mapping["not"].value)
        elif step.value in forbidden:
            yield Fault(step.line, f"trigger.sequence wants '{step.value}' where it must not "
                        "happen", "leave one of the two steps out")
        else:
            forbidden = set()


def _due_rules(keys: dict[str, Spot], rhythms: Collection[str]) -> Iterator[Fault]:
    after = keys["after"].value
    if after not in rhythms:
        yield Fault(keys["due"].line, f"no features say how often somebody does '{after}'",
                    f"declare both in features.yml: {{event: {after}, kind: lifetime}} and "
                    f"{{event: {after}, kind: mean_gap}}, or write 'quiet' instead of 'due'")


def _score_rules(keys: dict[str, Spot]) -> Iterator[Fault]:
    below = keys.get("rearm_below")
    if below and cast("float", below.value) > cast("float", keys["at_least"].value):
        yield Fault(below.line, "trigger.score.rearm_below is above at_least",
                    "write at_least or less: the sum must have fallen before it can rise again")
    named: set[object] = set()
    for part in keys["sum"].sequence or ():
        feature = (part.mapping or {})["feature"]
        if feature.value in named:
            yield Fault(feature.line, f"trigger.score adds up '{feature.value}' twice",
                        "write it once, with the weight of both")
        named.add(feature.value)


def _date_rules(keys: dict[str, Spot]) -> Iterator[Fault]:
    spans = [keys[name] for name in ("before", "after") if name in keys]
    if len(spans) > 1:
        yield Fault(spans[1].line, "trigger.date has before and after", "write one of them")
    for span in spans:
        if moments.parse_span(str(span.value)) % moments.DAY_MS:
            yield Fault(span.line, f"trigger.date counts in days, not '{span.value}'",
                        "write whole days, like 3d; 'at' says the time")


def show_trigger(trigger: Trigger) -> str:
    """The trigger in one line, as `kairos plan` shows it."""
    return _SHOW[trigger.kind](trigger)


def _show_absence(trigger: Trigger) -> str:
    per = f" per {trigger.per}" if trigger.per else ""
    return (f"{trigger.event} and no {trigger.without} within "
            f"{moments.show_span(trigger.within_ms)}{per}")


def _show_recency(trigger: Trigger) -> str:
    span = (f"{trigger.times:g} × the mean gap" if trigger.times
            else moments.show_span(trigger.within_ms))
    return f"{span} after the last {trigger.event} (of at least {trigger.events_min})"


def _show_event(trigger: Trigger) -> str:
    return f"each {trigger.event}" + (f" while {_condition(trigger.when)}" if trigger.when else "")


def _show_edge(trigger: Trigger) -> str:
    again = f", again after {_condition(trigger.rearm)}" if trigger.rearm else ""
    return f"when {_condition(trigger.when)} becomes true{again}"


def _show_score(trigger: Trigger) -> str:
    total = " + ".join(f"{weight:g} × {name}" for name, weight in trigger.weights)
    return f"when {total} ≥ {trigger.at_least:g}, again after < {trigger.rearm_below:g}"


def _show_segment(trigger: Trigger) -> str:
    return f"when the person {'enters' if trigger.enters else 'leaves'} {trigger.segment}"


def _show_sequence(trigger: Trigger) -> str:
    steps = ", ".join(f"no {step.event}" if step.absent else step.event for step in trigger.steps)
    per = f" per {trigger.per}" if trigger.per else ""
    return f"{steps} within {moments.show_span(trigger.within_ms)}{per}"


def _show_schedule(trigger: Trigger) -> str:
    days = ("every day" if len(trigger.days) == len(vocabulary.WEEKDAYS)
            else ", ".join(vocabulary.WEEKDAYS[day] for day in trigger.days))
    return (f"{days} at {_show_clock(trigger)}, who did {trigger.event or 'anything'} within "
            f"{moments.show_span(trigger.within_ms)}")


def _show_date(trigger: Trigger) -> str:
    side = "before" if trigger.shift_days < 0 else "after"
    when = f"{abs(trigger.shift_days)}d {side}" if trigger.shift_days else "on"
    per = f" per {trigger.per}" if trigger.per else ""
    return f"{when} {trigger.property} of {trigger.event}{per} at {_show_clock(trigger)}"


def _show_cares(trigger: Trigger) -> str:
    what = ("is back in stock" if trigger.kind == "back_in_stock"
            else f"costs {trigger.at_least:.4g} of its price less")
    return (f"when an item {what}, after {' or '.join(trigger.events)} within "
            f"{moments.show_span(trigger.within_ms)} and no {trigger.without}")


def _show_clock(trigger: Trigger) -> str:
    whose = (f"their own time (else {trigger.otherwise})" if trigger.zone == "person"
             else trigger.zone)
    return f"{trigger.minute // 60:02d}:{trigger.minute % 60:02d} {whose}"


def _condition(condition: Condition | None) -> str:
    return "" if condition is None else show_condition(condition)


_SHOW = {"absence": _show_absence, "event": _show_event, "edge": _show_edge,
         "recency": _show_recency, "score": _show_score, "segment": _show_segment,
         "sequence": _show_sequence, "schedule": _show_schedule, "date": _show_date,
         "back_in_stock": _show_cares, "price_drop": _show_cares}
