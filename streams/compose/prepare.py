"""Prepare: may this decision be written at all, and with what?

In       a decisions.made record, its playbook, the side inputs
Out      Prepared: the task for the ladder | Refused
Keeps    nothing
Refuses  no_purpose, playbook_withdrawn, deadline, no_facts
Time     the tenant's own: moment_ms plus what the wall clock has moved since the decision; of a
         tenant that lives by the wall clock no less than that, however late it was decided
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from streams.catalogue import facts as catalogue
from streams.compose.brief import brief_of
from streams.compose.calls import ComposeParams
from streams.compose.figures import known
from streams.compose.ladder import Task
from streams.compose.quality.structure import LIMITS
from streams.kernel.outcomes import Refused
from streams.kernel.purposes import PERSONALISE
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Playbook

BESTSELLER: Final = "item.bestseller"


@dataclass(frozen=True, slots=True)
class Prepared:
    """`left_ms`: how long the message is still useful; `value_micros`: of a conversion."""

    task: Task
    playbook_version: int
    value_micros: int
    left_ms: int


def prepare(decision: Mapping[str, Any], playbook: Playbook | None, side: SideInputs, now_ms: int,
            params: ComposeParams, *, models: bool,
            by_wall: bool = False) -> Prepared | Refused:
    """The task of one decision.

    models    whether a model server is configured
    by_wall   the tenant lives by the wall clock: after an outage, what has lost its use is dropped
    """
    allowed = decision["purposes"] & ~side.consents.denied(decision["profile_id"])
    if not allowed & PERSONALISE:
        return Refused("no_purpose", "purposes", "personalise is not allowed for this person")
    variant = None if playbook is None else next(
        (arm for arm in playbook.variants if arm.name == decision["arm"]), None)
    if playbook is None or variant is None:
        return Refused("playbook_withdrawn", "playbook", "the playbook or its arm is not published")
    if decision["channel"] not in LIMITS:
        return Refused("channel_off", "channel", f"no form for '{decision['channel'][:40]}'")
    tenant_now_ms = decision["moment_ms"] + max(0, now_ms - decision["decided_ms"])
    if by_wall:
        tenant_now_ms = max(tenant_now_ms, now_ms)
    left_ms = decision["useful_until_ms"] - tenant_now_ms
    if left_ms <= 0:
        return Refused("deadline", "useful_until_ms", "the message is not useful any more")
    item = _item(decision, side)
    facts = catalogue.bind(item, playbook.facts, shop=playbook.shop,
                           locale=playbook.locale, now_ms=tenant_now_ms,
                           age_ms_max=params.facts_age_ms_max)
    if isinstance(facts, Refused):
        return facts
    if BESTSELLER in playbook.facts and item is not None and _is_bestseller(
            decision["features_json"], item["item_id"]):
        facts = replace(facts, claims=facts.claims | {BESTSELLER})
    figures = {} if item is None else known(decision, playbook, item["item_id"], tenant_now_ms)
    if figures:
        facts = replace(
            facts, texts=facts.texts | {slot: text for slot, (text, _) in figures.items()},
            moments={slot: as_of_ms for slot, (_, as_of_ms) in figures.items()})
    brief = brief_of(decision, playbook, variant, facts,
                     lambda text: (decision["tenant"], text) in side.categories)
    frontier = {decision["segment"], *brief.segments} & set(params.frontier_segments)
    rungs = params.models(frontier=bool(frontier)) if models else ()
    task = Task(decision["decision_id"], brief, facts, variant, rungs)
    return Prepared(task, playbook.version, decision["value_micros"], left_ms)


def _is_bestseller(features_json: str, item_id: str) -> bool:
    """Whether the decision holds that the item's features make it one; see docs/features.md."""
    try:
        features = orjson.loads(features_json or b"{}")
        return features["item"][item_id]["bestseller"] is True
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return False


def _item(decision: Mapping[str, Any], side: SideInputs) -> dict[str, Any] | None:
    """The most important item of the decision that the catalogue knows and that is in stock."""
    try:
        item_ids = orjson.loads(decision["item_ids_json"] or b"[]")
    except orjson.JSONDecodeError:
        return None
    for item_id in item_ids if isinstance(item_ids, list) else ():
        item = side.catalogue.get((decision["tenant"], str(item_id)))
        if item is not None and item["in_stock"]:
            return item
    return None
