"""Manners: no shouting, no begging, no talk between writer and machine."""

from __future__ import annotations

import re
import unicodedata

from streams.compose.quality.lexicon import ECHOES
from streams.compose.quality.view import Frame, View

_CAPITALS = re.compile(r"\b[^\W\d_a-zà-ÿ]{4,}\b")
_REPEATED = re.compile(r"([^\W\d_])\1{3,}|[?!]\s*[?!]|\.{4,}")
_EMOJI_MAX = 1
_EXCLAMATIONS_MAX = 1


def gate(view: View, _frame: Frame) -> str:
    """'' or what is loud about it."""
    letters = [c for c in view.bare_subject if c.isalpha()]
    if len(letters) >= 8 and sum(c.isupper() for c in letters) * 2 > len(letters):
        return "the subject shouts"
    shouted = _CAPITALS.search(view.bare)
    if shouted:
        return f"{shouted.group()!r} shouts"
    if view.bare.count("!") > _EXCLAMATIONS_MAX or _REPEATED.search(view.bare):
        return "too many exclamation marks or repeated letters"
    if not view.bare.isascii():
        signs = sum(unicodedata.category(c) in {"So", "Sk"} for c in view.bare)
        if signs > _EMOJI_MAX:
            return "more than one sign or emoji"
    return ""


def injection_gate(view: View, _frame: Frame) -> str:
    """'' or the echo of an instruction. Bound values are read too: a title may hold one."""
    found = ECHOES.find(view.folded, frozenset(view.words))
    if found:
        return f"{found[0][1]!r} is {found[0][0]}"
    if view.final and _echoes(view.whole.casefold()):
        return "a bound fact holds an instruction"
    return ""


def _echoes(text: str) -> bool:
    """Whether a folded text holds an instruction to the writer."""
    return (any(sign in text for sign in _TITLE_SIGNS)      # much quicker than the search
            and _TITLE_ECHO.search(text) is not None)


_TITLE_ECHO = re.compile(r"\bignore (?:all |any |the |my |your )*(?:previous|prior|above|earlier)"
                         r"|\bsystem prompt|\bas an ai\b|\byou are now\b|<\||\[inst\]")
# One of these stands in whatever _TITLE_ECHO finds.
_TITLE_SIGNS = ("ignore ", "system prompt", "as an ai", "you are now", "<|", "[inst]")
