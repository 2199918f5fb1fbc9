"""The mail catcher's store: one SQLite file that the catcher writes and the web process reads.

A message is known by its Message-ID: a repeat is counted, not stored, as a mail provider would.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import default as modern
from html import unescape
from pathlib import Path
from typing import Final

KEEP_COUNT: Final = 50_000
_TRIM_EVERY: Final = 1_000
_ID_MAX: Final = 2**62
_LINK = re.compile(r"https?://[^\s<>\"']+")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: readers page by it
    message_id TEXT NOT NULL UNIQUE,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    raw BLOB NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS messages_decision ON messages (decision_id);
"""
_COLUMNS = "id, message_id, recipient, subject, decision_id, received_ms, raw, repeats"


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as it came in. `repeats`: how often it came again."""

    id: int
    message_id: str
    recipient: str
    subject: str
    decision_id: str
    received_ms: int
    raw: bytes
    repeats: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A message taken apart: its two texts and every link in them, in order, once each."""

    text: str
    html: str
    links: tuple[str, ...]
    variant: str

    def first(self, path: str) -> str:
        """The first link that leads to `path` (/o/, /c/, /u/), or ""."""
        return next((link for link in self.links if path in link), "")


def _content(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return "" if part is None else str(part.get_content())


def _decoded(subject: object) -> str:
    """A subject in plain words; as it stands when its coding is broken."""
    plain = str(subject).replace("\r", "").replace("\n", "")
    try:
        return str(make_header(decode_header(plain)))
    except (HeaderParseError, LookupError, ValueError):
        return plain


def take_apart(raw: bytes) -> Opened:
    """The texts of a message. Total: broken mail gives what can be read of it."""
    message = message_from_bytes(raw, policy=modern)
    try:
        text, html = _content(message, "plain"), _content(message, "html")
    except (LookupError, ValueError, AttributeError, TypeError):
        text, html = raw.decode("utf-8", "replace"), ""
    found = [link.rstrip(".,;:!?)") for link in _LINK.findall(text)]
    found += [unescape(link) for link in _LINK.findall(html)]
    return Opened(text, html, tuple(dict.fromkeys(found)),
                  str(message.get("X-Kairos-Variant", "")))


class Mailbox:
    """Opens (and makes) the store at `path`. Use one object per thread."""

    def __init__(self, path: Path, *, keep_count: int = KEEP_COUNT) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._keep_count, self._added = keep_count, 0
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5,
                                   check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")   # a power cut may cost mail; a kill does not
        self._db.executescript(_SCHEMA)

    def add(self, raw: bytes, recipients: Sequence[str], *, now_ms: int) -> None:
        """Store a message, or count it when its Message-ID is known.

        Raises sqlite3.Error when the disk does not take it.
        """
        head = BytesHeaderParser().parsebytes(raw)
        message_id = str(head.get("Message-ID", "")).strip() or hashlib.sha256(raw).hexdigest()
        self._db.execute(
            "INSERT INTO messages (message_id, recipient, subject, decision_id, received_ms, raw)"
            " VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (message_id) DO UPDATE SET repeats = repeats + 1",
            (message_id, ", ".join(recipients), _decoded(head.get("Subject", "")),
             str(head.get("X-Kairos-Decision", "")).strip(), now_ms, raw))
        self._added += 1
        if self._added % _TRIM_EVERY == 0:
            self.trim()

    def trim(self) -> None:
        """Drop the oldest messages beyond the number that is kept."""
        self._db.execute(
            "DELETE FROM messages WHERE id <="
            " (SELECT id FROM messages ORDER BY id DESC LIMIT 1 OFFSET ?)", (self._keep_count,))

    def after(self, mail_id: int, limit: int) -> list[Mail]:
        """Up to `limit` messages that came after `mail_id`, oldest first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM messages WHERE id > ? ORDER BY id LIMIT ?",
                                (mail_id, limit))
        return [Mail(*row) for row in rows]

    def latest(self, limit: int, *, before: int | None = None, search: str = "") -> list[Mail]:
        """Up to `limit` messages, newest first, older than `before`, with `search` in them."""
        like = "%" + search.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM messages WHERE id < ? AND (recipient LIKE ? ESCAPE '\\'"
            " OR subject LIKE ? ESCAPE '\\' OR decision_id LIKE ? ESCAPE '\\')"
            " ORDER BY id DESC LIMIT ?",
            (_ID_MAX if before is None else min(before, _ID_MAX), like, like, like, limit))
        return [Mail(*row) for row in rows]

    def find(self, mail_id: int) -> Mail | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM messages WHERE id = ?",
                               (min(mail_id, _ID_MAX),)).fetchone()
        return None if row is None else Mail(*row)

    def counts(self) -> tuple[int, int]:
        """(messages stored, repeats dropped)."""
        stored, repeats = self._db.execute(
            "SELECT count(*), coalesce(sum(repeats), 0) FROM messages").fetchone()
        return int(stored), int(repeats)

    def close(self) -> None:
        self._db.close()
