"""What the web process is made of, and the answers that all its endpoints share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from streams.adapters.web.publishing import PublishPort
from streams.adapters.web.records import Ready
from streams.kernel import moments
from streams.kernel.errors import UnreachableError
from streams.settings import Settings

log = logging.getLogger("kairos.web")
PATIENCE_S: Final = 2.0
_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "pages"), autoescape=True,
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_PAGES.filters["moment"] = lambda ms: moments.show_moment(ms)[:19].replace("T", " ")
_HEADERS = {
    "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
                               " frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"}


@dataclass(slots=True)
class Parts:
    """link_key opens the tokens in links; webhook_key checks the signature on receipts;
    operator_key is what an operator's request must bear."""

    settings: Settings
    publisher: PublishPort
    link_key: bytes = field(repr=False)
    webhook_key: bytes = field(repr=False)
    operator_key: str = field(repr=False)
    now_ms: Callable[[], int]
    _late: set[asyncio.Task[None]] = field(default_factory=set)

    async def publish(self, records: Iterable[Ready]) -> None:
        """Return when the broker has them all. Raises UnreachableError otherwise."""
        await asyncio.gather(*(self.publisher.publish(ready.topic, ready.value, key=ready.key,
                                                      partition=ready.partition)
                               for ready in records))

    async def publish_soon(self, records: Iterable[Ready]) -> None:
        """Publish, but let nobody wait longer than a moment for a picture or a redirect."""
        task = asyncio.create_task(self._publish_or_log(list(records)))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        await asyncio.wait({task}, timeout=PATIENCE_S)

    async def _publish_or_log(self, records: list[Ready]) -> None:
        try:
            await self.publish(records)
        except UnreachableError as fault:
            log.warning("a receipt is lost: %s", fault)


def page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_PAGES.get_template(name).render(**values), status, headers=_HEADERS)


def notice(title: str, words: str, status: int) -> HTMLResponse:
    """A page that says one thing."""
    return page("notice.html", status, title=title, words=words)


def error(reason: str, detail: str, *, status: int, field: str = "",
          headers: dict[str, str] | None = None) -> JSONResponse:
    """The one error shape of the API: a stable reason, the field at fault, a sentence."""
    return JSONResponse({"error": {"reason": reason, "field": field, "detail": detail}}, status,
                        headers=headers)


async def unreachable(_request: Request, fault: Exception) -> Response:
    """The broker does not take it: nothing was promised, the sender should come again."""
    return error("broker_unreachable", str(fault), status=503, headers={"Retry-After": "5"})
