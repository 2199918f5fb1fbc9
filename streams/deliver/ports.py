"""What the deliver stage asks of the world: a vault, channels and a clock that can wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message as the channel gets it: final bytes, nothing left to bind.

    address      e-mail address; empty for channels that know where to go by themselves
    content      the MIME message or the JSON body
    provider_id  what both sides call it; the same on every repeat of the same decision
    """

    decision_id: str
    address: str
    content: bytes
    provider_id: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A channel's answer.

    taken    accepted; `confirmed` when that already is a receipt (SMTP: the server answers for it)
    later    alive, but not now (SMTP 4xx, HTTP 429 or 5xx): try again with back-off
    refused  never (SMTP 5xx, HTTP 4xx); `bounced` when the message came back, `address_bad` when
             it is the address's fault and it should not be tried again
    down     nobody answers, or the server says it is closing: every message has to wait
    `detail` is the server's own words, without personal data.
    """

    verdict: Literal["taken", "later", "refused", "down"]
    detail: str = ""
    confirmed: bool = False
    bounced: bool = False
    address_bad: bool = False


class ChannelPort(Protocol):
    async def send(self, parcel: Parcel) -> Reply:
        """Hand over one parcel. Answers for everything the world does; raises only for bugs."""
        ...

    async def close(self) -> None: ...


class VaultPort(Protocol):
    def get(self, profile_id: str, name: str) -> str | None:
        """An identifier of a person (`email`, `first_name`), None when unknown or erased."""
        ...


class Clock(Protocol):
    def now_ms(self) -> int:
        """Wall clock."""
        ...

    async def sleep_ms(self, span_ms: int) -> None: ...
