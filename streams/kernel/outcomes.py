"""Outcomes, not exceptions: what the business expects is a value with a final reason code.

A step returns one of these; the stage's `walk` turns it into an emission. Reason codes are part of
the public contract: they stand in ClickHouse and in people's SQL, so they are only ever added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Refused:
    """Understood, but may not go on. No payload is kept, only its address in `events.raw`."""

    reason: str
    field: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Clamped:
    """Goes on, with a value of ours in place of what it said; told, so that it can be mended."""

    reason: str
    field: str
    detail: str
    value: int


@dataclass(frozen=True, slots=True)
class Poisoned:
    """Cannot be understood. The bytes go to quarantine, with the field and the remedy."""

    reason: str
    field: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The walk rightly ends here (`duplicate`, `no_match`); counted, nothing is wrong."""

    reason: str
    detail: str = ""


REASONS: Final[dict[str, str]] = {
    # admit: poisoned
    "not_json": "the bytes are neither JSON nor a known Avro framing",
    "unknown_schema": "the Avro schema fingerprint or registry id is not known",
    "no_registry": "Confluent framing, but no schema registry is configured",
    "bad_avro": "the bytes do not decode with the schema they name",
    "missing_field": "a required field is missing",
    "wrong_type": "a field has the wrong type",
    "bad_value": "a field's value is outside its range",
    "unknown_field": "a field that the contract does not have",
    "too_large": "the event is larger than the limit",
    "internal_error": "a stage failed on this record alone; a bug of ours, kept for replay",
    # admit: refused
    "no_subject": "neither user_id nor anonymous_id: whose event is it?",
    "no_consent": "no purpose is allowed for this person",
    "too_late": "older than the limit against its tenant's clock",
    "wall_clocked": "a clock event for a tenant whose playbooks live by the wall clock",
    "from_the_future": "later than the wall clock allows: counted as of its tenant's present "
                       "(clamped); refused when it is a clock event, or there is no present yet",
    "too_many": "more events of one person than the limit leaves room for",
    "too_many_new": "more people new to the tenant than the limit leaves room for",
    # admit, choose: finished
    "duplicate": "an event with this id was admitted within the window",
    # admit: control
    "clock": "a clock event moved its tenant's event clock; counted apart, never admitted",
    "erased": "somebody asked to be forgotten: nothing of what came before is known from here on",
    "item_changed": "a change of an item was passed on to the people of its partition",
    # choose: refused
    "too_many_changes": "more changes of items at once than can wait until their moment is over",
    # choose: late
    "behind_window": "older than a window reached back from the person's newest event by then: the "
                     "features in `detail` leave it out, all else has it",
    # choose: why nothing was said
    "kept_too_much": "there was more of one person than is kept: a trigger forgot what might have "
                     "made a moment (told once a day of a person and playbook), or too much waited "
                     "for what is known of another id of theirs",
    "no_date": "the event says the property that a playbook waits for, and it is no date",
    "no_object": "the event names no object, and a playbook's trigger is kept per object: nothing "
                 "begins with it; told once a day of a person and playbook",
    "no_purpose": "the playbook's purpose is not allowed for this person",
    "not_in_audience": "the person is not in the playbook's audience",
    "cooling_down": "the playbook spoke to this person too recently",
    "capped": "the person has had as many messages as the cap allows",
    "outranked": "another playbook's message was worth more at this moment",
    "held_out": "in the hold-out: a decision without a message",
    # compose
    "playbook_withdrawn": "the playbook or its arm is not published any more",
    "no_facts": "the catalogue lacks an item, or a fact is stale",
    "gates_failed": "no rung produced a message that passes the gates",
    "budget_exhausted": "the budget is spent; a cheaper rung was used",
    "deadline": "no time was left",
    # deliver
    "consent_withdrawn": "consent was withdrawn between decision and send",
    "message_expired": "useful_until has passed",
    "no_address": "the vault has no address for this channel",
    "suppressed": "the person unsubscribed, complained or bounced",
    "shadow": "the tenant runs in shadow mode: composed, recorded, not sent",
    "channel_refused": "the channel refused the message for good",
    "channel_down": "the channel did not take the message within its retries",
    "already_sent": "this decision was dispatched before",
    "channel_off": "the channel is not configured",
    # sinks
    "row_refused": "ClickHouse refused this row",
}
