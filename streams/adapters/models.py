"""The model server: any that speaks OpenAI's chat completions. The one home of `openai`.

The library's own timeout is per read and its retries obey Retry-After for up to two minutes, so
neither is used: one attempt, and our own deadline around all of it. Servers differ in what they
accept; an option that one refuses is left out from then on.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
from openai import AsyncOpenAI

from streams.compose.agent import ComposeLogic
from streams.compose.calls import ComposeParams
from streams.compose.generation import ModelCall, ModelReply
from streams.cost import price_book
from streams.cost.ledger import Budget
from streams.kernel.money import to_micros
from streams.kernel.side_inputs import SideInputs
from streams.settings import Settings

_DETAIL_CHARS_MAX = 160


class OpenAIWriter:
    """Answers model calls. Total: whatever the server does becomes a reply within the deadline.

    base_url   of an OpenAI-compatible server, for example http://127.0.0.1:8000/v1
    key        its API key; servers without keys get a word, because the library wants one
    """

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url, self._key = base_url, key or "none"
        self._client: AsyncOpenAI | None = None
        self._plain_only = False

    async def complete(self, call: ModelCall) -> ModelReply:
        started_s = time.monotonic()
        reply = await self._guarded(call)
        took_ms = round((time.monotonic() - started_s) * 1000)
        return replace(reply, took_ms=took_ms)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _guarded(self, call: ModelCall) -> ModelReply:
        """One attempt within `call.wait_ms`."""
        try:
            async with asyncio.timeout(call.wait_ms / 1000):
                return read_completion(await self._ask(call))
        except TimeoutError:
            return ModelReply("timeout", detail="timeout")
        except openai.APITimeoutError:
            return ModelReply("timeout", detail="timeout")
        except openai.APIStatusError as fault:
            return ModelReply("error", billable=False, detail=f"http {fault.status_code}")
        except openai.APIConnectionError as fault:
            return ModelReply("error", billable=False, detail=_short(fault))
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, KeyError) as fault:
            return ModelReply("error", detail=_short(fault))

    async def _ask(self, call: ModelCall) -> object:
        """The library's answer; once more without the options when the server refuses them."""
        if not self._plain_only:
            try:
                return await self._send(call, _OPTIONS | {
                    "max_completion_tokens": call.tokens_out_max})
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                self._plain_only = True
        return await self._send(call, {"max_tokens": call.tokens_out_max})

    async def _send(self, call: ModelCall, options: dict[str, Any]) -> object:
        if self._client is None:
            self._client = AsyncOpenAI(base_url=self._base_url, api_key=self._key, max_retries=0)
        messages: Any = [{"role": "system", "content": call.system},
                         {"role": "user", "content": call.user}]
        return await self._client.chat.completions.create(
            model=call.model, messages=messages, timeout=call.wait_ms / 1000, **options)


_OPTIONS: dict[str, Any] = {"response_format": {"type": "json_object"}, "reasoning_effort": "none"}


def read_completion(answer: object) -> ModelReply:
    """The reply in what the library returned. A body that was no JSON comes as a plain text; it is
    handed on, and the gates refuse it."""
    if isinstance(answer, str):
        return ModelReply("ok", answer, estimated=True)
    choices = getattr(answer, "choices", None)
    message = getattr(choices[0], "message", None) if choices else None
    text = getattr(message, "content", None)
    usage = getattr(answer, "usage", None)
    sent, written = (getattr(usage, "prompt_tokens", None),
                     getattr(usage, "completion_tokens", None))
    if not isinstance(text, str):
        text = ""
    if not isinstance(sent, int) or not isinstance(written, int) or sent < 0 or written < 0:
        return ModelReply("ok", text, estimated=True)
    details = getattr(usage, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", None)
    return ModelReply("ok", text, sent, cached if isinstance(cached, int) and cached > 0 else 0,
                      written)


def compose_logic(settings: Settings, side: SideInputs) -> ComposeLogic:
    """The compose stage as the settings describe it: with a model server, or the grammar alone."""
    writer = None
    if settings.model_url:
        writer = OpenAIWriter(settings.model_url, settings.model_key)
    prices = price_book.load(Path(settings.price_book) if settings.price_book
                             else price_book.SHIPPED)
    return ComposeLogic(
        side, Budget(to_micros(settings.budget_usd_day), settings.partitions), prices, writer,
        ComposeParams(model_frontier=settings.model_frontier, model_small=settings.model_small,
                      wait_ms=settings.model_wait_ms, calls_max=settings.model_calls_max))


def _short(fault: Exception) -> str:
    return f"{type(fault).__name__} {fault}"[:_DETAIL_CHARS_MAX]
