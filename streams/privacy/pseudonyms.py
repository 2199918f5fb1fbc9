"""Pseudonyms: whose event it is, without saying who.

A profile id is a keyed HMAC of tenant and subject. Without the key nobody can test a guess ("is
this profile alice@example.org?"), which a plain or salted hash would allow (EDPB 01/2025).
"""

from __future__ import annotations

import hmac

KEY_BYTES_MIN = 32
_BETWEEN = b"\x1f"            # a tenant's name cannot hold it, so ("a", "b") is never ("ab", "")


class Pseudonyms:
    """`key`: at least 32 secret bytes. Another key means other profiles: it is never rotated."""

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES_MIN:
            raise ValueError(f"the pseudonym key has {len(key)} bytes; it needs {KEY_BYTES_MIN}")
        self._key = key

    def known(self, tenant: str, user_id: str) -> str:
        """Profile id of a person the app knows: 32 hex characters."""
        return self._derive(tenant, b"u", user_id)

    def anonymous(self, tenant: str, anonymous_id: str) -> str:
        """Profile id of a visitor the app does not know: 32 hex characters."""
        return self._derive(tenant, b"a", anonymous_id)

    def _derive(self, tenant: str, kind: bytes, identity: str) -> str:
        message = _BETWEEN.join((tenant.encode(), kind, identity.encode()))
        return hmac.digest(self._key, message, "sha256").hex()[:32]
