"""The table of contents: stages, their steps and the topics between them, in the order of the road.

Everything that draws, documents or checks the road reads this file. Keyed topics are all keyed by
profile id with one partition count and one partitioner (murmur2), so partition p of each holds the
same people and a stage may join its inputs partition by partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RAW = "events.raw"
ADMITTED = "events.admitted"
DECISIONS = "decisions.made"
MESSAGES = "messages.ready"
DELIVERIES = "deliveries.sent"
RECEIPTS = "receipts.received"
REWARDS = "rewards.observed"
POLICIES = "policies.updated"

CONSENTS = "consents.changed"
PLAYBOOKS = "playbooks.published"
CATALOGUE = "catalogue.items"
SEGMENT_CHANGES = "segments.changed"
SEGMENT_ROLLS = "segments.rolled"

REFUSALS = "refusals.recorded"
QUARANTINE = "events.quarantined"
COSTS = "costs.incurred"


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    asks: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage is one Faust agent. `keeps` names its changelog."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    side_inputs: tuple[str, ...]
    keeps: str
    steps: tuple[Step, ...]

    @property
    def group(self) -> str:
        return f"kairos-{self.name}"


STAGES: Final[tuple[Stage, ...]] = (
    Stage("admit", (RAW, CATALOGUE), (ADMITTED, RECEIPTS, CONSENTS, REFUSALS, QUARANTINE),
          (CONSENTS,),
          "admit-sources-changelog", (
              Step("arrival", "can I read you, are you whole, are you too old or too large?"),
              Step("gate", "does your subject agree, and to what?"),
              Step("identity", "whose are you? (identifiers stay behind, in the vault)"),
              Step("rates", "do you leave room for the others?"),
              Step("dedup", "have I seen you? (after identity, so that only admitted ids count)"))),
    Stage("choose", (ADMITTED,), (DECISIONS, SEGMENT_CHANGES, SEGMENT_ROLLS, REFUSALS),
          (CONSENTS, PLAYBOOKS, POLICIES, CATALOGUE, SEGMENT_ROLLS),
          "choose-profiles-changelog", (
              Step("features", "what is known of this person, as of this event?"),
              Step("segments", "which groups did they just enter or leave?"),
              Step("triggers", "is this a moment to speak?"),
              Step("decision", "what is worth saying, and with what probability?"))),
    Stage("compose", (DECISIONS,), (MESSAGES, REFUSALS, COSTS), (CONSENTS, PLAYBOOKS, CATALOGUE),
          "compose-marks-changelog", (
              Step("brief", "what may the writer know?"),
              Step("generation", "can this be said within time and budget?"),
              Step("quality", "is it true, safe, short, on brand?"),
              Step("ladder", "if not: the next rung down, never a blank"))),
    Stage("deliver", (MESSAGES,), (DELIVERIES, RECEIPTS, REFUSALS), (CONSENTS, PLAYBOOKS),
          "deliver-sends-changelog", (
              Step("recheck", "still agreed, still fresh, not too often?"),
              Step("binding", "the name and the address, from the vault, at the last moment"),
              Step("dispatch", "did the channel take it, once?"))),
    Stage("learn", (ADMITTED, DECISIONS, DELIVERIES, RECEIPTS), (REWARDS, POLICIES),
          (CONSENTS, PLAYBOOKS), "learn-journeys-changelog", (
              Step("conversions", "which decision could this outcome belong to?"),
              Step("reward", "what was it worth, and is the window closed?"),
              Step("flywheel", "what does the next decision know that this one did not?"))),
)

BY_NAME: Final[dict[str, Stage]] = {stage.name: stage for stage in STAGES}
