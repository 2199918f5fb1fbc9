"""The signature on webhooks, in both directions: `Kairos-Signature: t=<unix>,v1=<hex hmac>`.

The HMAC-SHA256 covers "<t>.<body>", so neither the body nor the time can be changed, and an old
request cannot be played back after the tolerance. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

HEADER: Final = "Kairos-Signature"
TOLERANCE_S: Final = 300


def _digest(key: bytes, body: bytes, unix_s: int) -> str:
    return hmac.new(key, f"{unix_s}.".encode("ascii") + body, hashlib.sha256).hexdigest()


def sign(key: bytes, body: bytes, *, unix_s: int) -> str:
    """The header's value for `body` at `unix_s`."""
    return f"t={unix_s},v1={_digest(key, body, unix_s)}"


def fault(key: bytes, body: bytes, header: str, *, now_s: int) -> str:
    """Why `header` does not sign `body`, or "" when it does. Compares in constant time.

    Several v1 values may stand in one header (keys being changed over); one that fits is enough.
    """
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit()) or len(times[0]) > 12:
        return "the signature has no t=<unix seconds>"
    unix_s = int(times[0])
    wanted = _digest(key, body, unix_s).encode()
    found = [value for name, _, value in pairs if name == "v1"]
    if not any(hmac.compare_digest(wanted, value.encode()) for value in found):
        return "the signature does not match the body"
    if abs(now_s - unix_s) > TOLERANCE_S:
        return f"the signature is older than {TOLERANCE_S} s"
    return ""
