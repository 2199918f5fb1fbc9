"""Losing: what a trigger keeps of one person is bounded, and what a bound costs is told.

A kind that forgets something which might have made a moment, because there was too much of it, adds
to its own state `lost`; whoever let it look takes that out and says so.
"""

from __future__ import annotations

from typing import Any, Final

_LOST: Final = "lost"


def note(own: dict[str, Any], count: int = 1) -> None:
    """So many more things were forgotten that could have made a moment."""
    if count > 0:
        own[_LOST] = own.get(_LOST, 0) + count


def clear(own: dict[str, Any]) -> None:
    """Nothing is kept any more; what was lost is still to be told."""
    for name in [name for name in own if name != _LOST]:
        del own[name]


def take_lost(kept: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Playbook -> how much its trigger forgot since this was asked last."""
    found = {name: own.pop(_LOST) for name, own in kept.items() if _LOST in own}
    for name in found:
        if kept[name].keys() <= {"k"}:
            del kept[name]
    return found
