"""The offline generator: phrases put together by dice that are derived from the decision id.

It is what it says it is: no model, only a grammar grounded in the catalogue. The same decision
always gets the same text; different decisions get thousands of different ones, and what varies
(opening, strategy's sentence, form of the offer, closing) does not depend on the person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from streams.compose import phrases
from streams.compose.brief import Brief
from streams.compose.draft import Draft
from streams.playbooks.templates import slots_of
from streams.playbooks.vocabulary import GRAMMAR_LOCALES

NAME = "kairos-grammar-1"
TEMPLATE_NAME = "kairos-template-1"

Parts = tuple[tuple[str, ...], ...]


def speaks(locale: str) -> bool:
    """Whether the grammar has phrases for `locale`."""
    return locale in GRAMMAR_LOCALES


def write(brief: Brief, decision_id: str) -> Draft:
    """The skeleton for `decision_id`; always the same for the same brief and id."""
    dice = hashlib.blake2b(decision_id.encode(), digest_size=16, person=b"grammar").digest()
    parts = _parts(brief.strategy, brief.context, frozenset(brief.slots), brief.claims,
                   tuple(slot for slot, _ in brief.figures))
    return _compose([options[int.from_bytes(dice[2 * i:2 * i + 2], "big") % len(options)]
                     for i, options in enumerate(parts)])


def template(brief: Brief) -> Draft:
    """The built-in approved template of a strategy: the first phrase of each part, no dice."""
    parts = _parts(brief.strategy, brief.context, frozenset(brief.slots), frozenset())
    return _compose([options[0] for options in parts])


def with_footer(draft: Draft, brief: Brief) -> Draft:
    """The draft with the line that ends such messages, where the channel has one."""
    if "unsubscribe_url" not in brief.slots or "{unsubscribe_url}" in draft.body:
        return draft
    return Draft(draft.subject, f"{draft.body.rstrip()}\n\n{phrases.FOOTERS[brief.locale]}\n")


@lru_cache(maxsize=1024)
def _parts(strategy: str, context: str, slots: frozenset[str], claims: frozenset[str],
           figures: tuple[str, ...] = ()) -> Parts:
    """The options for subject, opening, context, argument, offer and closing, in this order."""
    subjects = phrases.SUBJECTS[strategy]
    if strategy in {"reminder", "helpful", "social_proof"}:
        subjects = phrases.CONTEXT_SUBJECTS[context] + subjects
    arguments = phrases.LINES[strategy]
    licensed = tuple(f"{line} {phrases.LICENSED[claim]}"
                     for claim in sorted(claims & phrases.LICENSED.keys()) for line in arguments)
    licensed += tuple(f"{line} {{{slot}}}" for slot in figures for line in arguments)
    offers = [offer for offer in _fitting(phrases.OFFERS, slots)
              if "item.url" not in slots or "{item.url}" in offer]
    return (_fitting(subjects, slots), _fitting(phrases.OPENINGS, slots),
            _naming(_fitting(phrases.CONTEXT_LINES[context], slots), slots), licensed + arguments,
            tuple(offers) or ("",), _fitting(phrases.CLOSINGS, slots))


def _fitting(options: Sequence[str], slots: frozenset[str]) -> tuple[str, ...]:
    return tuple(option for option in options if slots.issuperset(slots_of(option)))


def _naming(options: tuple[str, ...], slots: frozenset[str]) -> tuple[str, ...]:
    """Only lines that name the item, when there is one: a message says what it is about."""
    if "item.title" not in slots:
        return options
    return tuple(option for option in options if "{item.title}" in option)


def _compose(chosen: list[str]) -> Draft:
    subject, opening, context, argument, offer, closing = chosen
    blocks = (opening, f"{context} {argument}", offer, closing)
    return Draft(subject, "\n\n".join(filter(None, blocks)))
