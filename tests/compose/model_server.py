"""A real HTTP server that speaks chat completions, well or badly, as the test asks."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

GOOD = json.dumps({"subject": "Still yours: {item.title}", "body": (
    "Hello {first_name},\n\nyou left {item.title} in your cart, and it is where you put it. If you "
    "have a question, just answer this message.\n\n{item.url}\n\n{shop}")})
WRONG_PRICE = json.dumps({"subject": "Your cart", "body": json.loads(GOOD)["body"].replace(
    "{shop}", "It is only £1.99.\n{shop}")})
USAGE = {"prompt_tokens": 800, "completion_tokens": 100, "total_tokens": 900,
         "prompt_tokens_details": {"cached_tokens": 500}}


def completion(text: str | None, usage: dict[str, Any] | None = USAGE) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "finish_reason": "stop",
             "message": {"role": "assistant", "content": text}}]}
    return {**found, "usage": usage} if usage is not None else found


async def _hang(_seen: Seen) -> Response:
    await asyncio.sleep(30)
    return PlainTextResponse("late")


async def _trickle(_seen: Seen) -> Response:
    async def drops() -> AsyncIterator[bytes]:
        for char in json.dumps(completion(GOOD)):
            await asyncio.sleep(0.05)
            yield char.encode()
    return StreamingResponse(drops(), media_type="application/json")


async def _picky(seen: Seen) -> Response:
    """Knows no options: refuses them with 400, as small servers do."""
    if "response_format" in seen.bodies[-1] or "reasoning_effort" in seen.bodies[-1]:
        return JSONResponse({"error": {"message": "unknown parameter"}}, 400)
    return JSONResponse(completion(GOOD))


async def _mends(seen: Seen) -> Response:
    """Wrong at first, right when told what was wrong."""
    told = "was refused" in seen.bodies[-1]["messages"][1]["content"]
    return JSONResponse(completion(GOOD if told else WRONG_PRICE))


def _says(answer: Any, status: int = 200, **headers: str) -> Behaviour:
    async def behave(_seen: Seen) -> Response:
        return JSONResponse(answer, status, headers={k.replace("_", "-"): v
                                                     for k, v in headers.items()})
    return behave


async def _html(_seen: Seen) -> Response:
    return HTMLResponse("<!doctype html><html><body>Welcome to nginx</body></html>")


@dataclass(slots=True)
class Seen:
    bodies: list[dict[str, Any]] = field(default_factory=list)


Behaviour = Callable[[Seen], Awaitable[Response]]
BEHAVIOURS: dict[str, Behaviour] = {
    "good": _says(completion(GOOD)),
    "fenced": _says(completion(f"```json\n{GOOD}\n```")),
    "no usage": _says(completion(GOOD, None)),
    "picky": _picky,
    "mends": _mends,
    "hangs": _hang,
    "trickles": _trickle,
    "html": _html,
    "prose": _says(completion("Sure! Here is a lovely e-mail for your customer.")),
    "wrong price": _says(completion(WRONG_PRICE)),
    "refusal": _says(completion(None)),
    "no choices": _says({"id": "c", "object": "chat.completion", "choices": []}),
    "json list": _says([1, 2]),
    "429": _says({"error": {"message": "slow down"}}, 429, retry_after="60"),
    "500": _says({"error": {"message": "oh no"}}, 500),
    "401": _says({"error": {"message": "no key"}}, 401),
}


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[tuple[str, Seen]]:
    """The base URL of a server that behaves as `name`, and what it has been asked."""
    seen = Seen()

    async def complete(request: Request) -> Response:
        seen.bodies.append(await request.json())
        return await BEHAVIOURS[name](seen)

    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    server = _Server(uvicorn.Config(app, log_level="critical", lifespan="off",
                                    timeout_graceful_shutdown=0))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve([listener]))
        await server.is_up.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", seen
        finally:
            server.should_exit = True
            server.force_exit = True
            await task
