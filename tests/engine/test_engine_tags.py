"""Tags: a dict of keys to numbers, smaller; whatever the keys look like."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.tags import NONE, Tags

HEX = st.binary(min_size=16, max_size=16).map(lambda raw: raw.hex().encode())
KEYS = st.one_of(
    st.binary(max_size=17), HEX, HEX.map(bytes.upper), HEX.map(lambda key: key + b"0"),
    st.sampled_from([b"", b"\x00", b"\x00\x00", b"p1", b"0" * 32, b"a" * 15, b"a" * 16,
                     b"\x01shop\x1fvery-faithful-customers", bytes(32),
                     *(letter * 32 for letter in (b"/", b":", b"`", b"g", b"\xb0", b"a", b"f"))]))
STEPS = st.lists(st.tuples(KEYS, st.integers(2, 9), st.booleans()), max_size=40)


@settings(deadline=None)      # the first example waits for the compiler
@given(st.lists(STEPS, max_size=6))
def test_tags_do_what_a_dict_does(batches: list[list[tuple[bytes, int, bool]]]) -> None:
    tags, twin = Tags(), dict[bytes, int]()
    for batch in batches:
        before = []
        for key, tag, clears in batch:
            before.append(twin.get(key, NONE))
            if not clears:
                twin[key] = tag
            elif before[-1] == tag:
                del twin[key]
        keys = [key for key, _, _ in batch]
        assert tags.change(keys, [tag for _, tag, _ in batch],
                           [clears for _, _, clears in batch]) == before
        assert tags.find(keys) == [twin.get(key, NONE) for key in keys]
    assert dict(tags.items()) == twin and len(tags) == len(twin)


def test_many_keys_that_come_and_go_are_found_and_take_some_bytes_each() -> None:
    dice, tags = random.Random(1), Tags()
    keys = [f"{dice.getrandbits(128):032x}".encode() for _ in range(30_000)]
    for start in range(0, len(keys), 1000):
        some = keys[start:start + 1000]
        tags.change(some, range(2 + start, 1002 + start))
        tags.change(some[::2], range(2 + start, 1002 + start, 2), [True] * 500)
    assert len(tags) == 15_000 and tags.find(keys[::2]) == [NONE] * 15_000
    assert tags.find(keys[1::2]) == list(range(3, 30_003, 2))
    assert tags.memory_bytes < 60 * len(tags)


def test_a_copy_stays_as_it_was() -> None:
    tags = Tags()
    tags.change([b"a", b"b"], [2, 3])
    copy = tags.copy()
    tags.change([b"a", b"c"], [4, 5])
    assert dict(copy.items()) == {b"a": 2, b"b": 3}


def test_keys_with_small_tags_come_some_at_a_time_and_each_once() -> None:
    tags, keys = Tags(), [b"k%d" % n for n in range(500)]
    tags.change(keys, [2 + n % 4 for n in range(500)])
    tags.change([b"a key that is too long to be packed"], [3])
    found = list[bytes]()
    while some := tags.up_to(3, 60):
        assert len(some) <= 61
        found += some
    assert sorted(found) == sorted([*(key for n, key in enumerate(keys) if n % 4 < 2),
                                    b"a key that is too long to be packed"])


@pytest.mark.parametrize("tag", [0, 1, 2**31])
def test_a_tag_that_has_no_room_is_refused(tag: int) -> None:
    with pytest.raises(OverflowError, match="tags are from 2"):
        Tags().change([b"a"], [tag])
