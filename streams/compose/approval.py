"""Approval: the gates over a playbook's own templates, before anybody publishes them."""

from __future__ import annotations

from streams.compose.brief import Brief, context_of
from streams.compose.draft import Draft
from streams.compose.figures import placed, sentences, without_unknown
from streams.compose.grammar import with_footer
from streams.compose.quality import Frame, skeleton_fault
from streams.kernel.errors import PlaybookError
from streams.playbooks.model import Playbook, Variant
from streams.playbooks.vocabulary import ITEM_SLOTS


def template_faults(playbook: Playbook, file: str) -> list[PlaybookError]:
    """The faults of each variant's own text on each channel, as the ladder would find them.

    Claims whose facts the playbook asks for count as true: whether they are is known at send time.
    """
    faults = []
    for variant in playbook.variants:
        for channel in playbook.channels if variant.body else ():
            faults += _of_template(playbook, variant, channel, file)
    return faults + [fault for figure in playbook.figures
                     for fault in _of_sentence(playbook, figure.feature, file)]


def _of_template(playbook: Playbook, variant: Variant, channel: str,
                 file: str) -> list[PlaybookError]:
    """What the gates say of an approved text with every figure, and with none: then its lines are
    left out, and what is left must be a message too."""
    brief = _brief(playbook, variant.strategy, channel)
    frame = Frame(channel, brief.locale, frozenset(brief.slots), brief.claims, brief.banned)
    text = Draft(variant.subject.strip(), variant.body.strip())
    for said, when in ((brief.figures, ""), ((), ", without its figures")):
        draft = with_footer(placed(without_unknown(text, said), said), brief)
        fault = skeleton_fault(draft, frame)
        if fault is not None:
            return [PlaybookError(
                file, 1, f"variants.{variant.name} does not pass the gate '{fault.gate}' "
                f"({channel}{when}): {fault.says}", "mend the template; it would never be sent")]
    return []


def _of_sentence(playbook: Playbook, name: str, file: str) -> list[PlaybookError]:
    """What the gates say of a figure's sentence, by itself in a text that passes them."""
    brief = _brief(playbook, "reminder", playbook.channels[0])
    plain = Draft("{shop}", "{item.url}\n\n" * ("item.url" in brief.slots)
                  + f"{dict(brief.figures)[name]}\n\n{{shop}}")
    frame = Frame("webhook", brief.locale, frozenset(brief.slots), brief.claims, brief.banned)
    fault = skeleton_fault(plain, frame)
    return [] if fault is None else [PlaybookError(
        file, 1, f"figures.{name}.says does not pass the gate '{fault.gate}': {fault.says}",
        "mend the sentence; no message with it would ever be sent")]


def _brief(playbook: Playbook, strategy: str, channel: str) -> Brief:
    late = ("first_name", "unsubscribe_url") if channel == "email" else ("first_name",)
    slots = tuple(fact for fact in playbook.facts if fact in ITEM_SLOTS)
    claims = frozenset(playbook.facts) - set(ITEM_SLOTS)
    said = sentences(playbook, {figure.feature: figure for figure in playbook.figures})
    slots += tuple(slot for slot, _ in said)
    return Brief(playbook.brief, strategy, context_of(playbook), channel, playbook.locale,
                 (*slots, "shop", *late), claims, (), (), playbook.banned, said)
