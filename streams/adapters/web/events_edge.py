"""POST /v1/events: events over HTTP, for apps without a Kafka client.

This edge checks framing and size only and answers when the broker has every event; whether an event
is valid is admit's business, which keeps its reason (`kairos quarantine`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streams.adapters.web.bodies import Fault, TooLargeError, elements, read_body
from streams.adapters.web.parts import Parts, error
from streams.pipeline import RAW

EVENTS_MAX: Final = 1_000
BODY_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event as it goes to `events.raw`. `partition` None: by its key."""

    value: bytes
    key: bytes | None
    partition: int | None = None


def _key(event: dict[str, Any]) -> bytes | None:
    """One person's events stay in order: they share a key."""
    for name in ("user_id", "anonymous_id"):
        subject = event.get(name)
        if isinstance(subject, str) and subject:
            return subject.encode("utf-8", "replace")
    return None


def arrivals(body: bytes, *, bytes_max: int, partitions: int) -> list[Arrival] | Fault:
    """The events of a request, or what is wrong with it.

    A `clock` or `item_changed` event goes to every partition: each holds people who need to hear.
    So does `erase`: each may have taken something of whom it is about.
    """
    found = elements(body, count_max=EVENTS_MAX)
    if isinstance(found, Fault):
        return found
    out: list[Arrival] = []
    for place, event in found:
        value = body.strip() if not place else orjson.dumps(event)
        if len(value) > bytes_max:
            return Fault("too_large", f"an event has {len(value)} bytes, at most {bytes_max} "
                         "are taken", place, 413)
        if event.get("event_type") in ("clock", "item_changed", "erase"):
            out += [Arrival(value, None, partition) for partition in range(partitions)]
        else:
            out.append(Arrival(value, _key(event)))
    return out


class EventsEdge:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def routes(self) -> list[Route]:
        return [Route("/v1/events", self.take, methods=["POST"])]

    async def take(self, request: Request) -> Response:
        """202 with the number of events once the broker has them all; 503 says: send again."""
        settings, publisher = self._parts.settings, self._parts.publisher
        try:
            body = await read_body(request, BODY_BYTES_MAX)
        except TooLargeError as fault:
            return error("too_large", str(fault), status=413)
        found = arrivals(body, bytes_max=settings.event_bytes_max, partitions=settings.partitions)
        if isinstance(found, Fault):
            return error(found.reason, found.detail, field=found.field, status=found.status)
        await asyncio.gather(*(publisher.publish(RAW, each.value, key=each.key,
                                                 partition=each.partition) for each in found))
        clocks = sum(each.partition == 0 for each in found)
        events = sum(each.partition is None for each in found)
        return JSONResponse({"accepted": events + clocks}, 202)
