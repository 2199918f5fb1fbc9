"""Language: the script and the small words of the message are those of its locale."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final

from streams.compose.quality.view import Frame, View, fold

_MARKS: Final[dict[str, frozenset[str]]] = {locale: frozenset(words.split()) for locale, words in {
    "en": "the a an and you your is it's for of to in we with this that are be if have has when "
          "our at on from it not still would back here what as or by i so can",
    "de": "der die das und sie ihr ihre ihren ist ein eine einen fur mit wir auf nicht noch wenn "
          "zu den dem im von uns sich haben es du dein deine ihnen",
    "fr": "le la les et vous votre vos est un une des pour avec nous dans pas si que qui du au "
          "sur ce cette encore toujours vos ne",
    "es": "el la los las y usted su sus es un una para con nosotros en no si que del al por lo te "
          "tu tus esta este aun todavia",
    "it": "il lo la gli e di che per con non nel della sono tuo tua ancora una",
    "nl": "de het een en van je uw voor met wij niet op nog dat aan zijn",
    "pt": "o os as e voce seu sua para com nos nao em do da um uma ainda",
}.items()}
_LOCALES_OF: Final[dict[str, tuple[str, ...]]] = {
    word: tuple(locale for locale, marks in _MARKS.items() if word in marks)
    for word in frozenset().union(*_MARKS.values())}
_WORDS_PER_MARK = 12


def gate(view: View, frame: Frame) -> str:
    """'' or why the text is not in the frame's language."""
    foreign = _script(view.bare)
    if foreign:
        return f"{foreign!r} is not of the Latin script"
    counts = _counts(view.words)
    if counts[frame.locale] * _WORDS_PER_MARK < len(view.words):
        return f"too few words of '{frame.locale}'"
    return (_other(counts, frame.locale, "the text")
            or _other(_counts(fold(view.bare_subject).split()), frame.locale, "the subject"))


def _counts(words: Iterable[str]) -> dict[str, int]:
    """How many of the words mark each locale."""
    counts = dict.fromkeys(_MARKS, 0)
    for word in words:
        for locale in _LOCALES_OF.get(word, ()):
            counts[locale] += 1
    return counts


def _other(counts: Mapping[str, int], locale: str, part: str) -> str:
    for other, count in counts.items():
        if other != locale and count >= 2 and count > counts[locale]:
            return f"{part} reads like '{other}', not '{locale}'"
    return ""


def _script(text: str) -> str:
    """The first letter of another script, '' when there is none. Every locale so far is Latin."""
    if text.isascii():
        return ""
    for char in text:
        if char > "\x7f" and char.isalpha() and not unicodedata.name(char, "").startswith("LATIN"):
            return char
    return ""
