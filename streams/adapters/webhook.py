"""The webhook channel: posts signed JSON, with the decision id as idempotency key."""

from __future__ import annotations

import time

import httpx

from streams.deliver import signature
from streams.deliver.ports import Parcel, Reply

_LATER = frozenset({408, 409, 423, 425, 429})


def _understand(response: httpx.Response) -> Reply:
    detail = f"{response.status_code} {response.reason_phrase}"
    if response.is_success:
        return Reply("taken", detail)
    if response.status_code in (502, 503, 504):
        return Reply("down", detail)
    if response.status_code in _LATER or response.is_server_error:
        return Reply("later", detail)
    return Reply("refused", detail)          # redirects too: a signed body is not sent elsewhere


class WebhookChannel:
    """A ChannelPort. The receiver proves the sender by the signature and drops repeats by key."""

    def __init__(self, url: str, key: bytes, *, timeout_s: float = 10.0,
                 in_flight: int = 16) -> None:
        self._url, self._key = url, key
        self._client = httpx.AsyncClient(
            timeout=timeout_s, follow_redirects=False,
            limits=httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight))

    async def send(self, parcel: Parcel) -> Reply:
        headers = {
            "Content-Type": "application/json", "Idempotency-Key": parcel.decision_id,
            signature.HEADER: signature.sign(self._key, parcel.content, unix_s=int(time.time()))}
        try:
            return _understand(await self._client.post(self._url, content=parcel.content,
                                                       headers=headers))
        except (httpx.TransportError, httpx.InvalidURL) as fault:
            return Reply("down", f"{type(fault).__name__}: {fault}"[:200])

    async def close(self) -> None:
        await self._client.aclose()
