"""Identity: whose are you? Identifiers stay behind, in the vault.

In       an event with its ids and traits
Out      the subject's profile id; a deposit for the vault; coarse traits for later events
Keeps    visitor -> person links, each from its offset on; locale, country, timezone per person
Refuses  no_subject
Time     event time decides which trait is newest; offsets decide from where a link holds
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streams.engine.slab import Slab
from streams.kernel import purposes
from streams.privacy.pseudonyms import Pseudonyms
from streams.privacy.vault import IDENTIFIERS, Deposit

COARSE: Final = ("locale", "country", "timezone")
LINKING: Final = frozenset({"identify", "alias"})
LINKS_MAX: Final = 32                 # kept per visitor; older ones lie far behind every checkpoint
COARSE_CHARS_MAX: Final = 64          # what is longer is no locale, country or time zone

Links = list[list[Any]]               # [[since_offset, profile_id], ...], by offset
Pair = tuple[str, str]                # visitor, person
IDENTIFY: Final = "identify"          # the one event type that carries traits


# Rows reach the changelog in the order of their keys, and a crash may cut them short. Hence links
# (a:) before people (p:), who are linked, and people before visitors (v:), whose words they
# inherit: whoever finds the latter row there finds the former at least as new.
def link_key(visitor: str) -> bytes:
    return b"a:" + visitor.encode()


def person_key(profile_id: str) -> bytes:
    return b"p:" + profile_id.encode()


def visitor_key(visitor: str) -> bytes:
    return b"v:" + visitor.encode()


def subject(event: Mapping[str, Any], pseudonyms: Pseudonyms, slab: Slab, offset: int,
            ) -> tuple[str, bytes] | None:
    """(profile id, row key) of the event's subject as of `offset`; None when it names nobody."""
    if event["user_id"]:
        person = pseudonyms.known(event["tenant"], event["user_id"])
    elif event["anonymous_id"]:
        visitor = pseudonyms.anonymous(event["tenant"], event["anonymous_id"])
        to = linked(slab, visitor, offset)
        if to is None:
            return visitor, visitor_key(visitor)
        person = to
    else:
        return None
    return person, person_key(person)


def subjects(event: Mapping[str, Any], pseudonyms: Pseudonyms, slab: Slab, offset: int,
             ) -> list[tuple[str, bytes]]:
    """`subject` of either id that the event names, each once."""
    found = (subject({**event, other: None}, pseudonyms, slab, offset)
             for other in ("anonymous_id", "user_id"))
    return list(dict.fromkeys(each for each in found if each is not None))


def linked(slab: Slab, visitor: str, offset: int) -> str | None:
    """The person that `visitor` was known to be at `offset`. Rows may be ahead of it."""
    slot = slab.find(link_key(visitor))
    if slot is None:
        return None
    links: Links = slab.tails[slot]["links"]
    return next((to for since, to in reversed(links) if since <= offset), None)


def link(slab: Slab, visitor: str, person: str, offset: int) -> None:
    """From `offset` on, `visitor` is `person`. Repeating it changes nothing."""
    if linked(slab, visitor, offset) == person:
        return
    slot = slab.slot(link_key(visitor))
    links: Links = slab.tails[slot].setdefault("links", [])
    links.append([offset, person])
    links.sort()
    del links[:-LINKS_MAX]
    slab.stamp(slot, 0, offset)


def pair(event: Mapping[str, Any], pseudonyms: Pseudonyms) -> Pair | None:
    """(visitor, person) when the event says that the two are one."""
    if event["event_type"] not in LINKING or not (event["user_id"] and event["anonymous_id"]):
        return None
    return (pseudonyms.anonymous(event["tenant"], event["anonymous_id"]),
            pseudonyms.known(event["tenant"], event["user_id"]))


def deposit(event: Mapping[str, Any], profile_id: str, allowed: int) -> Deposit | None:
    """What goes to the vault: identifiers, and only when the person may be contacted."""
    if event["event_type"] != IDENTIFY or not allowed & purposes.CONTACT:
        return None
    traits = event["traits"] or {}
    fields = tuple((name, traits[name]) for name in IDENTIFIERS if name in traits)
    return Deposit(profile_id, fields, event["event_ms"]) if fields else None


def learn_traits(known: dict[str, list[Any]], event: Mapping[str, Any], allowed: int) -> bool:
    """Take coarse traits into `known` ({name: [event_ms, value]}); True when one was newer."""
    if event["event_type"] != IDENTIFY or not allowed & purposes.PERSONALISE:
        return False
    changed = False
    for name in COARSE:
        value = (event["traits"] or {}).get(name)
        standing = known.get(name)
        if not value or len(value) > COARSE_CHARS_MAX or (
                standing is not None and (standing[0], standing[1]) >= (event["event_ms"], value)):
            continue
        known[name] = [event["event_ms"], value]
        changed = True
    return changed
