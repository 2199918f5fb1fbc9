"""Structure: parts, lengths per channel, known slots, nothing invisible, nothing left over."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from streams.compose.quality.view import MASK, Frame, View
from streams.playbooks.templates import slots_of, stray_braces
from streams.playbooks.vocabulary import LATE_SLOTS


@dataclass(frozen=True, slots=True)
class Limits:
    """Characters. A final subject is longer by the values that fill its slots."""

    subject_min: int
    subject_max: int
    body_min: int
    body_max: int
    words_min: int
    words_max: int


LIMITS = {"email": Limits(3, 150, 40, 2600, 8, 220), "webhook": Limits(0, 150, 10, 1200, 4, 120)}
WORD_CHARS_MAX = 30
SLOT_USES_MAX = 4
_LEFT_OVER = re.compile(
    r"\[[^\]\n]{1,40}\]|<[a-z/!][^\n]{0,80}|&[a-z]{2,8};|\$\{|%[sd]|<<|>>|\blorem\b|\bxxx+\b"
    r"|\binsert\b|\btodo\b|\btbd\b|```|\*\*|\bnull\b|\bundefined\b", re.IGNORECASE)
# What every match of _LEFT_OVER has in it: a sign, or one of these in the folded text. Without the
# letters that ignoring case also finds in others (a dotless i is an i to it).
_LEFT_OVER_SIGN = re.compile(r"[\[<&$%>`*]")
_LEFT_OVER_STEMS = ("lorem", "xxx", "nsert", "todo", "tbd", "null", "undef")
_ASCII_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_SPACED = re.compile(r"(?:\b[^\W\d_]\b[\W_]{1,2}){4,}")
_URL_SLOTS = ("item.url", "unsubscribe_url")


def gate(view: View, frame: Frame) -> str:
    """'' or what is wrong with the structure."""
    return (_lengths(view, LIMITS[frame.channel]) or _characters(view.whole)
            or _slots(view, frame) or _left_over(view))


def _lengths(view: View, limits: Limits) -> str:
    if not limits.subject_min <= len(view.subject.strip()) <= limits.subject_max:
        return f"the subject has {len(view.subject.strip())} characters"
    if not limits.body_min <= len(view.body.strip()) <= limits.body_max:
        return f"the body has {len(view.body.strip())} characters"
    if not limits.words_min <= len(view.words) <= limits.words_max:
        return f"the text has {len(view.words)} words"
    if max(map(len, view.words)) > WORD_CHARS_MAX:
        return "a word is too long to be one"
    return ""


def _characters(whole: str) -> str:
    if "\n" in whole.partition("\n")[0]:
        return "the subject has several lines"
    if whole.isascii():
        bad = _ASCII_CONTROL.search(whole)
        return "" if bad is None else f"control character U+{ord(bad.group()):04X}"
    if whole.replace("\n", "").isprintable():      # nothing of the categories below
        return ""
    for char in whole:
        category = unicodedata.category(char)
        if char != "\n" and (category[0] == "C" or category in {"Zl", "Zp"}):
            return f"invisible or control character U+{ord(char):04X}"
    return ""


def _slots(view: View, frame: Frame) -> str:
    if "\n" in view.subject or "\r" in view.subject:
        return "the subject has several lines"
    known = frame.slots & set(LATE_SLOTS) if view.final else frame.slots
    used = slots_of(view.whole)
    for slot in used:
        if slot not in known:
            return f"the slot {{{slot}}} is not available"
    if stray_braces(view.whole):
        return "a brace stands outside a slot"
    if any(slot in _URL_SLOTS for slot in slots_of(view.subject)):
        return "the subject holds a link"
    if not view.final and "item.url" in frame.slots and "{item.url}" not in view.body:
        return "the link {item.url} is missing"
    if any(used.count(slot) > SLOT_USES_MAX for slot in set(used)):
        return f"a slot is used more than {SLOT_USES_MAX} times"
    return ""


def _left_over(view: View) -> str:
    found = _LEFT_OVER.search(view.bare) if _may_be_left_over(view) else None
    if found:
        return f"left over: {found.group()[:20]!r}"
    if not view.final and "_" in view.bare.replace(MASK, "", len(slots_of(view.whole))):
        return "an underscore stands outside a slot"
    return "letters are spaced out" if _SPACED.search(view.bare) else ""


def _may_be_left_over(view: View) -> bool:
    """False only when _LEFT_OVER finds nothing: telling so is much quicker than searching."""
    return (_LEFT_OVER_SIGN.search(view.bare) is not None
            or any(stem in view.folded for stem in _LEFT_OVER_STEMS))
