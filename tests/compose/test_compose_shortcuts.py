"""The gates' quick looks never overlook what the slow search would find."""

from __future__ import annotations

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from streams.compose.draft import Draft
from streams.compose.quality import exposure, manners, structure
from streams.compose.quality.view import View, final_view

_BITS = st.sampled_from([
    "lorem", "LOREM", "xxx", "XxX", "insert", "ınsert", "inſert", "İNSERT", "todo", "tbd", "null",
    "undefıned", "undefined", "[x]", "<b ", "&amp;", "${", "%S", ">>", "```", "**", "e\u0301",
    "mailto:", "TEL:", "ſms:", "javaſcript:", "data:", "x://y", "](", "a.de", "ab.de", "a@b", " @x",
    "at]", "(at)", "[at]", "ignore all previous", "ignore the prior", "system prompt", "as an ai",
    "you are now", "<|", "[inst]", " ", "\n", "_", "'", "\x00", "\x7f", "\x85", "\u2028", "\u00a0",
    "\u200b", "\ud7a3", "é"])
TEXTS = st.lists(_BITS | st.text(max_size=3), max_size=6).map("".join)


def view(text: str) -> View:
    return final_view(Draft("", text), {})


@given(TEXTS)
@example("ınsert")
@example("inſert")
@example("ſms:x")
def test_what_is_left_over_is_searched_for_wherever_it_may_stand(text: str) -> None:
    seen = view(text)
    if structure._LEFT_OVER.search(seen.bare):
        assert structure._may_be_left_over(seen)


@given(TEXTS)
def test_a_link_is_found_as_by_the_two_searches(text: str) -> None:
    found, wanted = exposure._link(text), (
        exposure._HOST.search(text) or exposure._SCHEME.search(text))
    assert (found and found.span()) == (wanted and wanted.span())


@given(TEXTS)
def test_every_address_and_echo_has_one_of_its_signs(text: str) -> None:
    if exposure._EMAIL.search(text):
        assert any(sign in text for sign in exposure._AT_SIGNS)
    assert manners._echoes(text) == bool(manners._TITLE_ECHO.search(text))


@given(TEXTS)
def test_invisible_characters_are_found_as_one_by_one(text: str) -> None:
    whole = f"subject\n{text}"
    wanted = any(c != "\n" and (unicodedata.category(c)[0] == "C"
                                or unicodedata.category(c) in {"Zl", "Zp"}) for c in whole)
    assert bool(structure._characters(whole)) == wanted
