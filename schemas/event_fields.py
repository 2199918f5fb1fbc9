"""What each field of events.raw may hold: one rule a field, the same for all three framings.

A rule takes (value, path) and returns the value as the contract wants it, or raises `Unfit`, which
names the field and the remedy and never repeats the value: it may be personal. None means absent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final
from uuid import UUID

import orjson

from schemas import json_text

ID_CHARS_MAX: Final = 200
QUERY_CHARS_MAX: Final = 1000
TRAIT_CHARS_MAX: Final = 500
TRAITS_MAX: Final = 64
LINES_MAX: Final = 1000
NUMBER_MAX: Final = 1e12                    # in micro-units it still fits a 64-bit integer
MOMENT_MS_MIN: Final = 100_000_000_000      # March 1973: less, said in milliseconds, is seconds
MOMENT_MS_MAX: Final = 4_102_444_800_000    # the year 2100
PURPOSES: Final = ("measure", "personalise", "contact", "train")
RECEIPTS: Final = ("message_delivered", "message_opened", "message_clicked", "message_bounced",
                   "message_unsubscribed", "message_complained")

_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_HABITS = {"id": "event_id", "type": "event_type", "event": "event_type", "name": "event_type",
           "time": "timestamp", "ts": "timestamp", "event_time": "timestamp", "date": "timestamp",
           "product_id": "item_id", "sku": "item_id", "email": "traits.email", "uid": "user_id",
           "items": "lines", "amount": "value", "total": "value", "device_id": "anonymous_id"}


class Unfit(Exception):
    """A value that does not keep the contract. `reason` is one of kernel/outcomes.REASONS."""

    def __init__(self, reason: str, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.reason, self.field, self.detail = reason, field, detail


def kind_of(value: object) -> str:
    """A JSON-minded name of a value's type, for people."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float | Decimal):
        return "a number"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else type(value).__name__


def wrong_type(path: str, wanted: str, value: object) -> Unfit:
    return Unfit("wrong_type", path, f"must be {wanted}, not {kind_of(value)}; send {wanted}")


def unknown(path: str, known: tuple[str, ...], advice: str) -> Unfit:
    """An unknown field, with the nearest known name when there is one."""
    name = path.rpartition(".")[2][:64]
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
    near = get_close_matches(snake, known, n=1, cutoff=0.7)
    guess = near[0] if near else _HABITS.get(snake, "") if "event_id" in known else ""
    hint = f"did you mean {guess}? Otherwise " if guess else ""
    return Unfit("unknown_field", path[:80], f"is not a field of the contract; {hint}{advice}")


def rounded(path: str) -> Unfit:
    return Unfit("bad_value", path[:json_text.PATH_CHARS_MAX], json_text.BEYOND)


def text(value: object, path: str, *, chars_max: int = ID_CHARS_MAX) -> str | None:
    """Text of at most `chars_max` characters; empty counts as absent."""
    if not isinstance(value, str):
        if isinstance(value, UUID):
            return str(value)
        raise Unfit("wrong_type", path, f"must be text, not {kind_of(value)}; put it in quotes")
    if len(value) > chars_max:
        raise Unfit("bad_value", path, f"is longer than {chars_max} characters; shorten it")
    return value or None


def _query(value: object, path: str) -> str | None:
    return text(value, path, chars_max=QUERY_CHARS_MAX)


def _tenant(value: object, path: str) -> str | None:
    """Left out it is `default`; an empty one is somebody's mistake, whose people are not mixed
    with those of another tenant."""
    if value == "":
        raise Unfit("bad_value", path, "is empty; name the tenant, or leave the field out")
    return _matching(_TENANT, "must be letters, digits, _ . or -, 64 at most")(value, path)


def _matching(pattern: re.Pattern[str], advice: str) -> Callable[[object, str], str | None]:
    def rule(value: object, path: str) -> str | None:
        found = text(value, path)
        if found is not None and not pattern.fullmatch(found):
            raise Unfit("bad_value", path, advice)
        return found
    return rule


def number(value: object, path: str) -> float:
    """A finite number of at most 1e12 in size. Numbers in quotes are refused."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Unfit("wrong_type", path, "must be a number, not text; send it without quotes"
                    if isinstance(value, str) else f"must be a number, not {kind_of(value)}; "
                    "send a number")
    try:
        found = float(value)
    except (OverflowError, ValueError):
        found = math.inf
    if not abs(found) <= NUMBER_MAX:                 # also catches NaN
        raise Unfit("bad_value", path, f"must be finite and at most {NUMBER_MAX:.0e} in size; "
                    "leave the field out when the number is unknown")
    return found


def event_ms(value: object, path: str) -> int:
    """Milliseconds since 1970 as a whole number, from 1973 to 2100."""
    if isinstance(value, datetime):                  # Avro's logical types arrive as datetimes
        return moment(value, path)
    if isinstance(value, str):
        raise Unfit("wrong_type", path, "must be a whole number of milliseconds, not text; send "
                    "a number without quotes, or ISO 8601 text in `timestamp`")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(path, "a whole number of milliseconds", value)
    if isinstance(value, float):
        if not value.is_integer():                   # False for NaN and the infinities too
            raise Unfit("wrong_type", path, "must be a whole number of milliseconds; round it")
        value = int(value)
    if 0 < value < MOMENT_MS_MIN:
        raise Unfit("bad_value", path, "lies before 1973 and looks like seconds; send milliseconds "
                    "UTC, or seconds in timestamp")
    return _in_range(value, path)


def moment(value: object, path: str) -> int:
    """Milliseconds of ISO 8601 text (UTC when no zone is named) or of a number.

    Numbers below 1e11 are seconds, others milliseconds; the same rule as kernel/moments.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | datetime):
        raise wrong_type(path, "ISO 8601 text or a number", value)
    try:
        if isinstance(value, int | float):
            return _in_range(round(value * 1000) if abs(value) < 1e11 else int(value), path)
        when = value if isinstance(value, datetime) else datetime.fromisoformat(value.strip())
        when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        return _in_range(round(when.timestamp() * 1000), path)
    except (ValueError, OverflowError):
        raise Unfit("bad_value", path, "is no moment; send ISO 8601 such as "
                    "2026-11-22T09:30:00Z, or milliseconds in event_ms") from None


