"""Lists: people named one by one, by which segments ask for customers that somebody else chose.

A list is a text file of profile ids, pseudonyms of 32 hex digits, one per line; `#` begins a
comment. Rules look a person up by the upper 53 bits of their id's hash, which a double holds
exactly: a stranger is taken for one of a million people with a chance of 1 in 9,000,000,000.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numba import float64, uint64

from streams.engine.compiling import compiled
from streams.engine.hashing import hash64

PEOPLE_MAX = 5_000_000
_ID_BYTES = 32
_LINE = re.compile(rb"[ \t]*([0-9a-f]{32})?[ \t]*(#.*)?\r?")


class ListFault(ValueError):
    """`line`: number of the line at fault, from 1."""

    def __init__(self, line: int, fault: str, remedy: str) -> None:
        super().__init__(fault)
        self.line, self.fault, self.remedy = line, fault, remedy


@dataclass(frozen=True, slots=True)
class PeopleList:
    """Two lists are equal when they name the same people.

    places   where the people's hashes are, ascending, each once
    digest   of the people
    """

    name: str
    digest: str
    places: npt.NDArray[np.float64] = field(repr=False, compare=False)

    def __contains__(self, profile_id: str) -> bool:
        return bool(is_listed(self.places, 0, len(self.places), _hashes(profile_id.encode())[0]))


def read_list(name: str, raw: bytes) -> PeopleList:
    """Raises ListFault for the first line that is neither empty nor a profile id."""
    found: set[bytes] = set()
    for number, line in enumerate(raw.split(b"\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ListFault(number, f"{line[:60].decode('utf-8', 'replace')!r} is no profile id",
                            "write one profile id of 32 hex digits per line; `kairos segments "
                            "list` makes them of user ids")
        if match[1]:
            found.add(match[1])
            if len(found) > PEOPLE_MAX:
                raise ListFault(number, f"a list of more than {PEOPLE_MAX:,} people",
                                "declare what they have in common as a rule over features")
    people = b"".join(sorted(found))
    return PeopleList(name, hashlib.blake2b(people, digest_size=8).hexdigest(),
                      np.unique(_places(_hashes(people))))


def _hashes(people: bytes) -> npt.NDArray[np.uint64]:
    found = np.zeros(len(people) // _ID_BYTES, np.uint64)
    _hash_ids(np.frombuffer(people, np.uint8), found)
    return found


@compiled
def _hash_ids(raw, hashes):
    for n in range(len(hashes)):
        hashes[n] = hash64(raw, n * _ID_BYTES, _ID_BYTES)


def _places(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    return (hashes >> np.uint64(11)).astype(np.float64)


@compiled
def is_listed(numbers, first, last, who):
    """Is the person with the hash `who` among the places numbers[first:last]?"""
    place = float64(uint64(who) >> uint64(11))
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if numbers[middle] < place:
            low = middle + 1
        else:
            high = middle
    return low < last and numbers[low] == place
