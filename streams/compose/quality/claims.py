"""Claims: a promise needs the fact that makes it true; some promises are never made."""

from __future__ import annotations

from functools import lru_cache

from streams.compose.quality.lexicon import CLAIMS
from streams.compose.quality.view import Frame, View, fold

# "feel free" promises nothing; it is taken out before the lexicon is asked.
_HARMLESS = ("feel free to", "free time", "free to", "hands free")


def gate(view: View, frame: Frame) -> str:
    """'' or the first phrase whose fact is not true for this item."""
    folded, words = view.folded, frozenset(view.words)
    if "free" in words:
        for phrase in _HARMLESS:
            folded = folded.replace(phrase, " ")
        words = frozenset(folded.split())
    for fact, phrase in CLAIMS.find(folded, words):
        if fact not in frame.claims and not _licensed(fact, phrase, frame):
            return f"{phrase!r} claims " + (f"{fact}, which is not known" if fact
                                            else "what is never claimed")
    return ""


def banned_gate(view: View, frame: Frame) -> str:
    """'' or the first of the playbook's own banned words and phrases."""
    padded = f" {view.folded} "
    for phrase in frame.banned:
        if f" {_folded(phrase)} " in padded:
            return f"{phrase!r} is banned by the playbook"
    return ""


def _licensed(fact: str, phrase: str, frame: Frame) -> bool:
    """Saying 'free' of the shipping is licensed by free shipping, not only by a discount."""
    return (fact == "item.discounted" and phrase in {"free", "on us"}
            and "item.free_shipping" in frame.claims)


@lru_cache(maxsize=1024)
def _folded(phrase: str) -> str:
    return fold(phrase)
