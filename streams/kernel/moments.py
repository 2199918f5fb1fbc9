"""Time: integer milliseconds UTC, always labelled `event_` or `now_`.

The only place where text becomes time. Reading the clock is an adapter's business.
"""

from __future__ import annotations

from datetime import UTC, datetime

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
YEAR_2000_MS = 946_684_800_000
YEAR_2100_MS = 4_102_444_800_000

_UNITS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}


def parse_moment(value: object) -> int:
    """Milliseconds of an ISO 8601 text (UTC when it names no zone) or of a number.

    Numbers below 1e11 are read as seconds, others as milliseconds: 1e11 ms is 1973, 1e11 s is the
    year 5138, so nothing real is ambiguous. Raises ValueError with a sentence otherwise.
    """
    if isinstance(value, bool) or value is None:
        raise ValueError(f"{value!r} is not a time")
    if isinstance(value, int | float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"{value!r} is not a time")
        return round(value * SECOND_MS) if abs(value) < 1e11 else int(value)
    if isinstance(value, str):
        text = value.strip()
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{value!r} is not an ISO 8601 time") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * SECOND_MS)
    raise ValueError(f"a time cannot be a {type(value).__name__}")


def parse_span(text: str) -> int:
    """Milliseconds of a span such as `30m`, `24h`, `7d`. Raises ValueError with a sentence."""
    stripped = text.strip()
    for unit in ("ms", "s", "m", "h", "d", "w"):
        number = stripped[: -len(unit)]
        if stripped.endswith(unit) and number.replace(".", "", 1).isdigit():
            return round(float(number) * _UNITS[unit])
    raise ValueError(f"{text!r} is not a span; write a number and ms, s, m, h, d or w, like 30m")


def show_span(span_ms: int) -> str:
    """The shortest exact text of a span: 1800000 -> '30m'."""
    for unit in ("w", "d", "h", "m", "s"):
        if span_ms and span_ms % _UNITS[unit] == 0:
            return f"{span_ms // _UNITS[unit]}{unit}"
    return f"{span_ms}ms"


def show_moment(moment_ms: int) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds")
