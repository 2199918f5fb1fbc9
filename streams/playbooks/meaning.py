"""From a checked tree to a `Playbook`: the values, and the rules that span several keys."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, cast

from streams.kernel import moments, money
from streams.playbooks import templates, triggers, vocabulary
from streams.playbooks.conditions import COMPARES, TEXT_COMPARES, compare_fault
from streams.playbooks.model import Figure, Playbook, Variant
from streams.playbooks.shapes import Fault, share_of, suggest
from streams.playbooks.source import Spot

_TEMPLATE_LINK = re.compile(r"https?:|www\.|<[a-z/!]", re.IGNORECASE)


def playbook_of(spot: Spot, *, tenant: str, version: int) -> Playbook:
    """The playbook of a tree that keeps the form; defaults are the model's own."""
    tree = cast("dict[str, Any]", spot.plain())
    given: dict[str, Any] = {name: tree[name] for name in ("mode", "clock", "locale", "shop")
                             if name in tree}
    for name in ("channels", "facts", "banned"):
        if name in tree:
            given[name] = tuple(tree[name])
    if "figures" in tree:
        given["figures"] = tuple(
            Figure(name, each["says"].strip(), int(each["at_least"]),
                   moments.parse_span(each["max_age"]))
            for name, each in sorted(tree["figures"].items()))
    if "cap" in tree:
        given["cap_messages"] = int(tree["cap"]["messages"])
        given["cap_per_ms"] = moments.parse_span(tree["cap"]["per"])
    if "cooldown" in tree:
        given["cooldown_ms"] = moments.parse_span(tree["cooldown"])
    if "holdout" in tree:
        given["holdout"] = share_of(tree["holdout"])
    if "audience" in tree:
        given["audience"] = triggers.condition_of(tree["audience"])
    return Playbook(
        name=tree["playbook"], trigger=triggers.trigger_of(tree["trigger"]),
        brief=tree["brief"].strip(),
        variants=tuple(Variant(name, **arm) for name, arm in tree["variants"].items()),
        conversion=tree["conversion"]["event"],
        window_ms=moments.parse_span(tree["conversion"]["within"]),
        expires_ms=moments.parse_span(tree["expires"]), purpose=tree["purpose"],
        value_micros=money.to_micros(tree.get("value", 0)), tenant=tenant, version=version,
        **given)


def rule_faults(spot: Spot, features: Collection[str] | None,
                segments: Collection[str] | None,
                rhythms: Collection[str] | None = None,
                figures: Collection[str] | None = None) -> Iterator[Fault]:
    """Faults of a tree that keeps the form: names nobody declared, templates, cross rules.

    figures   features of items that may be stated; None leaves them unchecked
    """
    tree = cast("dict[str, Spot]", spot.mapping)
    yield from _names(spot, "feature", features)
    yield from _compares(spot, features)
    for key in ("segment", "enters", "leaves"):
        yield from _names(spot, key, segments, called="segment")
    yield from triggers.rule_faults(tree["trigger"], rhythms)
    facts = tree["facts"].plain() if "facts" in tree else ["item.title", "item.price", "item.url"]
    locale = str(tree["locale"].value) if "locale" in tree else "en"
    stated = cast("dict[str, Spot]", tree["figures"].mapping) if "figures" in tree else {}
    for name, spot_of in stated.items():
        yield from _figure(name, spot_of, figures)
    for name, variant in cast("dict[str, Spot]", tree["variants"].mapping).items():
        yield from _variant(name, variant, [*cast("list[str]", facts), *stated], locale)


def _figure(name: str, spot: Spot, known: Collection[str] | None) -> Iterator[Fault]:
    """That there is such a figure, and that its sentence states it and nothing else."""
    says, where = cast("dict[str, Spot]", spot.mapping)["says"], f"figures.{name}"
    if name in vocabulary.SLOTS:
        yield Fault(spot.line, f"{where}: '{name}' is another slot",
                    "give the feature another name")
    elif known is not None and name not in known:
        yield Fault(spot.line, f"{where}: no feature of items of that name is a count",
                    f"{suggest(name, known)}; a message states what is exact: features with "
                    "entity: item and kind: count or lifetime")
    text = str(says.value).strip()
    if templates.slots_of(text) != [vocabulary.FIGURE] or templates.stray_braces(text):
        yield Fault(says.line, f"{where}.says has not just {{{vocabulary.FIGURE}}} in braces",
                    f"write {{{vocabulary.FIGURE}}} once, where the number stands")
    if "\n" in text or text[-1:] not in ".!?":
        yield Fault(says.line, f"{where}.says is no sentence in one line",
                    "end it with a full stop")
    yield from _literals(f"{where}.says", says, text)


