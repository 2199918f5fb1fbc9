"""Approval: the gates over a playbook's own templates, before anybody publishes them."""

from __future__ import annotations

from streams.compose.brief import Brief, context_of
from streams.compose.draft import Draft
from streams.compose.grammar import with_footer
from streams.compose.quality import Frame, skeleton_fault
from streams.kernel.errors import PlaybookError
from streams.playbooks.model import Playbook
from streams.playbooks.vocabulary import ITEM_SLOTS


def template_faults(playbook: Playbook, file: str) -> list[PlaybookError]:
    """The faults of each variant's own text on each channel, as the ladder would find them.

    Claims whose facts the playbook asks for count as true: whether they are is known at send time.
    """
    faults = []
    for variant in playbook.variants:
        for channel in playbook.channels if variant.body else ():
            brief = _brief(playbook, variant.strategy, channel)
            draft = with_footer(Draft(variant.subject.strip(), variant.body.strip()), brief)
            fault = skeleton_fault(draft, Frame(channel, brief.locale, frozenset(brief.slots),
                                                brief.claims, brief.banned))
            if fault is not None:
                faults.append(PlaybookError(
                    file, 1, f"variants.{variant.name} does not pass the gate '{fault.gate}' "
                    f"({channel}): {fault.says}", "mend the template; it would never be sent"))
    return faults


def _brief(playbook: Playbook, strategy: str, channel: str) -> Brief:
    late = ("first_name", "unsubscribe_url") if channel == "email" else ("first_name",)
    slots = tuple(fact for fact in playbook.facts if fact in ITEM_SLOTS)
    claims = frozenset(playbook.facts) - set(ITEM_SLOTS)
    return Brief(playbook.brief, strategy, context_of(playbook), channel, playbook.locale,
                 (*slots, "shop", *late), claims, (), (), playbook.banned)
