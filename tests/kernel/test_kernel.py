"""The kernel: ids, time, money, purposes, consent. Small laws that everything rests on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kernel import ids, moments, money, purposes
from streams.kernel.side_inputs import ConsentBook, SideInputs


@pytest.mark.parametrize(("text", "hashed"), [      # Kafka's own test vectors (UtilsTest.java)
    ("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536),
    ("a-little-bit-longer-string", -1486304829),
    ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971), ("abc", 479470107)])
def test_murmur2_is_that_of_the_java_client(text: str, hashed: int) -> None:
    assert ids.murmur2(text.encode()) == hashed & 0x7FFFFFFF


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_ids_differ_when_their_parts_differ(left: list[str], right: list[str]) -> None:
    assert (ids.derive("k", *left) == ids.derive("k", *right)) == (left == right)


@given(st.text())
def test_a_fingerprint_is_exact_in_a_float(text: str) -> None:
    mark = ids.fingerprint52(text)
    assert 0 < mark < 2**52 and int(float(mark)) == mark


@given(st.text(max_size=60), st.text())
def test_a_share_of_the_unit_interval_sticks(salt: str, subject: str) -> None:
    assert 0 <= ids.unit_interval(salt, subject) < 1
    assert ids.unit_interval(salt, subject) == ids.unit_interval(salt, subject)


@pytest.mark.parametrize(("value", "moment_ms"), [
    ("2010-12-09T12:50:00", 1291899000000), ("2010-12-09T12:50:00Z", 1291899000000),
    ("2010-12-09T13:50:00+01:00", 1291899000000), (1291899000, 1291899000000),
    (1291899000000, 1291899000000), (1291899000.5, 1291899000500)])
def test_times_are_read(value: object, moment_ms: int) -> None:
    assert moments.parse_moment(value) == moment_ms


@pytest.mark.parametrize("value", [None, True, "yesterday", "", float("nan"), [], {}])
def test_what_is_no_time_is_refused_with_a_sentence(value: object) -> None:
    with pytest.raises(ValueError, match=r"time|not"):
        moments.parse_moment(value)


@pytest.mark.parametrize(("text", "span_ms"), [("30m", 1_800_000), ("24h", 86_400_000),
                                               ("1.5h", 5_400_000), ("500ms", 500),
                                               ("2w", 1_209_600_000)])
def test_spans_are_read(text: str, span_ms: int) -> None:
    assert moments.parse_span(text) == span_ms


@pytest.mark.parametrize("text", ["", "30", "m", "-1h", "1 month", "1e3s"])
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="like 30m"):
        moments.parse_span(text)


@given(st.integers(1, 10**12))
def test_a_span_shown_is_the_span_read(span_ms: int) -> None:
    assert moments.parse_span(moments.show_span(span_ms)) == span_ms


@pytest.mark.parametrize(("amount", "micros"), [(2.5, 2_500_000), ("0.1", 100_000), (3, 3_000_000),
                                                (-1.95, -1_950_000), (0.1 + 0.2, 300_000)])
def test_money_is_whole_micros(amount: object, micros: int) -> None:
    assert money.to_micros(amount) == micros


@given(st.one_of(
    st.floats(-2.0**30, 2.0**30), st.decimals(-10**9, 10**9, places=7).map(float),
    st.integers(-2**52, 2**52).map(lambda halves: halves / 2e6),       # halves of a micro
    st.floats(5.6e8, 5.7e8), st.floats(-4e12, 4e12)))
def test_money_is_what_the_decimals_of_a_double_say(amount: float) -> None:
    assert money.to_micros(amount) == money._exactly(amount)


@pytest.mark.parametrize("amount", [None, True, "ten", float("inf"), float("nan"), 10**20])
def test_what_is_no_amount_is_refused(amount: object) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        money.to_micros(amount)


def test_purposes_are_denied_unless_granted() -> None:
    assert purposes.granted({"measure": True, "contact": False}) == purposes.MEASURE
    assert purposes.names_of(purposes.MEASURE | purposes.TRAIN) == ["measure", "train"]
    assert ConsentBook().mask("nobody") == 0


words = st.lists(st.tuples(st.sampled_from(list(purposes.BITS)), st.booleans(),
                           st.integers(0, 20)), max_size=12)


@given(words, st.randoms(use_true_random=False))
def test_consent_is_the_newest_word_in_whatever_order_it_is_heard(
        told: list[tuple[str, bool, int]], dice: object) -> None:
    books = (ConsentBook(), ConsentBook())
    shuffled = told[:]
    dice.shuffle(shuffled)      # type: ignore[attr-defined]
    for book, order in zip(books, (told, shuffled), strict=True):
        for purpose, granted, at in order:
            book.take({"profile_id": "p", "purpose": purpose, "granted": granted,
                       "event_ms": at})
    assert books[0].mask("p") == books[1].mask("p")
    for name, bit in purposes.BITS.items():
        said = [(at, not granted) for purpose, granted, at in told if purpose == name]
        expected = bool(said) and not max(said)[1]
        assert bool(books[0].mask("p") & bit) == expected


def test_what_a_stage_goes_through_is_never_changed_under_it() -> None:
    side = SideInputs()
    word = {"tenant": "t", "profile_id": "p", "purpose": "contact", "granted": True,
            "event_ms": 1, "recorded_ms": 1}
    share = {"tenant": "t", "playbook": "n", "segment": "*", "partition": 0}
    for moment in (word, {**word, "purpose": "measure"}, {**word, "granted": False, "event_ms": 2}):
        words, before = side.consents.words("p"), dict(side.consents.words("p"))
        side.take("consents.changed", moment)
        assert words == before != side.consents.words("p")
    for number in range(3):
        playbooks, known = side.playbooks, dict(side.playbooks)
        shares = side.policies.get(("t", "n", "*"), {})
        heard = dict(shares)
        side.take("playbooks.published", {"tenant": "t", "name": f"n{number}", "version": 1})
        side.take("policies.updated", {**share, "partition": number})
        assert playbooks == known != side.playbooks
        assert shares == heard != side.policies["t", "n", "*"]


def test_an_older_playbook_does_not_replace_a_newer_one() -> None:
    side = SideInputs()
    for version in (2, 1):
        side.take("playbooks.published", {"tenant": "t", "name": "n", "version": version})
    assert side.playbooks["t", "n"]["version"] == 2