def _names(spot: Spot, key: str, known: Collection[str] | None, *,
           called: str = "") -> Iterator[Fault]:
    """Every `key: name` below `spot` whose name is not known; all are when `known` is None."""
    if known is None:
        return
    for name, part in (spot.mapping or {}).items():
        if name == key and isinstance(part.value, str) and part.value not in known:
            yield Fault(part.line, f"{called or key} '{part.value}' is not declared",
                        suggest(part.value, known))
        yield from _names(part, key, known, called=called)
    for part in spot.sequence or ():
        yield from _names(part, key, known, called=called)


def _compares(spot: Spot, features: Collection[str] | None) -> Iterator[Fault]:
    """Every comparison of a feature that does not go with what its value is."""
    keys = spot.mapping or {}
    if "feature" in keys:
        for compare in (*COMPARES, *TEXT_COMPARES.values(), "weight"):
            fault = compare_fault(keys["feature"].value, compare, features)
            if compare in keys and fault:
                yield Fault(keys["feature"].line, fault, "see docs/features.md")
    for part in (*keys.values(), *(spot.sequence or ())):
        yield from _compares(part, features)


def _variant(name: str, spot: Spot, facts: list[str], locale: str) -> Iterator[Fault]:
    keys = spot.mapping or {}
    where = f"variants.{name}"
    if ("subject" in keys) != ("body" in keys):
        yield Fault(spot.line, f"{where} has only half a template",
                    "write subject and body, or neither")
    if "body" not in keys and locale not in vocabulary.GRAMMAR_LOCALES:
        yield Fault(spot.line, f"{where} has no template, and there is no grammar for '{locale}'",
                    "write subject and body in that language")
    for part in ("subject", "body"):
        if part in keys:
            yield from _template(f"{where}.{part}", keys[part], facts)
    subject = str(keys["subject"].value) if "subject" in keys else ""
    yield from _placed(where, keys, facts)
    if "\n" in subject.strip() or "_url}" in subject or ".url}" in subject:
        yield Fault(keys["subject"].line, f"{where}.subject holds a link or a line break",
                    "links belong into the body")


def _template(where: str, spot: Spot, facts: list[str]) -> Iterator[Fault]:
    text = str(spot.value)
    for slot in dict.fromkeys(templates.slots_of(text)):
        if slot not in vocabulary.SLOTS and slot not in facts:
            yield Fault(spot.line, f"{where}: {{{slot}}} is not a slot",
                        suggest(slot, {*vocabulary.SLOTS, *facts}))
        elif slot in vocabulary.ITEM_SLOTS and slot not in facts:
            yield Fault(spot.line, f"{where}: {{{slot}}} is not among the playbook's facts",
                        f"add {slot} to facts")
    if templates.stray_braces(text):
        yield Fault(spot.line, f"{where}: a brace stands alone or its slot is misspelt",
                    "slots are " + " ".join(f"{{{slot}}}" for slot in vocabulary.SLOTS))
    yield from _literals(where, spot, text)


def _placed(where: str, keys: dict[str, Spot], facts: list[str]) -> Iterator[Fault]:
    """A figure's sentence has a line of its own, which is left out where it is not known."""
    for part in ("subject", "body"):
        for line in str(keys[part].value).splitlines() if part in keys else ():
            for slot in templates.slots_of(line):
                if slot in facts and slot not in (*vocabulary.SLOTS, *vocabulary.FACTS) and (
                        part == "subject" or line.strip() != f"{{{slot}}}"):
                    yield Fault(keys[part].line, f"{where}.{part}: {{{slot}}} is a sentence, and "
                                "does not stand alone", "give it a line of its own in the body, "
                                "which is left out where the figure is not known")


def _literals(where: str, spot: Spot, text: str) -> Iterator[Fault]:
    """Numbers and links that a text states itself."""
    numbers = "".join(templates.literal_numbers(templates.literals_of(text)))
    if numbers:
        yield Fault(spot.line, f"{where} states a number, price or percentage itself ({numbers})",
                    "numbers come from facts: use {item.price}, or leave it out")
    if _TEMPLATE_LINK.search(text):
        yield Fault(spot.line, f"{where} holds a link or mark-up of its own",
                    "links come from facts: use {item.url}")
