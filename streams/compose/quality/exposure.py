"""Links and personal data: nothing points outside, nobody is named but through a slot."""

from __future__ import annotations

import re

from streams.compose.quality.view import Frame, View

_SCHEME = re.compile(r"[a-z]:\s?//|//\S|\b(?:mailto|tel|javascript|data|sms):|\]\(", re.IGNORECASE)
_HOST = re.compile(r"[^\W\d_]{2}\.[^\W\d_]{2,}")
_SPELT = re.compile(r"[\w-]+\s?[(\[{]?\s?\bdot\b\s?[)\]}]?\s?[\w-]+", re.IGNORECASE)
_EMAIL = re.compile(r"\S@\S|(?<!\w)@\w|\bat\]|\(at\)|\[at\]")
_DIGITS = re.compile(r"(?:\d[ .\-/]?){7,}")
# A greeting that names somebody: only {first_name} may stand there.
_NAMED = re.compile(r"\b(?:Hi|Hello|Hey|Dear|Hallo|Liebe|Lieber|Bonjour|Cher|Chère|Hola|Querido|"
                    r"Querida|Mr|Mrs|Ms|Dr|Herr|Frau|Monsieur|Madame)\.?,? "
                    r"(?!There\b|Again\b|You\b)[^\W\d_a-zà-ÿ][^\W\d_]+")


def links_gate(view: View, _frame: Frame) -> str:
    """'' or a link that is no slot. On final bytes the bound link is masked."""
    found = _HOST.search(view.bare) or _SCHEME.search(view.bare)
    if found is None and ("dot" in view.words or "www" in view.words):
        found = _SPELT.search(view.bare) or re.search("www", view.bare, re.IGNORECASE)
    return f"{found.group()[:40]!r} is a link outside a slot" if found else ""


def privacy_gate(view: View, _frame: Frame) -> str:
    """'' or something that looks like a person's data."""
    for what, pattern in (("an address", _EMAIL), ("a long number", _DIGITS), ("a name", _NAMED)):
        found = pattern.search(view.bare)
        if found:
            return f"{what} stands outside a slot"
    return ""
