"""What a shopper has at home: a mailbox to look into, and a browser that follows links."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from streams.kernel.errors import UnreachableError
from streams.settings import Settings
from streams.worlds.storefront.simulation import Mail, Reaction

_AGENT = "Mozilla/5.0 (X11; Linux x86_64) StorefrontShopper/1.0"
_WAIT_S = 15.0
_HANDS = 6


class MailboxReader:
    """Reads the mail catcher's HTTP API, one port above its SMTP port."""

    def __init__(self, settings: Settings) -> None:
        self._base = f"http://{_reachable(settings)}:{settings.smtp_port + 1}"
        self._client = httpx.Client(base_url=self._base, timeout=_WAIT_S, trust_env=False)

    def after(self, mail_id: int, limit: int) -> list[Mail]:
        """Messages that came after `mail_id`, oldest first. Raises UnreachableError."""
        try:
            answer = self._client.get("/api/messages", params={"after": mail_id, "limit": limit})
            answer.raise_for_status()
            found = answer.json()["messages"]
        except (httpx.HTTPError, ValueError, KeyError) as fault:
            raise UnreachableError(f"the mail catcher at {self._base} does not answer ({fault})",
                                   "see `kairos status`") from None
        return [Mail(id=one["id"], to=one["to"], decision_id=one["decision"],
                     variant=one.get("variant", ""), open_url=one.get("open_url", ""),
                     click_url=one.get("click_url", ""),
                     unsubscribe_url=one.get("unsubscribe_url", "")) for one in found]

    def close(self) -> None:
        self._client.close()


class ShopperBrowser:
    """Follows links over HTTP, a few at a time. `done` counts answers by kind and status."""

    def __init__(self) -> None:
        self._client = httpx.Client(timeout=_WAIT_S, trust_env=False, follow_redirects=False,
                                    headers={"User-Agent": _AGENT})
        self._pool = ThreadPoolExecutor(_HANDS, thread_name_prefix="shopper")
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()

    def do(self, reaction: Reaction) -> None:
        self._pool.submit(self._follow, reaction)

    def _follow(self, reaction: Reaction) -> None:
        """Open, then click as far as the shop's own address, or unsubscribe with one click."""
        if reaction.open_url:
            self._ask("opened", "GET", reaction.open_url)
        if reaction.click_url:
            self._ask("clicked", "GET", reaction.click_url)
        if reaction.unsubscribe_url:
            self._ask("unsubscribed", "POST", reaction.unsubscribe_url)

    def _ask(self, kind: str, method: str, url: str) -> None:
        content = b"List-Unsubscribe=One-Click" if method == "POST" else None
        try:
            status = self._client.request(method, url, content=content).status_code
            word = kind if status in (200, 302, 303) else f"{kind} failed ({status})"
        except httpx.HTTPError as fault:
            word = f"{kind} failed ({type(fault).__name__})"
        with self._lock:
            self.done[word] += 1

    def close(self) -> None:
        """Come back when every link has been followed."""
        self._pool.shutdown(wait=True)
        self._client.close()


def _reachable(settings: Settings) -> str:
    return "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
