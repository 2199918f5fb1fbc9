"""Facts: what may be stated of an item, and when it may not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.catalogue.facts import TITLE_CHARS_MAX, Facts, bind, clean_title
from streams.catalogue.prices import show_price
from streams.kernel.outcomes import Refused

WANTED = ("item.title", "item.price", "item.url")
DAY_MS = 86_400_000


def item(**changes: Any) -> dict[str, Any]:
    return {"tenant": "t", "item_id": "i", "title": "Blue mug", "category": "", "url":
            "https://shop.example/mug?c=1", "price_micros": 4_250_000, "currency": "GBP",
            "in_stock": True, "attributes_json": "", "as_of_ms": 100 * DAY_MS, **changes}


def bound(found: dict[str, Any] | None, wanted: tuple[str, ...] = WANTED,
          now_ms: int = 101 * DAY_MS) -> Facts | Refused:
    return bind(found, wanted, shop="Ada", locale="en", now_ms=now_ms, age_ms_max=30 * DAY_MS)


def test_every_slot_is_bound_with_its_moment() -> None:
    facts = bound(item())
    assert isinstance(facts, Facts)
    assert facts.texts == {"shop": "Ada", "item.title": "Blue mug", "item.price": "£4.25",
                           "item.url": "https://shop.example/mug?c=1"}
    assert orjson.loads(facts.record())["item.price"] == {"value": "£4.25",
                                                          "as_of": 100 * DAY_MS}


@pytest.mark.parametrize(("found", "field"), [
    (None, "item"),
    (item(title=""), "item.title"),
    (item(title="\u200b\u202e"), "item.title"),
    (item(title="Mug www.evil.example"), "item.title"),
    (item(title="Mug {unsubscribe_url}"), "item.title"),
    (item(title="<b>Mug</b>"), "item.title"),
    (item(title="me@evil.example"), "item.title"),
    (item(price_micros=0), "item.price"),
    (item(price_micros=-1), "item.price"),
    (item(currency="gbp"), "item.price"),
    (item(url=""), "item.url"),
    (item(url="javascript:alert(1)"), "item.url"),
    (item(url="https://shop.example@evil.example/"), "item.url"),
    (item(url="https://shop.example/a b"), "item.url"),
    (item(url="https://shop.example/{x}"), "item.url"),
    (item(as_of_ms=60 * DAY_MS), "item.as_of_ms"),
])
def test_a_missing_bad_or_stale_fact_is_refused(found: dict[str, Any] | None, field: str) -> None:
    refused = bound(found)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.field) == ("no_facts", field)


def test_without_wanted_facts_no_item_is_needed() -> None:
    facts = bound(None, ())
    assert isinstance(facts, Facts) and facts.texts == {"shop": "Ada"}


@pytest.mark.parametrize(("attributes", "claims"), [
    ('{"low_stock": true}', {"item.low_stock"}),
    ('{"low_stock": "true", "new": 1, "bestseller": false}', set()),
    ("[true]", set()), ("not json", set()), ("", set()),
])
def test_only_attributes_that_are_exactly_true_license_a_claim(attributes: str,
                                                               claims: set[str]) -> None:
    facts = bound(item(attributes_json=attributes),
                  (*WANTED, "item.low_stock", "item.new", "item.bestseller"))
    assert isinstance(facts, Facts) and facts.claims == claims


@pytest.mark.parametrize(("micros", "currency", "locale", "shown"), [
    (4_250_000, "GBP", "en", "£4.25"),
    (1_234_567_890, "USD", "en", "$1,234.57"),
    (1_234_567_890, "EUR", "de", "1.234,57\u00a0€"),
    (1_234_567_890, "EUR", "fr", "1\u202f234,57\u00a0€"),
    (500_000_000, "JPY", "en", "¥500"),
    (12_000_000, "SGD", "en", "12.00\u00a0SGD"),
    (5_000, "USD", "en", "$0.01"),
])
def test_prices_are_written_as_the_locale_does(micros: int, currency: str, locale: str,
                                               shown: str) -> None:
    assert show_price(micros, currency, locale) == shown


@given(st.text(max_size=300))
def test_a_clean_title_is_one_short_visible_line_and_stays_clean(title: str) -> None:
    clean = clean_title(title)
    if clean is not None:
        assert 0 < len(clean) <= TITLE_CHARS_MAX and clean.isprintable()
        assert "{" not in clean and clean_title(clean) == clean