def _in_range(moment_ms: int, path: str) -> int:
    if not MOMENT_MS_MIN <= moment_ms <= MOMENT_MS_MAX:
        raise Unfit("bad_value", path, "lies before March 1973 or after 2100; send when it "
                    "happened, in milliseconds UTC")
    return moment_ms


def consent(value: object, path: str) -> dict[str, bool]:
    """Purpose -> agreed. An unclear word is refused whole rather than read as a yes."""
    if not isinstance(value, dict):
        raise wrong_type(path, "an object of purpose: true or false", value)
    for purpose, agreed in value.items():
        if purpose not in PURPOSES:
            raise unknown(f"{path}.{purpose}", PURPOSES, f"use {', '.join(PURPOSES)}")
        if not isinstance(agreed, bool):
            raise wrong_type(f"{path}.{purpose}", "true or false", agreed)
    return value


def traits(value: object, path: str) -> dict[str, str]:
    """Name -> text; nulls count as absent."""
    if not isinstance(value, dict):
        raise wrong_type(path, "an object of text values", value)
    if len(value) > TRAITS_MAX:
        raise Unfit("bad_value", path, f"has more than {TRAITS_MAX} entries; send fewer")
    found = {}
    for name, trait in value.items():
        words = None if trait is None else text(trait, f"{path}.{str(name)[:64]}",
                                                chars_max=TRAIT_CHARS_MAX)
        if words is not None:
            found[str(name)] = words
    return found


_LINE = ("item_id", "quantity", "price")
_NUMBERS = (float, int)                          # not bool, which is an int of its own kind


def lines(value: object, path: str) -> list[dict[str, Any]]:
    """Purchase lines; quantity defaults to 1 and price to 0."""
    if not isinstance(value, list):
        raise wrong_type(path, "a list of lines", value)
    if len(value) > LINES_MAX:
        raise Unfit("bad_value", path, f"has more than {LINES_MAX} lines; split the order")
    return [_line_as_sent(line) or _line(line, f"{path}[{at}]") for at, line in enumerate(value)]


def _line_as_sent(line: Any) -> dict[str, Any] | None:
    """What `_line` makes of a line that has all it needs; None for any other. Orders are long."""
    if type(line) is not dict or len(line) != len(_LINE):
        return None
    item: Any = line.get("item_id")
    quantity: Any = line.get("quantity")
    price: Any = line.get("price")
    if (type(item) is not str or not 0 < len(item) <= ID_CHARS_MAX
            or type(quantity) not in _NUMBERS or type(price) not in _NUMBERS
            or not (-NUMBER_MAX <= quantity <= NUMBER_MAX and -NUMBER_MAX <= price <= NUMBER_MAX)):
        return None
    return {"item_id": item, "quantity": float(quantity), "price": float(price)}


def _line(line: object, path: str) -> dict[str, Any]:
    if not isinstance(line, dict):
        raise wrong_type(path, "an object with item_id, quantity and price", line)
    for name in line:
        if name not in _LINE:
            raise unknown(f"{path}.{name}", _LINE, "a line has item_id, quantity and price only")
    item, quantity, price = (line.get(name) for name in _LINE)
    item_id = None if item is None else text(item, f"{path}.item_id")
    if item_id is None:
        raise Unfit("missing_field", f"{path}.item_id", "is missing; every line names its item")
    return {"item_id": item_id,
            "quantity": 1.0 if quantity is None else number(quantity, f"{path}.quantity"),
            "price": 0.0 if price is None else number(price, f"{path}.price")}


def properties(value: object, path: str) -> str | None:
    """One JSON object, as an object or as its text; returned as compact text."""
    try:
        found = orjson.loads(value) if isinstance(value, str) else value
        if not isinstance(found, dict):
            raise wrong_type(path, "a JSON object", found)
        if isinstance(value, str):
            for name in json_text.beyond(value.encode()):
                raise rounded(f"{path}.{name}")
        return orjson.dumps(found).decode() if found else None
    except orjson.JSONDecodeError:
        raise Unfit("bad_value", path, "is text, but not of a JSON object; send an object"
                    ) from None
    except (TypeError, RecursionError):              # orjson.JSONEncodeError is a TypeError
        raise Unfit("bad_value", path, "is nested too deeply; flatten it") from None


Rule = Callable[[Any, str], Any]
RULES: Final[dict[str, Rule]] = {
    "event_id": text,
    "event_type": _matching(_EVENT_TYPE, "must be snake_case: a to z first, then a to z, 0 to 9 "
                                         "and _, 64 at most"),
    "event_ms": event_ms,
    "tenant": _tenant,
    "source": text, "user_id": text, "anonymous_id": text, "item_id": text, "category": text,
    "cart_id": text, "order_id": text, "query": _query,
    "quantity": number, "price": number, "value": number,
    "currency": _matching(_CURRENCY, "must be an ISO 4217 code in capitals, such as EUR"),
    "lines": lines, "decision_id": text, "channel": text, "consent": consent, "traits": traits,
    "properties": properties,
}
# The fields whose only rule is `text`: most of an event, and mostly as they should be.
TEXTS: Final = frozenset(name for name, rule in RULES.items() if rule is text)
