"""What an operator reads in the browser: the index, the mailbox, the report."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from streams.adapters.mailbox import Mail, Mailbox, take_apart
from streams.adapters.web.parts import Parts, notice, page

PAGE_COUNT: Final = 50
# The message is shown without scripts and without pictures: reading it here opens nothing. Links
# work, in a new tab.
_SANDBOX = {
    "Content-Security-Policy": "sandbox allow-popups allow-popups-to-escape-sandbox; "
                               "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Reading:
    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        self._store = parts.settings.home / "mail" / "mailbox.sqlite"
        self._open_mailbox: Mailbox | None = None

    @property
    def routes(self) -> list[Route]:
        return [Route("/", self.index), Route("/healthz", self.healthz),
                Route("/report", self.report), Route("/report.json", self.report_json),
                Route("/mailbox", self.mailbox), Route("/mailbox/{mail_id:int}", self.mail),
                Route("/mailbox/{mail_id:int}/html", self.mail_html),
                Route("/mailbox/{mail_id:int}/raw", self.mail_raw)]

    def _mailbox(self) -> Mailbox | None:
        """The catcher's store once there is one; the catcher makes it."""
        if self._open_mailbox is None and self._store.exists():
            self._open_mailbox = Mailbox(self._store)
        return self._open_mailbox

    async def healthz(self, _request: Request) -> Response:
        return JSONResponse({"ok": True})

    async def index(self, request: Request) -> Response:
        settings, box = self._settings, self._mailbox()
        return page("index.html", mails=box.counts()[0] if box else 0,
                    has_report=(settings.home / "report" / "index.html").exists(),
                    base=str(request.base_url).rstrip("/"),
                    clickhouse="a server of your own (KAIROS_CLICKHOUSE)" if settings.clickhouse
                    else f"http://{settings.host}:{settings.clickhouse_port}",
                    broker=settings.bootstrap)

    async def report(self, _request: Request) -> Response:
        path = self._settings.home / "report" / "index.html"
        if not path.exists():
            return notice("There is no report yet",
                          "`kairos demo` and `kairos report` write it.", 404)
        return FileResponse(path, media_type="text/html", headers={"Cache-Control": "no-store"})

    async def report_json(self, _request: Request) -> Response:
        path = self._settings.home / "report" / "report.json"
        if not path.exists():
            return JSONResponse({"error": {"reason": "not_found", "field": "",
                                           "detail": "there is no report yet"}}, 404)
        return FileResponse(path, media_type="application/json",
                            headers={"Cache-Control": "no-store"})

    async def mailbox(self, request: Request) -> Response:
        """Newest first; ?q= looks in recipient, subject and decision id."""
        box, asked = self._mailbox(), request.query_params
        search = asked.get("q", "")[:200]
        page_at = asked.get("before", "")
        is_number = page_at.isascii() and page_at.isdigit() and len(page_at) < 19
        before = int(page_at) if is_number else None
        found = box.latest(PAGE_COUNT + 1, before=before, search=search) if box else []
        stored, repeats = box.counts() if box else (0, 0)
        return page("mailbox.html", mails=found[:PAGE_COUNT], search=search, stored=stored,
                    repeats=repeats,
                    older=found[PAGE_COUNT - 1].id if len(found) > PAGE_COUNT else None)

    def _found(self, request: Request) -> Mail | None:
        box = self._mailbox()
        return box.find(request.path_params["mail_id"]) if box else None

    async def mail(self, request: Request) -> Response:
        mail = self._found(request)
        if mail is None:
            return self._gone()
        return page("mail.html", mail=mail, opened=take_apart(mail.raw),
                    source=mail.raw.decode("utf-8", "replace"))

    async def mail_html(self, request: Request) -> Response:
        mail = self._found(request)
        if mail is None:
            return self._gone()
        return HTMLResponse('<base target="_blank">' + take_apart(mail.raw).html,
                            headers=_SANDBOX)

    async def mail_raw(self, request: Request) -> Response:
        mail = self._found(request)
        if mail is None:
            return self._gone()
        return Response(mail.raw, media_type="text/plain; charset=utf-8",
                        headers={"X-Content-Type-Options": "nosniff"})

    def _gone(self) -> Response:
        return notice("No such message", "It may have made room for newer ones.", 404)
