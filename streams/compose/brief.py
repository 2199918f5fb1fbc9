"""Brief: what may the writer know?

In       the decision, its playbook, the facts that were bound
Out      Brief: goal, strategy, slots, licensed claims, bucketed signals, segments
Keeps    nothing
Refuses  nothing
Time     none

Only what is on this page reaches a model: no id, no name, no text of a person, no exact figure.
A feature enters as a bucket, and only under a name and with a number. Categories of a feature made
of them enter as they are, but only those that the catalogue has too: what somebody wrote into an
event is told to nobody. Everything else is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

from streams.catalogue.facts import Facts
from streams.compose.figures import Sentences, sentences
from streams.playbooks.model import Playbook, Variant
from streams.playbooks.vocabulary import ITEM_SLOTS

Context = Literal["cart", "viewed", "bought", "other"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CONTEXTS: Final[dict[str, Context]] = {
    "cart_add": "cart", "checkout_start": "cart", "product_view": "viewed", "purchase": "bought"}
# Of recency, frequency and money: grades 1 and 2, 3, 4 and 5.
_GRADES: Final = (("bought long ago", "bought a while ago", "bought lately"),
                  ("rarely", "sometimes", "often"),
                  ("spends little", "spends some", "spends much"))
_LEANING: Final = {"segment": " (a guess: usual in their segment)",
                   "global": " (a guess: usual for customers)"}
Scale = tuple[tuple[float, str], ...]
_COUNT: Final[Scale] = ((1, "none"), (2, "once"), (4, "a few"), (10, "several"))
_DAYS: Final[Scale] = ((1, "within a day"), (7, "within a week"), (31, "within a month"),
                       (93, "within a quarter"))
_MONEY: Final[Scale] = ((0.01, "none"), (50, "low"), (250, "medium"), (1000, "high"))


@dataclass(frozen=True, slots=True)
class Brief:
    """`slots` may stand in the text; `claims` are facts that are true and may be said; `figures`
    are slots that become whole sentences, each with a slot for its number."""

    goal: str
    strategy: str
    context: Context
    channel: str
    locale: str
    slots: tuple[str, ...]
    claims: frozenset[str]
    segments: tuple[str, ...]
    signals: tuple[tuple[str, str], ...]
    banned: tuple[str, ...]
    figures: Sentences = ()

    def record(self) -> str:
        """As stored with the message and as told to a model: JSON, keys in a fixed order."""
        return orjson.dumps({
            "goal": self.goal, "strategy": self.strategy, "context": self.context,
            "channel": self.channel, "locale": self.locale, "slots": self.slots,
            "claims": sorted(self.claims), "segments": self.segments,
            "signals": dict(self.signals), "banned": self.banned,
            **({"figures": dict(self.figures)} if self.figures else {})}).decode()


def brief_of(decision: Mapping[str, Any], playbook: Playbook, variant: Variant,
             facts: Facts, is_category: Callable[[str], bool]) -> Brief:
    """`is_category`: whether the tenant's catalogue has it."""
    slots = [slot for slot in ITEM_SLOTS if slot in facts.texts]
    said = sentences(playbook, facts.texts)
    slots += [slot for slot, _ in said]
    late = ["first_name", "unsubscribe_url"] if decision["channel"] == "email" else ["first_name"]
    return Brief(
        goal=playbook.brief, strategy=variant.strategy, context=context_of(playbook),
        channel=decision["channel"], locale=playbook.locale, slots=(*slots, "shop", *late),
        claims=facts.claims, segments=_segments(decision["segments_json"]),
        signals=signals_of(decision["features_json"], is_category), banned=playbook.banned,
        figures=said)


def context_of(playbook: Playbook) -> Context:
    """What the person did with the item, as the trigger knows it."""
    return _CONTEXTS.get(playbook.trigger.event, "other")


def signals_of(features_json: str, is_category: Callable[[str], bool],
               ) -> tuple[tuple[str, str], ...]:
    """Bucketed features and known categories, sorted by name; other values are left out. What
    mostly rests on others, because little is known of the person, says so."""
    features = _json(features_json, dict)
    found = []
    for name in sorted(features):
        part = features[name]
        value, leans_on = _used(part) if isinstance(part, dict) else (part, "")
        if (isinstance(value, int | float) and not isinstance(value, bool)
                and _is_name(name)):
            found.append((name, bucket(name, value) + leans_on))
        elif isinstance(part, dict) and part.get("of") == "category" and _is_name(name):
            said = [text for text in ([value] if isinstance(value, str) else value or ())
                    if isinstance(text, str) and is_category(text)]
            if said:
                found.append((name, ", ".join(said)))
    return tuple(found)


def _used(part: Mapping[str, Any]) -> tuple[Any, str]:
    """(value, on whom it rests, in words) of a feature that may lean on groups."""
    leaning = part.get("back_off")
    if not isinstance(leaning, dict) or leaning.get("used") is None:
        return part.get("value"), ""
    return leaning["used"], _LEANING.get(leaning.get("level", ""), "")


def bucket(name: str, value: float) -> str:
    """The bucket of a feature's value; the feature's name tells its kind."""
    if name.startswith("rfm"):
        return ", ".join(words[(grade - 1) // 2 + (grade == 4)] for words, grade in zip(
            _GRADES, (int(value) // 100, int(value) // 10 % 10, int(value) % 10), strict=True)
            if 1 <= grade <= 5)
    scale, beyond = _scale(name)
    for limit, word in scale:
        if value < limit:
            return word
    return beyond


@lru_cache(maxsize=1024)
def _scale(name: str) -> tuple[Scale, str]:
    """(limits and their words, the word beyond them) for a feature of that name."""
    if name.startswith(("spend", "value", "revenue", "basket")):
        return _MONEY, "very high"
    if name.startswith("days_") or name.endswith("_days"):
        return _DAYS, "longer"
    return _COUNT, "many"


@lru_cache(maxsize=1024)
def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def _segments(segments_json: str) -> tuple[str, ...]:
    names = _json(segments_json, list)
    return tuple(sorted(n for n in names if isinstance(n, str) and _NAME.fullmatch(n)))


def _json(text: str, kind: type) -> Any:
    """The JSON value of `text` when it is a `kind`, else an empty one."""
    try:
        value = orjson.loads(text) if text else kind()
    except orjson.JSONDecodeError:
        return kind()
    return value if isinstance(value, kind) else kind()
