"""Awaiting: whoever has just turned out to be known under another id is decided about when all that
is known of them is here.

A link is told to the visitor's partition, which answers with the visitor's row, and beforehand to
the person's, which expects the answer from then on. The first click after a login comes a moment
later, and sooner than the row: were it decided about at once, caps and hold-out of the visitor
would not count. Triggers hear it at once; the moments they find are held until the answer is here.

The answer always comes, and it may come before the announcement: both are counted. Whoever is
erased meanwhile still gets the answers, to throw them away: they tell of before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from streams.choose.triggers import Moment
from streams.playbooks.model import Playbook

HELD_MAX: Final = 64      # moments of a person; of further ones it is said that they are left out
VISITORS_MAX: Final = 32  # told apart at once; of more only the number of answers to come is kept
# Tail: visitor -> answers to come; their sum, where there are more; moments held.
_EXPECTED, _MORE, _HELD = "x", "xn", "h"
_OUTDATED = "xo"          # tail: visitor -> answers to come that tell of before an erasure; '' any


def count(tail: dict[str, Any], visitor: str, answers: int) -> None:
    """Note that so many more answers about `visitor` are to come: 1 announced, -1 is here.

    Of more than VISITORS_MAX at once the sum is kept until it is 0. All are awaited then, too; an
    answer that comes before its announcement may stand in for another until that is here.
    """
    expected: dict[str, int] = tail.pop(_EXPECTED, {})
    more: int | None = tail.pop(_MORE, None)
    if more is None:
        left = expected.pop(visitor, 0) + answers
        if left:
            expected[visitor] = left
        if len(expected) <= VISITORS_MAX:
            if expected:
                tail[_EXPECTED] = expected
            return
        more, answers = sum(expected.values()), 0
    if more + answers:
        tail[_MORE] = more + answers


def is_awaiting(tail: dict[str, Any]) -> bool:
    return tail.get(_MORE, 0) > 0 or any(left > 0 for left in tail.get(_EXPECTED, {}).values())


def kept_of_erased(tail: dict[str, Any]) -> dict[str, Any]:
    """What of the tail outlives an erasure: the answers to come, all outdated; {} when none is."""
    kept = {name: tail[name] for name in (_EXPECTED, _MORE) if name in tail}
    outdated = {visitor: left for visitor, left in tail.get(_EXPECTED, {}).items() if left > 0}
    if tail.get(_MORE, 0) > 0:
        outdated[""] = tail[_MORE]
    return {**kept, _OUTDATED: outdated} if outdated else kept


def take_outdated(tail: dict[str, Any], visitor: str) -> bool:
    """Does this answer tell of before an erasure? Of more visitors than are told apart, those that
    come first do."""
    outdated: dict[str, int] = tail.get(_OUTDATED, {})
    name = visitor if visitor in outdated else ""
    if name not in outdated:
        return False
    outdated[name] -= 1
    if not outdated[name]:
        del outdated[name]
    if not outdated:
        del tail[_OUTDATED]
    return True


def hold(tail: dict[str, Any], moments: list[Moment]) -> list[Moment]:
    """Keep the moments until `release`; returns those for which there is no room."""
    held = tail.setdefault(_HELD, [])
    room = max(HELD_MAX - len(held), 0)
    held += [[m.playbook.name, m.moment_ms, m.event_id, m.object_id, m.items, m.appended_ms,
              m.evidence, m.until_ms] for m in moments[:room]]
    return moments[room:]


def release(tail: dict[str, Any], playbooks: Iterable[Playbook]) -> list[Moment]:
    """What was held, of the playbooks that are in force now."""
    named = {playbook.name: playbook for playbook in playbooks}
    return [Moment(named[name], moment_ms, event_id, object_id, tuple(items), *others)
            for name, moment_ms, event_id, object_id, items, *others in tail.pop(_HELD, ())
            if name in named]
