"""Ladder: if not this rung, then the next one down, never a blank.

In       Task: brief, facts, variant, and the models to ask (dearest first, often none)
Out      Climb: the message that passed every gate twice, or None, with every attempt
Keeps    nothing
Refuses  gates_failed, when not even the approved template passes
Time     none; the port keeps the deadlines and answers `not_made` when no time is left

    frontier ─▶ small ─▶ grammar ─▶ approved template
    each model is asked again once with its fault; a failed call is not repeated
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import orjson

from streams.catalogue.facts import Facts
from streams.compose import figures, generation, grammar
from streams.compose.brief import Brief
from streams.compose.draft import Draft, Fault
from streams.compose.generation import ModelCall, ModelReply
from streams.compose.quality import GATES, Frame, final_fault, skeleton_fault
from streams.playbooks.model import Variant
from streams.playbooks.templates import SLOT

_ATTEMPTS_MAX = 2
_PASSED = {name: "ok" for name, _ in GATES}


@dataclass(frozen=True, slots=True)
class Task:
    """`models`: (rung, model name) to ask in this order."""

    decision_id: str
    brief: Brief
    facts: Facts
    variant: Variant
    models: tuple[tuple[str, str], ...] = ()

    @property
    def frame(self) -> Frame:
        return Frame(self.brief.channel, self.brief.locale, frozenset(self.brief.slots),
                     self.brief.claims, self.brief.banned)


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that was answered, and whether its draft was used (`rejected`: by a gate)."""

    call: ModelCall
    reply: ModelReply
    rejected: bool


@dataclass(slots=True)
class Climb:
    """What came of a task. `message` has its item facts bound; late slots stand.

    unstated   figures that were known, and are not in the message
    """

    message: Draft | None = None
    rung: str = ""
    model: str = ""
    prompt_hash: str = ""
    unstated: frozenset[str] = frozenset()
    attempts: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    @property
    def gates_json(self) -> str:
        """Every attempt: {rung, gates: {gate: ok or the reason}}, in order."""
        return orjson.dumps(self.attempts).decode()


def climb(task: Task) -> Generator[ModelCall, ModelReply, Climb]:
    """Yields calls, is sent replies, returns what came of it."""
    found = Climb()
    frame = task.frame
    for rung, model in task.models:
        if (yield from _ask(task, frame, found, rung, model)):
            return found
    if not task.variant.body and grammar.speaks(task.brief.locale):
        draft = grammar.write(task.brief, task.decision_id)
        if _passes(task, frame, found, "grammar", draft) is None:
            found.model = grammar.NAME
            return found
    approved = (Draft(task.variant.subject.strip(), task.variant.body.strip())
                if task.variant.body else grammar.template(task.brief))
    approved = figures.without_unknown(approved, task.brief.figures)
    if _passes(task, frame, found, "template", approved) is None:
        found.model = grammar.TEMPLATE_NAME
    return found


def _ask(task: Task, frame: Frame, found: Climb, rung: str, model: str,
         ) -> Generator[ModelCall, ModelReply, bool]:
    """Ask one model, at most twice; True when its draft passed."""
    fault: Fault | None = None
    for _ in range(_ATTEMPTS_MAX):
        call = generation.question(task.brief, rung=rung, model=model, fault=fault)
        reply = yield call
        if reply.result != "ok":
            found.attempts.append({"rung": rung, "gates": {"call": reply.detail or reply.result}})
            if reply.result != "not_made":
                found.asked.append(Asked(call, reply, False))
            return False
        answer = generation.read_answer(reply.text)
        if isinstance(answer, Fault):
            fault = answer
            found.attempts.append({"rung": rung, "gates": {fault.gate: fault.says}})
        else:
            fault = _passes(task, frame, found, rung, answer)
        found.asked.append(Asked(call, reply, fault is not None))
        if fault is None:
            found.model, found.prompt_hash = model, call.prompt_hash
            return True
    return False


def _passes(task: Task, frame: Frame, found: Climb, rung: str, draft: Draft) -> Fault | None:
    """Judge the skeleton and then the final bytes; note it; on a pass the message is set."""
    said = task.brief.figures
    skeleton = grammar.with_footer(figures.placed(draft, said), task.brief)
    message = bind(skeleton, task.facts)
    fault = (figures.misplaced(draft, said) or skeleton_fault(skeleton, frame)
             or final_fault(message, frame, task.facts.texts))
    found.attempts.append({"rung": rung, "gates": _PASSED if fault is None
                           else {fault.gate: fault.says}})
    if fault is None:
        found.message, found.rung = message, rung
        found.unstated = frozenset(slot for slot, _ in said if f"{{{slot}}}" not in skeleton.body)
    return fault


def bind(skeleton: Draft, facts: Facts) -> Draft:
    """The skeleton with its facts filled in, in one pass; slots without a fact stand.

    A value is never read for slots again, so a title that looks like a slot stays text.
    """
    texts = facts.texts
    return Draft(SLOT.sub(lambda m: texts.get(m[1], m[0]), skeleton.subject),
                 SLOT.sub(lambda m: texts.get(m[1], m[0]), skeleton.body))
