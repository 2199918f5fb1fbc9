"""What the gates look at: a draft with everything that is bound, or will be, masked out.

The same gates judge a skeleton (slots masked) and the final bytes (bound values masked), so a rule
cannot hold at one end and be forgotten at the other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from streams.compose.draft import Draft
from streams.playbooks.templates import SLOT

MASK = "_"
_NOT_WORD = re.compile(r"[^\w']+")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'"})


@dataclass(frozen=True, slots=True)
class Frame:
    """What a draft is judged against.

    slots    names that may stand in it
    claims   facts that are true, `item.low_stock` and the like
    banned   words and phrases of the playbook
    """

    channel: str
    locale: str
    slots: frozenset[str]
    claims: frozenset[str]
    banned: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """subject, body      as they stand
    bare_subject, bare    without slots and bound values (a mask stands for each)
    folded                `bare` as plain lower-case words, one space between them
    words                 the words of `folded`
    """

    subject: str
    body: str
    bare_subject: str
    bare: str
    folded: str
    words: tuple[str, ...]
    final: bool

    @property
    def whole(self) -> str:
        return f"{self.subject}\n{self.body}"


def skeleton_view(draft: Draft) -> View:
    """The view of a draft whose slots are still slots."""
    return _view(draft, SLOT.sub(MASK, draft.subject), SLOT.sub(MASK, draft.body), final=False)


def final_view(draft: Draft, bound: Mapping[str, str]) -> View:
    """The view of the final bytes; `bound` are the values that fill the slots."""
    values = sorted({value for value in bound.values() if value}, key=len, reverse=True)
    return _view(draft, _masked(draft.subject, values), _masked(draft.body, values), final=True)


def fold(text: str) -> str:
    """Plain lower-case words: compatibility forms, accents, case, dashes and dots undone."""
    if not text.isascii():
        plain = unicodedata.normalize("NFKD", text.translate(_QUOTES))
        text = plain if plain.isascii() else "".join(
            c for c in plain if c < "\x80" or not unicodedata.combining(c))
    return _NOT_WORD.sub(" ", text.casefold()).strip()


def _masked(text: str, values: list[str]) -> str:
    for value in values:
        text = _masked_once(text, value)
    return SLOT.sub(MASK, text)


def _masked_once(text: str, value: str) -> str:
    """`text` with `value` masked where it stands for itself: a title 'e' masks no other word."""
    if value not in text:
        return text
    parts, start, at = [], 0, text.find(value)
    while at >= 0:
        end = at + len(value)
        if not (text[at - 1:at].isalnum() or text[end:end + 1].isalnum()):
            parts += [text[start:at], MASK]
            start = end
        at = text.find(value, max(end if start == end else at + 1, at + 1))
    return "".join([*parts, text[start:]])


def _view(draft: Draft, bare_subject: str, bare_body: str, *, final: bool) -> View:
    bare = f"{bare_subject}\n{bare_body}"
    folded = fold(bare)
    return View(draft.subject, draft.body, bare_subject, bare, folded, tuple(folded.split()),
                final)
