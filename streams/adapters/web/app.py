"""The web process: where links lead, where apps may post, and where an operator looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from streams.adapters.web.events_edge import EventsEdge
from streams.adapters.web.parts import Parts, unreachable
from streams.adapters.web.people import People
from streams.adapters.web.profiles import Profiles
from streams.adapters.web.reading import Reading
from streams.adapters.web.receipts_edge import ReceiptsEdge
from streams.kernel.errors import UnreachableError


def create_app(parts: Parts) -> Starlette:
    """The application. Closes the publisher when it stops, after the last requests."""
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        parts.publisher.close()

    routes = [route for group in (People, EventsEdge, ReceiptsEdge, Profiles, Reading)
              for route in group(parts).routes]
    return Starlette(routes=routes, lifespan=lifespan,
                     exception_handlers={UnreachableError: unreachable})
