"""Facts: what a message may state of an item, each with the moment it was true.

In       a catalogue.items record, or None when the item is not known
Out      Facts, every value bound to a typed slot | Refused
Refuses  no_facts: item unknown, a wanted fact missing or unusable, or older than allowed
Time     the tenant's own, as the record's `as_of_ms` is
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from streams.catalogue.prices import show_price
from streams.kernel.moments import show_span
from streams.kernel.outcomes import Refused

TITLE_CHARS_MAX = 90
URL_CHARS_MAX = 500
CLAIM_PREFIX = "item."

_URL = re.compile(r"https?://[^\s/@{}<>\"'\\]+(?:/[^\s{}<>\"'\\]*)?")
_TITLE_LINK = re.compile(r"https?:|www\.|\S@\S|[<>{}]", re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Fact:
    """`value` is the text that stands in the message, or True for a licensed claim."""

    value: str | bool
    as_of_ms: int


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of one message: `texts` fill slots, `claims` license phrases.

    moments   of slots that were not true as of `as_of_ms`: as of when
    """

    texts: dict[str, str]
    claims: frozenset[str]
    as_of_ms: int
    moments: Mapping[str, int] = field(default_factory=dict)

    def record(self, *, without: Collection[str] = ()) -> str:
        """As stored with the message: {slot: {value, as_of}}, without those slots."""
        values: dict[str, Any] = {**self.texts, **dict.fromkeys(sorted(self.claims), True)}
        return orjson.dumps({slot: {"value": value, "as_of": self.moments.get(slot, self.as_of_ms)}
                             for slot, value in values.items() if slot not in without}).decode()


def bind(item: Mapping[str, Any] | None, wanted: Iterable[str], *, shop: str, locale: str,
         now_ms: int, age_ms_max: int) -> Facts | Refused:
    """The wanted facts of `item`, or why they cannot be stated.

    wanted      slots and claim facts of the playbook (`item.title`, `item.low_stock`, ...)
    shop        bound to {shop} always
    now_ms      the tenant's present; facts older than `age_ms_max` are stale

    A claim fact that is missing or false is no fault: the claim is then simply not licensed.
    """
    names = tuple(wanted)
    if not names:
        return Facts({"shop": shop}, frozenset(), now_ms)
    if item is None:
        return Refused("no_facts", "item", "the catalogue does not know the item")
    age_ms = now_ms - item["as_of_ms"]
    if age_ms > age_ms_max:
        return Refused("no_facts", "item.as_of_ms", f"the facts are {show_span(age_ms)} old")
    texts = {"shop": shop}
    claims = _claims(item["attributes_json"]) & set(names)
    for name in names:
        if name in _TEXTS:
            value = _TEXTS[name](item, locale)
            if value is None:
                return Refused("no_facts", name, "the catalogue has no usable value")
            texts[name] = value
    return Facts(texts, frozenset(claims), item["as_of_ms"])


@lru_cache(maxsize=4096)
def clean_title(title: str) -> str | None:
    """The title without invisible characters, in one line; None when it holds a link or mark-up."""
    seen = (" " if c.isspace() else c for c in unicodedata.normalize("NFC", title))
    text = " ".join("".join(c for c in seen if c == " " or unicodedata.category(c)[0] not in "CZ")
                    .split())
    if not text or _TITLE_LINK.search(text):
        return None
    if len(text) > TITLE_CHARS_MAX:
        text = text[:TITLE_CHARS_MAX - 1].rsplit(" ", 1)[0] + "…"
    return text


def is_currency(code: str) -> bool:
    """Whether `code` has the form of an ISO 4217 code."""
    return _CURRENCY.fullmatch(code) is not None


def is_url(url: str) -> bool:
    """Whether `url` is an http or https address that may stand in a message."""
    return len(url) <= URL_CHARS_MAX and _URL.fullmatch(url) is not None


def _title(item: Mapping[str, Any], _locale: str) -> str | None:
    return clean_title(item["title"])


def _price(item: Mapping[str, Any], locale: str) -> str | None:
    if item["price_micros"] <= 0 or not is_currency(item["currency"]):
        return None
    return show_price(item["price_micros"], item["currency"], locale)


def _url(item: Mapping[str, Any], _locale: str) -> str | None:
    url = item["url"]
    return url if is_url(url) else None


_TEXTS = {"item.title": _title, "item.price": _price, "item.url": _url}


@lru_cache(maxsize=4096)
def _claims(attributes_json: str) -> frozenset[str]:
    """Names of the attributes that are exactly true."""
    try:
        attributes = orjson.loads(attributes_json) if attributes_json else {}
    except orjson.JSONDecodeError:
        return frozenset()
    if not isinstance(attributes, dict):
        return frozenset()
    return frozenset(CLAIM_PREFIX + name for name, value in attributes.items() if value is True)
