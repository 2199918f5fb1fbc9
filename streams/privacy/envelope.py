"""Envelopes: each person's identifiers under a key of their own, that key under the vault's key.

    value  --AES-256-GCM, data key, bound to (profile id, field)-->  sealed value
    data key  --AES-256-GCM, vault key, bound to profile id------->  wrapped key

Destroying one wrapped key makes all of that person's sealed values unreadable for good, in every
copy of them. The binding makes a value useless under another person's or field's name. Pure: the
nonces (12 bytes, never used twice with one key) come in as arguments. NIST SP 800-38D.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from streams.kernel.errors import StateError

KEY_BYTES = 32
NONCE_BYTES = 12


def seal(plain: bytes, *, key: bytes, nonce: bytes, bound_to: str) -> bytes:
    """Nonce and ciphertext of `plain`, readable only with `key` and the same `bound_to`."""
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(f"keys have {KEY_BYTES} bytes and nonces {NONCE_BYTES}")
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to.encode())


def open_sealed(sealed: bytes, *, key: bytes, bound_to: str) -> bytes:
    """The plain bytes. Raises StateError when key or binding are others, or bytes were altered."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to.encode())
    except (InvalidTag, ValueError):
        raise StateError("a sealed value of the vault does not open",
                         "the vault's key is not the one it was written with, or the file was "
                         "altered; restore the key") from None


def binding(profile_id: str, field: str) -> str:
    """What a sealed field is bound to."""
    return f"{profile_id}\x1f{field}"
