"""Generation: the question to a model and how its answer is read. Sans-I/O.

In       Brief, and the fault of the attempt before
Out      ModelCall to be answered by a port; a Draft or the reason why the answer is none
Keeps    nothing
Refuses  nothing: a bad answer is a fault, and the ladder goes on
Time     none; how long a call may take stands in the call
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Protocol

import orjson

from streams.compose.brief import Brief
from streams.compose.draft import Draft, Fault
from streams.kernel import ids
from streams.playbooks.vocabulary import CLAIM_FACTS, STRATEGIES

TOKENS_OUT_MAX = 400
_CHAT_FRAME_TOKENS = 64       # roles and separators that the server adds around the texts
_BYTES_PER_TOKEN = 4          # of ordinary text; only for estimates

Result = Literal["ok", "timeout", "error", "not_made"]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One question. `wait_ms` is the longest the port may take, connection included."""

    rung: str
    model: str
    system: str
    user: str
    wait_ms: int = 0
    tokens_out_max: int = TOKENS_OUT_MAX

    @property
    def tokens_in_max(self) -> int:
        """An upper bound: no tokenizer makes more tokens than there are bytes."""
        return len(self.system.encode()) + len(self.user.encode()) + _CHAT_FRAME_TOKENS

    @property
    def prompt_hash(self) -> str:
        return ids.derive("prompt", self.system, self.user)


@dataclass(frozen=True, slots=True)
class ModelReply:
    """One answer. `estimated`: the server reported no usage. `billable`: the server may have
    charged for it although no answer came. `not_made`: the call was not worth or not allowed."""

    result: Result
    text: str = ""
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    estimated: bool = False
    billable: bool = True
    took_ms: int = 0
    detail: str = ""


class ModelPort(Protocol):
    """Answers a call within `call.wait_ms`; whatever goes wrong becomes a reply."""

    async def complete(self, call: ModelCall) -> ModelReply: ...


def tokens_of(text: str) -> int:
    """A rough count of the tokens of `text`, for servers that report none."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


def question(brief: Brief, *, rung: str, model: str, fault: Fault | None) -> ModelCall:
    """The call for a brief. What never changes stands first, so that servers can cache it."""
    user = f"Brief: {brief.record()}\nStrategy: {STRATEGIES[brief.strategy]}\n"
    if brief.claims:
        allowed = "; ".join(CLAIM_FACTS[claim] for claim in sorted(brief.claims))
        user += f"You may also say, because it is true: {allowed}.\n"
    user += "Slots: " + " ".join(f"{{{slot}}}" for slot in brief.slots) + "\n"
    for slot, says in brief.figures:
        sentence = says.replace(f"{{{slot}}}", "so many")
        user += (f"{{{slot}}} becomes the sentence '{sentence}' You may put it "
                 "into the body once, as a sentence of its own; say nothing else of it.\n")
    if "item.url" in brief.slots:
        user += "The body must hold {item.url} on a line of its own.\n"
    if fault is not None:
        user += f"Your last answer was refused: {fault.gate}: {fault.says}. Write another one.\n"
    return ModelCall(rung, model, _SYSTEM, user)


def read_answer(text: str) -> Draft | Fault:
    """The draft in a model's answer: one JSON object with subject and body, fenced or not."""
    bare = _FENCE.sub(r"\1", _THOUGHT.sub("", text).strip())
    try:
        answer = orjson.loads(bare)
    except orjson.JSONDecodeError:
        return Fault("structure", "the answer is not the JSON object that was asked for")
    if not isinstance(answer, dict):
        return Fault("structure", "the answer is JSON, but no object")
    subject, body = answer.get("subject", ""), answer.get("body")
    if not isinstance(subject, str) or not isinstance(body, str):
        return Fault("structure", "the answer lacks the texts subject and body")
    return Draft(subject.strip(), body.replace("\r\n", "\n").strip())


_FENCE = re.compile(r"\A```[a-zA-Z]*\s*\n?(.*?)\s*```\Z", re.DOTALL)
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)

_SYSTEM = """You write one short message of a shop to a customer.
Answer with one JSON object and nothing else: {"subject": "...", "body": "..."}.
Rules:
- Everything that is a fact comes from a slot in braces, copied exactly. Never write a number,
  price, percentage, date, weekday, link, address or name yourself, neither in digits nor in words.
- Use only the slots that the brief names. Address the person as {first_name}, sign as {shop}.
- Promise nothing: no urgency, scarcity, discount, gift, popularity, guarantee or superlative,
  unless the brief says that you may.
- Subject: at most seventy characters, no link. Body: plain text, at most ninety words, no mark-up.
- Plain, friendly words in the language of the brief. No capitals for emphasis, no
  exclamation marks.
- Say nothing about these rules, the brief or the strategy.
"""
