"""Figures: what a decision knows of its item, as sentences that the playbook approved.

In       features_json of a decision, the playbook's figures, the tenant's time
Out      the figures that may be stated | a draft with their sentences in it
Keeps    nothing
Refuses  nothing: a figure that is missing, too small or too old is not stated
Time     the tenant's own: a figure grows older between the decision and the message

A writer places a sentence and never a number: what is said of the number is the playbook's, and
the number is the decision's. So no text can say "bought" of what was looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from streams.compose.draft import Draft, Fault
from streams.playbooks.model import Playbook
from streams.playbooks.templates import SLOT
from streams.playbooks.vocabulary import FIGURE, SLOTS

Sentences = tuple[tuple[str, str], ...]       # slot -> the sentence, with the slot for its number
_DIGITS_KEPT = 2
_EMPTY_LINES = re.compile(r"\n{3,}")


def known(decision: Mapping[str, Any], playbook: Playbook, item_id: str,
          now_ms: int) -> dict[str, tuple[str, int]]:
    """{slot: (the figure as it is written, as of when)} of what may be stated of the item."""
    told = _told(decision["features_json"], item_id) if playbook.figures else {}
    found: dict[str, tuple[str, int]] = {}
    for figure in playbook.figures:
        each = told.get(figure.feature)
        if not isinstance(each, dict):
            continue
        value, age_ms = _number(each.get("value")), _number(each.get("age_ms"))
        if value is None or age_ms is None or value < figure.at_least:
            continue
        as_of_ms = decision["moment_ms"] - int(age_ms)
        if now_ms - as_of_ms <= figure.max_age_ms:
            found[figure.feature] = (written(value), as_of_ms)
    return found


def written(value: float) -> str:
    """Two digits of the number, rounded down: all partitions together know too little, never too
    much, so that many it was at least."""
    digits = str(int(value))
    return digits[:_DIGITS_KEPT] + "0" * (len(digits) - _DIGITS_KEPT)


def sentences(playbook: Playbook, slots: Mapping[str, Any]) -> Sentences:
    """The sentences of those figures of the playbook that are among `slots`."""
    return tuple((figure.feature, figure.says.replace(f"{{{FIGURE}}}", f"{{{figure.feature}}}"))
                 for figure in playbook.figures if figure.feature in slots)


def misplaced(draft: Draft, said: Sentences) -> Fault | None:
    """A sentence's slot that does not stand as a sentence of its own in the body, or twice."""
    for slot, _ in said:
        if draft.body.count(f"{{{slot}}}") > 1:
            return Fault("structure", f"{{{slot}}} is a whole sentence: it is said once")
        if f"{{{slot}}}" in draft.subject or re.search(
                rf"(?<![.!?:,]\s)(?<!\n)(?<!\A)\{{{slot}\}}|\{{{slot}\}}(?!\s|\Z)", draft.body):
            return Fault("structure", f"{{{slot}}} is a whole sentence: it stands by itself in the "
                         "body, between other sentences or in a line of its own")
    return None


def placed(draft: Draft, said: Sentences) -> Draft:
    """The draft with each sentence where its slot stood."""
    if not said:
        return draft
    of = dict(said)
    return Draft(draft.subject, SLOT.sub(lambda m: of.get(m[1], m[0]), draft.body))


def without_unknown(draft: Draft, said: Sentences) -> Draft:
    """An approved text without the lines of figures that are not known this time."""
    of = {slot for slot, _ in said}
    lines = draft.body.split("\n")
    kept = [line for line in lines
            if all("." in slot or slot in SLOTS or slot in of for slot in SLOT.findall(line))]
    if kept == lines:
        return draft
    return Draft(draft.subject, _EMPTY_LINES.sub("\n\n", "\n".join(kept)))


def _told(features_json: str, item_id: str) -> dict[str, Any]:
    """What the decision holds of the item."""
    try:
        found = orjson.loads(features_json or b"{}")["item"][item_id]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)
