"""Local time: what the clock on somebody's wall says, and when it will say it. Daylight saving
included; the rules are those of the IANA data that Python uses.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from streams.kernel.moments import SECOND_MS

_NAME_CHARS_MAX = 64
# Files beside the zones that are none, or another one on each machine.
_NO_ZONES = frozenset({"localtime", "posixrules", "Factory"})
_NO_FOLDERS = ("posix/", "right/")


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo | None:
    """The time zone of an IANA name such as Europe/Berlin; None when there is none of that name.

    `name` may be a stranger's: paths, folders and nonsense are no zones, nor is the machine's own.
    """
    if (not name or len(name) > _NAME_CHARS_MAX or name in _NO_ZONES
            or name.startswith(_NO_FOLDERS)):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def local_date(moment_ms: int, zone: ZoneInfo) -> date:
    """The date on the calendar in `zone` at `moment_ms`."""
    return datetime.fromtimestamp(moment_ms / SECOND_MS, UTC).astimezone(zone).date()


def moment_at(day: date, minute: int, zone: ZoneInfo) -> int:
    """Milliseconds UTC when clocks in `zone` show `minute` (of the day) on `day`.

    A time that is skipped in spring is taken as if clocks had not been changed yet, so that 02:30
    comes at 03:30; one that comes twice in autumn is taken the first time.
    """
    at = datetime.combine(day, time(minute // 60, minute % 60), zone)
    return round(at.timestamp()) * SECOND_MS


def end_of(day: date, zone: ZoneInfo) -> int:
    """Milliseconds UTC at which `day` is over in `zone`."""
    return moment_at(day + timedelta(days=1), 0, zone)
