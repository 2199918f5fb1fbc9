"""Links: signed tokens for opening, clicking, unsubscribing and reporting back.

A token says whose message it was and where a click leads, and carries its own proof, so the web
process needs no table of links. It holds pseudonyms only, never an address or a name. Pure.

    token = base64url(compact JSON) "." base64url(first 16 bytes of HMAC-SHA256)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, get_args

import orjson

Kind = Literal["open", "click", "unsubscribe", "receipt"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
TOKEN_CHARS_MAX: Final = 4096
_SEAL_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says. `moment_ms` and `decided_ms` carry the tenant's clock along."""

    kind: Kind
    decision_id: str
    profile_id: str
    tenant: str
    channel: str
    moment_ms: int
    decided_ms: int
    target: str = ""

    def now_ms(self, wall_ms: int) -> int:
        """The tenant's time when the wall clock says `wall_ms`."""
        return self.moment_ms + max(0, wall_ms - self.decided_ms)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _seal(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, payload, hashlib.sha256)[:_SEAL_BYTES]


def is_web_address(target: str) -> bool:
    """True for http(s) URLs without white space or control characters."""
    if not target.startswith(("http://", "https://")):
        return False
    if target.isprintable():          # then a space is the only white space it can hold
        return " " not in target
    return not any(char.isspace() or ord(char) < 32 for char in target)


def sign(key: bytes, link: Link) -> str:
    """The token of `link`, a pure function of both."""
    payload = _base64(orjson.dumps({
        "d": link.decision_id, "p": link.profile_id, "t": link.tenant, "c": link.channel,
        "k": link.kind, "u": link.target, "m": link.moment_ms, "w": link.decided_ms}))
    return f"{payload}.{_base64(_seal(key, payload.encode('ascii')))}"


def read(key: bytes, token: str) -> Link | None:
    """What a token says, or None when it is not ours. Compares in constant time."""
    if len(token) > TOKEN_CHARS_MAX or not token.isascii():
        return None
    payload, dot, seal = token.partition(".")
    wanted = _base64(_seal(key, payload.encode("ascii")))
    if not dot or not hmac.compare_digest(wanted, seal):
        return None
    return _parse(payload)


def _parse(payload: str) -> Link | None:
    """A signed payload; None when a newer or older build wrote it differently."""
    try:
        said = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if said["k"] not in KINDS:
            return None
        return Link(said["k"], said["d"], said["p"], said["t"], said["c"],
                    int(said["m"]), int(said["w"]), said["u"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)      # without slots: the way out is signed once and stands twice
class Signer:
    """Makes the addresses that stand in one message."""

    base_url: str
    key: bytes
    message: Mapping[str, Any]

    def token(self, kind: Kind, target: str = "") -> str:
        said = self.message
        return sign(self.key, Link(kind, said["decision_id"], said["profile_id"], said["tenant"],
                                   said["channel"], said["moment_ms"], said["decided_ms"], target))

    def click(self, target: str) -> str:
        return f"{self.base_url}/c/{self.token('click', target)}"

    @property
    def pixel(self) -> str:
        return f"{self.base_url}/o/{self.token('open')}.gif"

    @cached_property
    def unsubscribe(self) -> str:
        return f"{self.base_url}/u/{self.token('unsubscribe')}"
