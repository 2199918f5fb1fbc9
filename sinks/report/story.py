"""One person's story: what happened, why this was said or why nothing, and what followed.

The person is a pseudonym throughout; no name and no address is in ClickHouse. k-anonymity does not
apply: this is one person's own record, for the operator who must explain it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from sinks.report.queries import Ask, Row
from streams.kernel.errors import KairosError

HERE: Final = Path(__file__).resolve().parent / "story_sql"
EVENTS_SHOWN: Final = 40
NEVER_ENDS_MS: Final = 1 << 60
_OF_A_DECISION: Final = ("messages", "costs", "deliveries", "receipts", "rewards", "refusals")


@cache
def text(name: str) -> str:
    return (HERE / f"{name}.sql").read_text("utf-8").strip()


class UnknownError(KairosError):
    """Nobody has heard of that profile or decision."""


def who(ask: Ask, subject: str) -> Row:
    """{world, profile_id, decision_id} of an id; decision_id "" when it is a profile's.

    Raises UnknownError when nobody has heard of it.
    """
    found = ask(text("who"), {"id": subject})
    if not found:
        raise UnknownError(f"{subject}: no such profile or decision in ClickHouse",
                           "`kairos sql \"SELECT decision_id FROM decisions LIMIT 5\"` lists some; "
                           "the sink may also lag: `kairos status`")
    return found[0]


def tell(ask: Ask, subject: str) -> dict[str, Any]:
    """The story of a decision, or of a person with all their decisions."""
    person = who(ask, subject)
    asked = {"profile": person["profile_id"], "decision": person["decision_id"]}
    decisions = [_decision(row) for row in ask(text("decisions"), asked)]
    until_ms = decisions[-1]["moment_ms"] if person["decision_id"] else NEVER_ENDS_MS
    parts = {name: ask(text(name), asked) for name in _OF_A_DECISION}
    for decision in decisions:
        decision.update(_followed(decision["decision_id"], parts))
        decision["why"] = _why(decision)
    own = {"profile": person["profile_id"]}
    return {
        "world": person["world"], "profile_id": person["profile_id"],
        "consents": ask(text("consents"), own), "segments": ask(text("segments"), own),
        "events": ask(text("events"), {**own, "until_ms": until_ms, "limit": EVENTS_SHOWN})[::-1],
        "decisions": decisions,
        "not_said": [row for row in parts["refusals"] if not row["decision_id"]],
    }


def present(ask: Ask, profile_id: str) -> dict[str, Any]:
    """What is known of a person now: features of the newest decision, segments, consents."""
    person = who(ask, profile_id)
    own = {"profile": person["profile_id"]}
    decisions = ask(text("decisions"), {**own, "decision": ""})
    newest = _decision(decisions[-1]) if decisions else None
    inside = {row["segment"]: row for row in ask(text("segments"), own)}
    return {
        "world": person["world"], "profile_id": person["profile_id"],
        "consents": ask(text("consents"), own),
        "segments": sorted(name for name, row in inside.items() if row["entered"]),
        "features": newest["features"] if newest else {},
        "features_as_of_ms": newest["moment_ms"] if newest else None,
        "events": ask(text("events"), {**own, "until_ms": NEVER_ENDS_MS, "limit": 10})[::-1],
    }


def _decision(row: Row) -> dict[str, Any]:
    """A decision with its JSON columns opened, and without the columns that repeat others."""
    opened = {name.removesuffix("_json"): orjson.loads(value or "null")
              for name, value in row.items() if name.endswith("_json")}
    plain = {name: value for name, value in row.items()
             if not name.endswith(("_json", "_at")) and not name.startswith("origin_")}
    return {**plain, **opened}


def _followed(decision_id: str, parts: Mapping[str, list[Row]]) -> dict[str, Any]:
    mine = {name: [_decision(row) if name == "messages" else row for row in rows
                   if row["decision_id"] == decision_id] for name, rows in parts.items()}
    messages = mine.pop("messages")
    return {"message": messages[0] if messages else None, **mine}


def _why(decision: Mapping[str, Any]) -> list[str]:
    """Why this was said or nothing was, in sentences."""
    return [*_why_chosen(decision), *_why_silent(decision), *_outcome(decision)]


def _why_chosen(decision: Mapping[str, Any]) -> Iterable[str]:
    yield (f"{decision['playbook']} version {decision['playbook_version']} fired by "
           f"{decision['trigger']}")
    shares = ", ".join(f"{arm} {share:.0%}" for arm, share in decision["propensities"].items())
    yield (f"arm {decision['arm']} was drawn with probability {decision['propensity']:.0%} "
           f"({shares}) under policy {decision['policy_version']} for {decision['segment']}")
    if decision["holdout"]:
        yield (f"held out (probability {decision['holdout_probability']:.0%}): nothing is sent, "
               "this person is the comparison")


def _why_silent(decision: Mapping[str, Any]) -> Iterable[str]:
    for row in decision["refusals"]:
        detail = f": {row['detail']}" if row["detail"] else ""
        yield f"{row['stage']} {row['outcome']} it, {row['reason']}{detail}"
    for row in decision["deliveries"]:
        reason = f", {row['reason']}" if row["reason"] else ""
        yield f"{row['channel']} {row['status']}{reason}"


def _outcome(decision: Mapping[str, Any]) -> Iterable[str]:
    converted = [row for row in decision["rewards"] if row["kind"] == "converted"]
    closed = any(row["kind"] == "closed" for row in decision["rewards"])
    if converted:
        value = sum(row["value_micros"] for row in decision["rewards"]) / 1e6
        yield f"converted: {len(converted)} {decision['conversion']}, value {value:,.2f}"
    elif closed:
        yield f"no {decision['conversion']} within the window"
    else:
        yield "the window is still open"
