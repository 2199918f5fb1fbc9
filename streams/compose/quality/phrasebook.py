"""Phrases found quickly: a text is only searched for those whose first word it holds.

A phrase is words of folded text, separated by ` | ` or line breaks. `a/b` is either word, `*` is a
gap of at most three words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# meaning, phrase, the words that may stand at each place after the first, the pattern
_Entry = tuple[str, str, tuple[frozenset[str], ...], re.Pattern[str] | None]


class Phrasebook:
    """`phrases`: what a phrase stands for -> its phrases."""

    def __init__(self, phrases: Mapping[str, str]) -> None:
        self._by_first: dict[str, list[_Entry]] = {}
        for meaning, text in phrases.items():
            for line in text.split("\n"):
                for phrase in filter(None, (part.strip() for part in line.split("|"))):
                    self._add(meaning, phrase)

    def _add(self, meaning: str, phrase: str) -> None:
        """A phrase of a single word needs no pattern."""
        first, *rest = [token.split("/") for token in phrase.split() if token != "*"]
        entry = (meaning, phrase, tuple(map(frozenset, rest)),
                 re.compile(_pattern(phrase)) if rest else None)
        for word in first:
            self._by_first.setdefault(word, []).append(entry)

    def find(self, folded: str, words: frozenset[str]) -> list[tuple[str, str]]:
        """(meaning, phrase) of every phrase in `folded`, whose words are `words`, sorted."""
        found = []
        for word in words & self._by_first.keys():
            for meaning, phrase, rest, pattern in self._by_first[word]:
                if pattern is None or (not any(map(words.isdisjoint, rest))
                                       and pattern.search(folded)):
                    found.append((meaning, phrase))
        return sorted(found)

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._by_first.values())


def _pattern(phrase: str) -> str:
    parts: list[str] = []
    gap = False
    for token in phrase.split():
        if token == "*":
            gap = True
            continue
        word = "(?:" + "|".join(map(re.escape, token.split("/"))) + ")"
        between = r" (?:\S+ ){0,3}" if gap else " "
        parts.append(between + word if parts else word)
        gap = False
    return rf"\b{''.join(parts)}\b"
