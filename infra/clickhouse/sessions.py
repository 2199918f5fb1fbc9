"""HTTP sessions: one request at a time each, state (SET, USE, temporary tables) kept between them.

A session costs the engine nothing until a statement leaves state behind; only then does it keep a
connection of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.clickhouse.engine import Connection
from infra.clickhouse.errors import ClickHouseError

SESSIONS_MAX = 1000


@dataclass(slots=True)
class Session:
    """`connection` is None as long as no statement has left state behind."""

    user: str
    session_id: str
    timeout_s: int
    used_s: float
    busy: bool = True
    connection: Connection | None = None


class Sessions:
    """All sessions by user and id; times are seconds of a monotonic clock."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._all: dict[tuple[str, str], Session] = {}
        self._lock = threading.Lock()

    def take(self, user: str, session_id: str, *, timeout_s: int, must_exist: bool) -> Session:
        """The session, now ours. Raises ClickHouseError when it is busy, missing or one too many.
        """
        with self._lock:
            self._expire()
            session = self._all.get((user, session_id))
            if session is None:
                return self._make(user, session_id, timeout_s, must_exist)
            if session.busy:
                raise ClickHouseError(373, f"Session {session_id} is locked by a concurrent client")
            session.busy, session.timeout_s = True, timeout_s
            return session

    def _make(self, user: str, session_id: str, timeout_s: int, must_exist: bool) -> Session:
        if must_exist:
            raise ClickHouseError(372, f"Session {session_id} not found")
        if len(self._all) >= SESSIONS_MAX:
            raise ClickHouseError(202, f"Too many sessions. Maximum: {SESSIONS_MAX}")
        made = Session(user, session_id, timeout_s, self._now_s())
        self._all[user, session_id] = made
        return made

    def give_back(self, session: Session, *, forget: bool = False) -> None:
        """Let the next request have it; `forget` ends it."""
        with self._lock:
            session.busy, session.used_s = False, self._now_s()
            if forget:
                self._end((session.user, session.session_id))

    def close(self) -> None:
        with self._lock:
            for key in list(self._all):
                self._end(key)

    def _expire(self) -> None:
        now_s = self._now_s()
        for key, session in list(self._all.items()):
            if not session.busy and session.used_s + session.timeout_s < now_s:
                self._end(key)

    def _end(self, key: tuple[str, str]) -> None:
        session = self._all.pop(key)
        if session.connection is not None:
            session.connection.close()
            session.connection = None
