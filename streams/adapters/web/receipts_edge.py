"""POST /v1/receipts/{channel}: what a channel's provider reports, signed as our webhooks are.

Each object names the message by its `token` (the `receipt_token` of the webhook) or by decision_id,
tenant, profile_id and event_ms; `kind` says what happened. A permanent bounce and a complaint also
withdraw the consent to be contacted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.event_fields import MOMENT_MS_MIN
from streams.adapters.web.bodies import Fault, TooLargeError, elements, read_body
from streams.adapters.web.parts import Parts, error
from streams.adapters.web.records import ENDINGS, KINDS, Kind, Ready, ending, receipt
from streams.deliver import links, signature
from streams.deliver.links import Link
from streams.kernel.moments import MINUTE_MS

RECEIPTS_MAX: Final = 1_000
BODY_BYTES_MAX: Final = 1024 * 1024


def _named(said: dict[str, Any], place: str, channel: str, key: bytes) -> Link | Fault:
    """Whose message it was."""
    if "token" in said:
        token = said["token"]
        link = links.read(key, token) if isinstance(token, str) else None
        if link is None or link.channel != channel:
            return Fault("bad_value", "is not a token of ours for this channel", f"{place}token")
        return link
    for name in ("decision_id", "tenant", "profile_id"):
        if name not in said:
            return Fault("missing_field", "send the token, or this field", place + name)
        if not isinstance(said[name], str) or not 0 < len(said[name]) <= 200:
            return Fault("wrong_type", "must be a text of 1 to 200 characters", place + name)
    if "event_ms" not in said:
        return Fault("missing_field", "needed where there is no token", f"{place}event_ms")
    return Link("receipt", said["decision_id"], said["profile_id"], said["tenant"], channel, 0, 0)


def _checked(said: dict[str, Any], place: str, *, latest_ms: int) -> Fault | None:
    """What is wrong with what does not depend on whose message it was.

    latest_ms   what happened later than that has not happened yet
    """
    if said.get("kind") not in KINDS:
        return Fault("bad_value", f"must be one of {', '.join(KINDS)}", f"{place}kind")
    event_ms = said.get("event_ms", latest_ms)
    if isinstance(event_ms, bool) or not isinstance(event_ms, int):
        return Fault("wrong_type", "must be whole milliseconds since 1970 UTC", f"{place}event_ms")
    if event_ms < MOMENT_MS_MIN:        # a withdrawal of 1970 would lose against every later yes
        return Fault("bad_value", "lies before March 1973: send milliseconds, not seconds",
                     f"{place}event_ms")
    if event_ms > latest_ms:            # and one of 2099 would outlast every yes
        return Fault("bad_value", "lies in the future by more than KAIROS_FUTURE_MINUTES: send "
                     "milliseconds since 1970 UTC, and check the clock", f"{place}event_ms")
    for name in ("machine", "permanent"):
        if not isinstance(said.get(name, True), bool):
            return Fault("wrong_type", "must be true or false", place + name)
    return None


def _records(said: dict[str, Any], link: Link, *, now_ms: int, partitions: int,
             ) -> Iterator[Ready]:
    kind: Kind = said["kind"]
    event_ms = said.get("event_ms", link.now_ms(now_ms))
    yield receipt(link, kind, event_ms=event_ms, now_ms=now_ms, partitions=partitions,
                  machine=said.get("machine", False))
    if kind in ENDINGS and (kind != "bounced" or said.get("permanent", True)):
        yield ending(link, kind, event_ms=event_ms, now_ms=now_ms, partitions=partitions)


class ReceiptsEdge:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def routes(self) -> list[Route]:
        return [Route("/v1/receipts/{channel}", self.take, methods=["POST"])]

    async def take(self, request: Request) -> Response:
        """202 once the broker has every receipt; one bad object refuses the whole request."""
        parts, channel = self._parts, request.path_params["channel"]
        if channel not in ("email", "webhook"):
            return error("bad_value", "the channels are email and webhook", field="channel",
                         status=404)
        try:
            body = await read_body(request, BODY_BYTES_MAX)
        except TooLargeError as fault:
            return error("too_large", str(fault), status=413)
        wrong = signature.fault(parts.webhook_key, body, request.headers.get(signature.HEADER, ""),
                                now_s=parts.now_ms() // 1000)
        if wrong:
            return error("bad_signature", wrong, field=signature.HEADER, status=401)
        found = self._understand(body, channel)
        if isinstance(found, Fault):
            return error(found.reason, found.detail, field=found.field, status=found.status)
        await parts.publish(found)
        return JSONResponse({"accepted": len(found)}, 202)

    def _understand(self, body: bytes, channel: str) -> list[Ready] | Fault:
        found = elements(body, count_max=RECEIPTS_MAX)
        if isinstance(found, Fault):
            return found
        out: list[Ready] = []
        settings, now_ms = self._parts.settings, self._parts.now_ms()
        latest_ms = now_ms + settings.future_minutes * MINUTE_MS
        for place, said in found:
            where = f"{place}." if place else ""
            link = _checked(said, where, latest_ms=latest_ms) or _named(
                said, where, channel, self._parts.link_key)
            if isinstance(link, Fault):
                return link
            out += _records(said, link, now_ms=now_ms, partitions=settings.partitions)
        return out
