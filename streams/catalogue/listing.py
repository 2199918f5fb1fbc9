"""A shop's own list of items: one row of it checked and made a catalogue.items record.

In       a row of JSON (typed values) or of CSV (texts), tenant, default currency, moment
Out      the record; what later could not be stated in a message is a fault here, at once
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from streams.catalogue.facts import clean_title, is_currency, is_url
from streams.kernel.errors import ContractError
from streams.kernel.money import to_micros

ID_CHARS_MAX = 200
FIELDS = ("item_id", "title", "price", "currency", "category", "url", "in_stock", "attributes")
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def item_record(row: Mapping[str, Any], *, tenant: str, currency: str,
                as_of_ms: int) -> dict[str, Any]:
    """The catalogue.items record of `row`, true as of `as_of_ms` (tenant's time).

    `currency` stands where the row names none. Raises ContractError with field and remedy.
    """
    for name in row:
        if name not in FIELDS:
            near = difflib.get_close_matches(str(name), FIELDS, n=1)
            raise ContractError(str(name), "is not a field of an item", f"did you mean {near[0]}?"
                                if near else f"known are: {', '.join(FIELDS)}")
    return {"tenant": tenant, "item_id": _item_id(row), "title": _title(row),
            "category": _text(row, "category"), "price_micros": _price_micros(row),
            "currency": _currency(row, currency), "url": _url(row), "in_stock": _in_stock(row),
            "attributes_json": _attributes(row), "as_of_ms": as_of_ms}


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ContractError(name, f"is {value!r}, not a text", "put it in quotes")
    return str(value).strip()


def _item_id(row: Mapping[str, Any]) -> str:
    item_id = _text(row, "item_id")
    if not 0 < len(item_id) <= ID_CHARS_MAX:
        raise ContractError("item_id", f"has {len(item_id)} characters",
                            f"write 1 to {ID_CHARS_MAX}: the id that your events use")
    return item_id


def _title(row: Mapping[str, Any]) -> str:
    title = _text(row, "title")
    if clean_title(title) is None:
        raise ContractError("title", "is empty, or holds a link or mark-up",
                            "write the name as customers read it")
    return title


def _price_micros(row: Mapping[str, Any]) -> int:
    price = row.get("price")
    try:
        micros = to_micros(price.strip() if isinstance(price, str) else price)
    except ValueError:
        micros = 0
    if micros <= 0:
        raise ContractError("price", f"is {price!r}, not an amount above 0",
                            "write whole units with a point, like 12.50")
    return micros


def _currency(row: Mapping[str, Any], default: str) -> str:
    currency = _text(row, "currency") or default
    if not is_currency(currency):
        raise ContractError("currency", f"is {currency!r}, not an ISO 4217 code",
                            "write one like EUR, or give --currency for all")
    return currency


def _url(row: Mapping[str, Any]) -> str:
    url = _text(row, "url")
    if url and not is_url(url):
        raise ContractError("url", f"is {url[:80]!r}, not an http or https address",
                            "write the whole address, like https://shop.example/mug")
    return url


def _in_stock(row: Mapping[str, Any]) -> bool:
    value = row.get("in_stock")
    if value is None or value == "":
        return True
    found = value if isinstance(value, bool) else _FLAGS.get(str(value).strip().lower())
    if found is None:
        raise ContractError("in_stock", f"is {value!r}", "write true or false")
    return found


def _attributes(row: Mapping[str, Any]) -> str:
    value = row.get("attributes")
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            raise ContractError("attributes", "is not JSON",
                                'write an object, like {"low_stock": true}') from None
    if value in (None, ""):
        return ""
    if not isinstance(value, dict):
        raise ContractError("attributes", "is not an object",
                            'write an object, like {"low_stock": true}')
    return json.dumps(value, ensure_ascii=False)
