"""Templates and their typed slots: what stands in braces, and what may not stand outside them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

SLOT = re.compile(r"\{([a-z_][a-z0-9_]*(?:\.[a-z_]+)?)\}")


def slots_of(text: str) -> list[str]:
    """The slot names of `text` in order, repeats included."""
    return SLOT.findall(text)


def literals_of(text: str, filler: str = " ") -> str:
    """`text` without its slots."""
    return SLOT.sub(filler, text)


def stray_braces(text: str) -> bool:
    """Whether a brace stands outside a well-formed slot."""
    bare = literals_of(text)
    return "{" in bare or "}" in bare


def literal_numbers(text: str) -> Iterator[str]:
    """Characters of `text` that state a number, a percentage or a currency.

    Any script counts: Arabic-Indic digits, circled digits, fractions and superscripts are numbers.
    """
    if text.isascii():
        yield from _ASCII_NUMBERS.findall(text)
        return
    for char in text:
        category = unicodedata.category(char)
        if category in {"Nd", "Nl", "No", "Sc"} or char in "%‰٪％":
            yield char


_ASCII_NUMBERS = re.compile(r"[0-9$%]")
