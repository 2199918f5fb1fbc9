"""What would change: two playbooks as flat, readable lines, and the difference of the lines."""

from __future__ import annotations

from dataclasses import dataclass

from streams.kernel import money
from streams.kernel.moments import show_span
from streams.playbooks.conditions import show_condition
from streams.playbooks.model import Playbook
from streams.playbooks.triggers import show_trigger


@dataclass(frozen=True, slots=True)
class Change:
    """`before` or `after` is None when the line was not, or is no longer, there."""

    what: str
    before: str | None
    after: str | None


def difference(before: Playbook | None, after: Playbook) -> list[Change]:
    """The changes from what is published to what is written; empty when they mean the same."""
    old = {} if before is None else lines_of(before)
    new = lines_of(after)
    return [Change(what, old.get(what), new.get(what))
            for what in [*new, *(what for what in old if what not in new)]
            if old.get(what) != new.get(what)]


def lines_of(playbook: Playbook) -> dict[str, str]:
    """Every setting of a playbook as text, defaults included; version and tenant are not."""
    lines = {
        "active": "yes" if playbook.active else "no", "mode": playbook.mode,
        "clock": playbook.clock,
        "trigger": show_trigger(playbook.trigger),
        "audience": "everyone" if playbook.audience is None else show_condition(playbook.audience),
        "purpose": playbook.purpose, "channels": ", ".join(playbook.channels),
        "brief": playbook.brief, "facts": ", ".join(playbook.facts) or "none",
        "cap": f"{playbook.cap_messages} per {show_span(playbook.cap_per_ms)}",
        "cooldown": show_span(playbook.cooldown_ms), "expires": show_span(playbook.expires_ms),
        "conversion": f"{playbook.conversion} within {show_span(playbook.window_ms)}",
        "value": money.show(playbook.value_micros) if playbook.value_micros
        else "the purchase's own", "holdout": f"{playbook.holdout:.4g}",
        "locale": playbook.locale, "shop": playbook.shop,
        "banned": ", ".join(playbook.banned) or "none",
    }
    for figure in playbook.figures:
        lines[f"figures.{figure.feature}"] = (
            f"{figure.says!r} from {figure.at_least} on, up to {show_span(figure.max_age_ms)} old")
    for arm in playbook.variants:
        text = f": {arm.subject!r} / {arm.body!r}" if arm.body else ""
        lines[f"variants.{arm.name}"] = arm.strategy + text
    return lines
