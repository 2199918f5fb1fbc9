"""GET /v1/profiles/{profile_id}: what the workers know of one person, for an operator;
GET /v1/entities/{entity}/{name}?tenant=...: and of an item, a category, a campaign, a property.

Only with the installation's operator key (`secrets/operator_key`) as a bearer token; nobody else is
told even whether there is such a person.
"""

from __future__ import annotations

import asyncio
import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streams.adapters.profiles import is_profile_id, read_profile
from streams.adapters.things import UnknownEntityError, read_thing
from streams.adapters.web.parts import Parts, error
from streams.kernel.errors import StateError

_BEARER = "Bearer "
_PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff"}


def _not_allowed() -> Response:
    return error("not_allowed", "send the operator key of this installation: Authorization: Bearer "
                 "KEY", field="Authorization", status=401,
                 headers={**_PRIVATE, "WWW-Authenticate": "Bearer"})


class Profiles:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._one = asyncio.Lock()      # every answer reads a partition's changelog

    @property
    def routes(self) -> list[Route]:
        return [Route("/v1/profiles/{profile_id}", self.profile, methods=["GET"]),
                Route("/v1/entities/{entity}/{name:path}", self.thing, methods=["GET"])]

    async def profile(self, request: Request) -> Response:
        """200 with the profile, 404 when no worker has a row of it."""
        if not self._is_operator(request.headers.get("authorization", "")):
            return _not_allowed()
        profile_id = request.path_params["profile_id"]
        if not is_profile_id(profile_id):
            return error("bad_value", "a profile id has 32 hex digits; `kairos profile --user` "
                         "works one out", field="profile_id", status=404, headers=_PRIVATE)
        async with self._one:
            try:
                found = await asyncio.to_thread(read_profile, self._parts.settings, profile_id)
            except StateError as fault:
                return error("state_unreadable", str(fault), status=503, headers=_PRIVATE)
        if found is None:
            return error("not_found", "no worker has a row of this person", field="profile_id",
                         status=404, headers=_PRIVATE)
        return JSONResponse(found, headers=_PRIVATE)

    async def thing(self, request: Request) -> Response:
        """200 with the thing's features, 404 when there are none or they may not be shown."""
        if not self._is_operator(request.headers.get("authorization", "")):
            return _not_allowed()
        tenant = request.query_params.get("tenant", "default")
        async with self._one:
            try:
                found = await asyncio.to_thread(
                    read_thing, self._parts.settings, tenant, request.path_params["entity"],
                    request.path_params["name"])
            except UnknownEntityError as fault:
                return error("bad_value", str(fault), field="entity", status=404, headers=_PRIVATE)
        if found is None:
            return error("not_found", "nothing is said of it: it is unknown, not among the "
                         "hottest, or of too few people", field="name", status=404,
                         headers=_PRIVATE)
        return JSONResponse(found, headers=_PRIVATE)

    def _is_operator(self, said: str) -> bool:
        key = said[len(_BEARER):] if said[:len(_BEARER)].lower() == _BEARER.lower() else ""
        return bool(self._parts.operator_key) and hmac.compare_digest(
            key.strip().encode("utf-8", "replace"), self._parts.operator_key.encode())
