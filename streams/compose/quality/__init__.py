"""Quality: is it true, safe, short, on brand?

In       a draft, and the frame it must fit
Out      '' for every gate that passes, a sentence for the first that does not
Keeps    nothing
Refuses  gates_failed, when no rung of the ladder passes
Time     none

Gates are pure and run cheapest first, on the skeleton and again on the final bytes. They only ever
refuse: no gate mends a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from streams.compose.draft import Draft, Fault
from streams.compose.quality import claims, exposure, facts, language, manners, structure
from streams.compose.quality.view import Frame, View, final_view, skeleton_view

__all__ = ["GATES", "Frame", "final_fault", "skeleton_fault"]

GATES: Final[tuple[tuple[str, Callable[[View, Frame], str]], ...]] = (
    ("structure", structure.gate),
    ("facts", facts.gate),
    ("links", exposure.links_gate),
    ("privacy", exposure.privacy_gate),
    ("claims", claims.gate),
    ("banned", claims.banned_gate),
    ("manners", manners.gate),
    ("injection", manners.injection_gate),
    ("language", language.gate),
)


@lru_cache(maxsize=16384)
def skeleton_fault(draft: Draft, frame: Frame) -> Fault | None:
    """The first fault of a draft with slots; None when every gate passes."""
    return _first(skeleton_view(draft), frame)


def final_fault(draft: Draft, frame: Frame, bound: Mapping[str, str]) -> Fault | None:
    """The first fault of the final bytes; `bound` are the values that were filled in."""
    return _first(final_view(draft, bound), frame)


def _first(view: View, frame: Frame) -> Fault | None:
    for name, gate in GATES:
        says = gate(view, frame)
        if says:
            return Fault(name, says)
    return None
