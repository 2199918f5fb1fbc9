"""Keys and passwords that this installation makes for itself, once, readable by its owner only."""

from __future__ import annotations

import os
import secrets as dice
import stat
from pathlib import Path

from streams.kernel.errors import SetupError
from streams.settings import Settings

NAMES = (
    "clickhouse_writer",  # password of the sink's user at the embedded engine
    "clickhouse_reader",  # password of the analysts' read-only user
    "pseudonym_key",      # HMAC key of profile ids; losing it makes every person a stranger
    "vault_key",          # wraps each person's own key in the vault
    "link_key",           # signs click, open and unsubscribe links
    "webhook_key",        # signs what the webhook channel posts
    "operator_key",       # opens what the web process tells operators only
)


def folder(settings: Settings) -> Path:
    return settings.home / "secrets"


def path(settings: Settings, name: str) -> Path:
    assert name in NAMES, name
    return folder(settings) / name


def ensure(settings: Settings) -> None:
    """Make every secret that is not there yet: 64 hex digits in a file of mode 0600.

    Safe when several processes do it at once: the first one's value stays.
    Raises SetupError when the folder cannot be written.
    """
    try:
        folder(settings).mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in NAMES:
            if not path(settings, name).exists():
                _make(path(settings, name))
    except OSError as fault:
        raise SetupError(f"secrets cannot be written below {folder(settings)}: {fault.strerror}",
                         "set KAIROS_HOME to a folder that you may write") from fault


def read(settings: Settings, name: str) -> str:
    """The secret as text. Raises SetupError when it was never made."""
    try:
        return path(settings, name).read_text().strip()
    except OSError as fault:
        raise SetupError(f"the secret {name} cannot be read from {path(settings, name)}",
                         "`kairos up` makes it; check KAIROS_HOME and the owner of the file"
                         ) from fault


def loose(settings: Settings) -> list[Path]:
    """Secrets that somebody other than their owner could read or write."""
    return [where for where in (path(settings, name) for name in NAMES)
            if where.exists() and stat.S_IMODE(where.stat().st_mode) & 0o077]


def _make(where: Path) -> None:
    """Written beside and then linked, so that nobody ever reads half a secret."""
    fresh = where.with_name(f".{where.name}.{os.getpid()}.{dice.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(dice.token_hex(32) + "\n")
    try:
        os.link(fresh, where)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
