"""Pseudonyms: stable, keyed, and never the same for two subjects."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.privacy.pseudonyms import Pseudonyms

_NAME = st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"]), min_size=1)


def test_a_profile_id_is_the_hmac_that_the_documentation_says() -> None:
    told = hmac.new(b"k" * 32, b"shop\x1fu\x1f42", hashlib.sha256).hexdigest()[:32]
    assert Pseudonyms(b"k" * 32).known("shop", "42") == told


@given(_NAME, _NAME, _NAME, _NAME)
def test_two_subjects_never_share_a_profile(one: str, two: str, three: str, four: str) -> None:
    make = Pseudonyms(b"k" * 32)
    assert (make.known(one, two) == make.known(three, four)) == ((one, two) == (three, four))
    assert make.known(one, two) != make.anonymous(one, two)


def test_another_key_means_another_profile() -> None:
    assert Pseudonyms(b"a" * 32).known("t", "u") != Pseudonyms(b"b" * 32).known("t", "u")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        Pseudonyms(b"short")
