"""The mail catcher: a real SMTP server that delivers nowhere, and a small HTTP API to its store.

`fail_first` and `refuse` make it behave as mail servers do on bad days, for trying out retries.
"""

from __future__ import annotations

import asyncio
import fnmatch
import socket
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streams.adapters.mailbox import Mail, Mailbox, take_apart

MAIL_BYTES_MAX = 10 * 1024 * 1024
_LIMIT_MAX = 1_000


@dataclass(slots=True)
class Catcher:
    """The SMTP side.

    fail_first   so many messages are answered 451 (try later) before the first is taken
    refuse       recipients that fit this pattern (`*@bounce.example`) are answered 550
    """

    mailbox: Mailbox
    now_ms: Callable[[], int]
    fail_first: int = 0
    refuse: str = ""

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope,
                          address: str, _options: list[str]) -> str:
        if self.refuse and fnmatch.fnmatch(address.lower(), self.refuse.lower()):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        if self.fail_first > 0:
            self.fail_first -= 1
            return "451 4.3.0 busy, try again later"
        raw = envelope.content
        assert isinstance(raw, bytes)
        try:
            self.mailbox.add(raw, [str(to) for to in envelope.rcpt_tos], now_ms=self.now_ms())
        except sqlite3.Error as fault:
            return f"452 4.3.1 cannot store the message: {fault}"
        return "250 2.0.0 taken"

    async def listen(self, where: socket.socket) -> asyncio.Server:
        """Serve SMTP on a bound socket in the running loop."""
        def session() -> SMTP:
            return SMTP(self, hostname="mail.kairos.invalid", ident="Kairos mail catcher",
                        data_size_limit=MAIL_BYTES_MAX, enable_SMTPUTF8=True, timeout=300)
        return await asyncio.get_running_loop().create_server(session, sock=where, backlog=256)


def _as_json(mail: Mail) -> dict[str, Any]:
    opened = take_apart(mail.raw)
    return {"id": mail.id, "to": mail.recipient, "subject": mail.subject,
            "decision": mail.decision_id, "variant": opened.variant,
            "received_ms": mail.received_ms, "repeats": mail.repeats,
            "text": opened.text, "links": list(opened.links),
            "open_url": opened.first("/o/"), "click_url": opened.first("/c/"),
            "unsubscribe_url": opened.first("/u/")}


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default


def api(mailbox: Mailbox) -> Starlette:
    """The HTTP side: /healthz, /api/messages?after=&limit=, /api/messages/{id}/raw."""
    async def healthz(_request: Request) -> Response:
        stored, repeats = mailbox.counts()
        return JSONResponse({"ok": True, "messages": stored, "repeats": repeats})

    async def messages(request: Request) -> Response:
        after = _number(request, "after", 0)
        limit = min(_number(request, "limit", 100), _LIMIT_MAX)
        mails = mailbox.after(after, limit)
        found = await asyncio.to_thread(lambda: [_as_json(mail) for mail in mails])
        return JSONResponse({"messages": found,
                             "next_after": found[-1]["id"] if found else after})

    async def raw(request: Request) -> Response:
        mail = mailbox.find(request.path_params["mail_id"])
        if mail is None:
            return JSONResponse({"error": {"reason": "not_found", "field": "id",
                                           "detail": "no message has this id"}}, 404)
        return Response(mail.raw, media_type="message/rfc822")

    return Starlette(routes=[Route("/healthz", healthz), Route("/api/messages", messages),
                             Route("/api/messages/{mail_id:int}/raw", raw)])
