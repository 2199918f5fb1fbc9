"""Links and personal data: nothing points outside, nobody is named but through a slot."""

from __future__ import annotations

import re

from streams.compose.quality.view import Frame, View

_SCHEME = re.compile(r"[a-z]:\s?//|//\S|\b(?:mailto|tel|javascript|data|sms):|\]\(", re.IGNORECASE)
_HOST = re.compile(r"[^\W\d_]{2}\.[^\W\d_]{2,}")
_SPELT = re.compile(r"[\w-]+\s?[(\[{]?\s?\bdot\b\s?[)\]}]?\s?[\w-]+", re.IGNORECASE)
_EMAIL = re.compile(r"\S@\S|(?<!\w)@\w|\bat\]|\(at\)|\[at\]")
# What stands in every match of _SCHEME, _HOST and _EMAIL, begun with a literal: found at once.
_SCHEME_END = re.compile(r":(?:(?<=\bmailto:)|(?<=\btel:)|(?<=\bjavascript:)|(?<=\bdata:)"
                         r"|(?<=\bsms:))", re.IGNORECASE)
_DOTTED = re.compile(r"\.[^\W\d_]{2}")
_AT_SIGNS = ("@", "at]", "(at)")
_DIGITS = re.compile(r"(?:\d[ .\-/]?){7,}")
# A greeting that names somebody: only {first_name} may stand there.
_NAMED = re.compile(r"\b(?:Hi|Hello|Hey|Dear|Hallo|Liebe|Lieber|Bonjour|Cher|Chère|Hola|Querido|"
                    r"Querida|Mr|Mrs|Ms|Dr|Herr|Frau|Monsieur|Madame)\.?,? "
                    r"(?!There\b|Again\b|You\b)[^\W\d_a-zà-ÿ][^\W\d_]+")


def links_gate(view: View, _frame: Frame) -> str:
    """'' or a link that is no slot. On final bytes the bound link is masked."""
    found = _link(view.bare)
    if found is None and ("dot" in view.words or "www" in view.words):
        found = _SPELT.search(view.bare) or re.search("www", view.bare, re.IGNORECASE)
    return f"{found.group()[:40]!r} is a link outside a slot" if found else ""


def privacy_gate(view: View, _frame: Frame) -> str:
    """'' or something that looks like a person's data."""
    if any(sign in view.bare for sign in _AT_SIGNS) and _EMAIL.search(view.bare):
        return "an address stands outside a slot"
    for what, pattern in (("a long number", _DIGITS), ("a name", _NAMED)):
        if pattern.search(view.bare):
            return f"{what} stands outside a slot"
    return ""


def _link(text: str) -> re.Match[str] | None:
    """The first host, else the first scheme, in `text`."""
    found = _HOST.search(text) if _DOTTED.search(text) else None
    if found is None and ("//" in text or "](" in text or _SCHEME_END.search(text)):
        found = _SCHEME.search(text)
    return found
