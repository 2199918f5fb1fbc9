"""Times of a row: ISO texts, strptime patterns, unix seconds, milliseconds, days since 1970.

`auto` (the default) takes what the file has: a date or timestamp type as it is, a number by its
size (below 1e11 seconds, else milliseconds), a text as ISO 8601 (20101224 is a date too). A time
without a zone is in the mapping's `zone` (default UTC); an hour that the clocks repeat is taken the
first time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any

from streams.kernel.moments import DAY_MS, SECOND_MS
from streams.worlds.values import Row, Unfit, as_text, getter, is_missing

NAMED = ("auto", "iso", "unix_s", "unix_ms", "unix_us", "unix_ns", "days")
_SCALE = {"unix_s": 1000.0, "unix_ms": 1.0, "unix_us": 1e-3, "unix_ns": 1e-6, "days": float(DAY_MS)}
EARLIEST_MS = -2_208_988_800_000          # 1900-01-01
LATEST_MS = 4_102_444_800_000             # 2100-01-01


@dataclass(frozen=True, slots=True)
class TimeRule:
    """Columns (joined by a space), a format of NAMED or a strptime pattern, the zone."""

    columns: tuple[str, ...]
    form: str
    zone: tzinfo
    line: int = 0


def compile_time(rule: TimeRule, blanks: frozenset[str]) -> Callable[[Row], int]:
    """Milliseconds of a row's time. Raises Unfit: missing_time, bad_time."""
    gets, name = [getter(column) for column in rule.columns], " ".join(rule.columns)
    cache: dict[str, int] = {}

    def moment(row: Row) -> int:
        found = [get(row) for get in gets]
        if any(is_missing(part, blanks) for part in found):
            raise Unfit("missing_time", name, "the time is missing")
        content = found[0] if len(found) == 1 else " ".join(
            as_text(part, column) for part, column in zip(found, rule.columns, strict=True))
        if isinstance(content, str):             # files repeat their times: an order has many lines
            known = cache.get(content)
            if known is None:
                if len(cache) > 50_000:
                    cache.clear()
                known = cache[content] = _bounded(_read(content, rule, name), name)
            return known
        return _bounded(_read(content, rule, name), name)

    return moment


def _bounded(moment_ms: int, name: str) -> int:
    if not EARLIEST_MS <= moment_ms < LATEST_MS:
        raise Unfit("bad_time", name, "the time lies outside 1900 to 2100; is the unit right?")
    return moment_ms


def _read(content: Any, rule: TimeRule, name: str) -> int:
    try:
        if rule.form in _SCALE:
            return _scaled(content, _SCALE[rule.form])
        if isinstance(content, datetime):
            return _of(content, rule.zone)
        if isinstance(content, date):
            return _of(datetime(content.year, content.month, content.day), rule.zone)
        if rule.form == "auto":
            return _guessed(content, rule.zone)
        text = as_text(content, name)
        if rule.form == "iso":
            return _of(datetime.fromisoformat(text), rule.zone)
        return _of(datetime.strptime(text, rule.form), rule.zone)
    except (ValueError, OverflowError, OSError):
        form = f"a time of the form {rule.form}"
        if rule.form == "auto":
            form = ("a time that is understood without being told; say how it is written: time: "
                    f"{{column: {name}, format: '%d/%m/%Y'}}")
        raise Unfit("bad_time", name, f"{str(content)[:60]!r} is not {form}") from None


def _scaled(content: Any, scale: float) -> int:
    if isinstance(content, bool):
        raise ValueError("a flag is no time")
    if isinstance(content, str) and content.strip().lstrip("-").isdigit():
        content = int(content)
    if isinstance(content, int):                     # exact: nanoseconds do not fit a float
        return content * round(scale) if scale >= 1 else content // round(1 / scale)
    number = float(content)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return round(number * scale)


def _guessed(content: Any, zone: tzinfo) -> int:
    if isinstance(content, str):
        text = content.strip()
        try:
            compact_date = len(text) == 8 and text[:2] in ("19", "20")
            if text.isdigit() and not compact_date:
                return _by_size(float(text))
            return _of(datetime.fromisoformat(text), zone)
        except ValueError:
            return _by_size(float(text))
    if isinstance(content, bool) or not isinstance(content, int | float | Decimal):
        raise ValueError("not a time")
    return _by_size(float(content))


def _by_size(number: float) -> int:
    if not math.isfinite(number):
        raise ValueError("not finite")
    return round(number * SECOND_MS) if abs(number) < 1e11 else round(number)


def _of(moment: datetime, zone: tzinfo) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    span = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (span.days * 86400 + span.seconds) * 1000 + span.microseconds // 1000
