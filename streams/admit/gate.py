"""Gate: does your subject agree, and to what?

In       an event's claims, the person's words so far in this partition, the book of everyone's
Out      the mask of purposes that are allowed | Refused, and the words that are news
Keeps    per person and purpose: the newest word, and when it was last published
Refuses  no_consent
Time     event time only: the newest word stands, and a denial wins a tie; of a visitor's word and a
         person's, when the two turn out to be one, the strictest
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from streams.kernel import purposes
from streams.kernel.moments import DAY_MS

# A word said again is published again only when the last publication is this much older.
REPEAT_MS: Final = DAY_MS
RAW_TOPIC: Final = "events.raw"
Words = dict[str, list[Any]]          # purpose bit as text -> [event_ms, granted, published_ms]
Claim = tuple[int, bool, int]         # purpose bit, granted, event_ms

_NAMES: Final = {bit: str(bit) for bit in purposes.BITS.values()}
WITHDRAWALS: Final = {"message_unsubscribed": "unsubscribe", "message_complained": "complaint"}
ERASE: Final = "erase"                # the event type of somebody who asks to be forgotten
ERASURE: Final = "erasure"            # where their word comes from


def claims(event: Mapping[str, Any]) -> list[Claim]:
    """What the event says its subject agreed to; unsubscribing and complaining are words too."""
    said: Mapping[str, bool] = event["consent"] or {}
    if event["event_type"] in WITHDRAWALS:
        said = {**said, "contact": False}
    event_ms = event["event_ms"]
    return [(bit, said[name], event_ms) for name, bit in purposes.BITS.items() if name in said]


def denials(event_ms: int, words: Words) -> list[Claim]:
    """No to every purpose, said at `event_ms` or with the newest of `words` on it."""
    return [(bit, False, max(event_ms, words.get(_NAMES[bit], [0])[0]))
            for bit in purposes.BITS.values()]


def origin(event: Mapping[str, Any]) -> str:
    kind = event["event_type"]
    return ERASURE if kind == ERASE else WITHDRAWALS.get(kind, "event")


def after(words: Words, event_ms: int | None) -> Words:
    """The words that were said after `event_ms`; None: all of them."""
    return {name: word for name, word in words.items() if event_ms is None or word[0] > event_ms}


def inherited(words: Words, standing: Mapping[int, tuple[int, bool]]) -> list[Claim]:
    """The words of a visitor, for the person that the visitor turns out to be.

    Where both have spoken the strictest word wins, and counts as said when the newer of the two
    was: a login is no agreement, and only what is said after both can lift the denial. `standing`:
    the person's own, purpose bit -> (event_ms, granted).
    """
    claims = []
    for name, (event_ms, granted, _) in sorted(words.items()):
        own = standing.get(int(name))
        both = (event_ms, granted) if own is None else (max(event_ms, own[0]), granted and own[1])
        if both != own:
            claims.append((int(name), both[1], both[0]))
    return claims


def hear(words: Words, said: Iterable[Claim], *, is_explicit: bool) -> tuple[bool, list[Claim]]:
    """Take words in; returns whether any was newer, and those to publish.

    An explicit consent event is published whenever it is newer; claims that ride on other events
    only when they change something or the last publication is old.
    """
    changed, news = False, []
    for bit, granted, event_ms in said:
        name = _NAMES[bit]
        standing = words.get(name)
        if standing is not None and (standing[0], not standing[1]) >= (event_ms, not granted):
            continue
        changed = True
        publish = (standing is None or standing[1] != granted or is_explicit
                   or event_ms - standing[2] >= REPEAT_MS)
        published_ms = event_ms if publish or standing is None else standing[2]
        words[name] = [event_ms, granted, published_ms]
        if publish:
            news.append((bit, granted, event_ms))
    return changed, news


def evidence(*, partition: int, offset: int, event_id: str) -> str:
    """What proves a word: the address of the event that carried it, and its id."""
    return f"{RAW_TOPIC}/{partition}/{offset}/{event_id}"


def standing(words: Words, book: Mapping[int, tuple[int, bool, str]], *, partition: int,
             offset: int) -> dict[int, tuple[int, bool]]:
    """Purpose bit -> (event_ms, granted) of the newest word at this record, here or in the book.

    A word in the book that stands at this record or after it in this very partition has not been
    said yet. A worker that starts again after a crash finds such words, published by its former
    self; heeding them would refuse what was admitted before.
    """
    newest = {int(name): (word[0], word[1]) for name, word in words.items()}
    for bit, (event_ms, granted, proof) in book.items():
        own = newest.get(bit)
        if ((own is None or (event_ms, not granted) > (own[0], not own[1]))
                and not _is_ahead(proof, partition, offset)):
            newest[bit] = (event_ms, granted)
    return newest


def mask(words: Mapping[int, tuple[int, bool]]) -> int:
    """Purposes allowed by the words that stand; default deny."""
    return sum(bit for bit, (_, granted) in words.items() if granted)


def _is_ahead(proof: str, partition: int, offset: int) -> bool:
    parts = proof.split("/", 3)
    return (len(parts) == 4 and parts[0] == RAW_TOPIC and parts[1] == str(partition)
            and parts[2].isdecimal() and int(parts[2]) >= offset)
