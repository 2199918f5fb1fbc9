"""Laws of the gate: of two histories that turn out to be one the strictest consent survives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.admit import gate
from streams.kernel import purposes

CLAIMS = st.lists(st.tuples(st.sampled_from(sorted(purposes.BITS.values())), st.booleans(),
                            st.integers(0, 5)), max_size=12)


def words_of(claims: list[gate.Claim]) -> gate.Words:
    words: gate.Words = {}
    gate.hear(words, claims, is_explicit=False)
    return words


def standing(words: gate.Words) -> dict[int, tuple[int, bool]]:
    return gate.standing(words, {}, partition=0, offset=0)


def merged(person: gate.Words, visitor: gate.Words) -> gate.Words:
    both: gate.Words = {name: list(word) for name, word in person.items()}
    gate.hear(both, gate.inherited(visitor, standing(both)), is_explicit=False)
    return both


@given(CLAIMS, CLAIMS)
def test_the_strictest_consent_survives_a_merge(one: list[gate.Claim],
                                                other: list[gate.Claim]) -> None:
    ours, theirs = words_of(one), words_of(other)
    found = standing(merged(ours, theirs))
    for bit in purposes.BITS.values():
        said = [words[bit] for words in (standing(ours), standing(theirs)) if bit in words]
        assert (bit in found) == bool(said)
        if said:
            assert found[bit] == (max(ms for ms, _ in said), all(granted for _, granted in said))


@given(CLAIMS, CLAIMS, CLAIMS)
def test_merging_is_commutative_associative_and_idempotent(
        one: list[gate.Claim], two: list[gate.Claim], three: list[gate.Claim]) -> None:
    a, b, c = (words_of(claims) for claims in (one, two, three))
    assert standing(merged(a, b)) == standing(merged(b, a))
    assert standing(merged(merged(a, b), c)) == standing(merged(a, merged(b, c)))
    assert standing(merged(merged(a, b), b)) == standing(merged(a, b))
