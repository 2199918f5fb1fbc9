"""What people do with a message: open it (/o), click it (/c), have no more of it (/u)."""

from __future__ import annotations

import base64
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from streams.adapters.web.bodies import TooLargeError, read_body
from streams.adapters.web.machines import is_machine
from streams.adapters.web.parts import Parts, notice, page
from streams.adapters.web.records import Kind, ending, receipt
from streams.deliver import links
from streams.deliver.links import Link
from streams.kernel.errors import UnreachableError

PIXEL: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
FORM_BYTES_MAX: Final = 16 * 1024
_NO_STORE = {"Cache-Control": "no-store, no-cache, must-revalidate, max-age=0",
             "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


class People:
    """The endpoints behind the links in messages."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def routes(self) -> list[Route]:
        return [Route("/o/{token}.gif", self.opened, methods=["GET"]),
                Route("/c/{token}", self.clicked, methods=["GET"]),
                Route("/u/{token}", self.ask, methods=["GET"]),
                Route("/u/{token}", self.unsubscribe, methods=["POST"])]

    def _link(self, request: Request, kind: links.Kind) -> Link | None:
        """The link of a request when it is ours and made for this very use."""
        link = links.read(self._parts.link_key, request.path_params["token"])
        return link if link is not None and link.kind == kind else None

    async def _noted(self, request: Request, link: Link, kind: Kind) -> None:
        now_ms = self._parts.now_ms()
        await self._parts.publish_soon([receipt(
            link, kind, event_ms=link.now_ms(now_ms), now_ms=now_ms,
            partitions=self._parts.settings.partitions,
            machine=is_machine(request.method, request.headers))])

    async def opened(self, request: Request) -> Response:
        """The picture is served to anyone; only our own tokens leave a receipt."""
        link = self._link(request, "open")
        if link is not None:
            await self._noted(request, link, "opened")
        return Response(PIXEL, media_type="image/gif", headers=_NO_STORE)

    async def clicked(self, request: Request) -> Response:
        """To the target, and nowhere that we did not sign."""
        link = self._link(request, "click")
        if link is None or not links.is_web_address(link.target):
            return notice("This link is not valid",
                          "It may have been cut off. Please open it from the message again.", 404)
        await self._noted(request, link, "clicked")
        return RedirectResponse(link.target, 302, headers=_NO_STORE)

    async def ask(self, request: Request) -> Response:
        """A page with a button: a scanner that follows links unsubscribes nobody."""
        link = self._link(request, "unsubscribe")
        if link is None:
            return self._stranger()
        return page("unsubscribe.html", sender=_sender(link), done=False)

    async def unsubscribe(self, request: Request) -> Response:
        """The button, or a mail program's one click (RFC 8058); done when the broker has it."""
        link = self._link(request, "unsubscribe")
        if link is None:
            return self._stranger()
        try:
            one_click = b"List-Unsubscribe=One-Click" in await read_body(request, FORM_BYTES_MAX)
        except TooLargeError:
            return notice("This is too much", "A button sends less. Please open the link from the "
                          "message again.", 413)
        now_ms, partitions = self._parts.now_ms(), self._parts.settings.partitions
        event_ms = link.now_ms(now_ms)
        try:
            await self._parts.publish(
                make(link, "unsubscribed", event_ms=event_ms, now_ms=now_ms, partitions=partitions)
                for make in (ending, receipt))
        except UnreachableError:
            return self._not_yet()
        if one_click:
            return PlainTextResponse("You are unsubscribed.\n", headers=_NO_STORE)
        return page("unsubscribe.html", sender=_sender(link), done=True)

    def _stranger(self) -> Response:
        return notice("This link is not valid", "It may have been cut off. Please open it from the "
                      "message again, or answer the message and ask to be taken off.", 404)

    def _not_yet(self) -> Response:
        answer = notice("Not yet", "Your wish could not be stored just now, so it is not done. "
                        "Please press the button again in a minute.", 503)
        answer.headers["Retry-After"] = "30"
        return answer


def _sender(link: Link) -> str:
    return "us" if link.tenant == "default" else link.tenant
