"""Which queries run now: marks, duplicate ids, the limit, and KILL QUERY by a client's own ids."""

from __future__ import annotations

import threading

from infra.clickhouse.engine import literal
from infra.clickhouse.errors import ClickHouseError
from infra.clickhouse.guard import TAG_SETTING
from infra.clickhouse.tokenizer import Token, tokens

_TAG = f"Settings['{TAG_SETTING}']"
_USER = f"substring({_TAG}, 1, position({_TAG}, '/') - 1)"
_QUERY_ID = f"substring({_TAG}, position({_TAG}, '/') + 1)"


def tag(user: str, query_id: str) -> str:
    """The mark under which the engine knows a client's query."""
    return f"{user}/{query_id}"


class Running:
    """The front's own list of queries in flight."""

    def __init__(self, queries_max: int) -> None:
        self._queries_max = queries_max
        self._tags: set[str] = set()
        self._lock = threading.Lock()

    def has(self, mark: str) -> bool:
        with self._lock:
            return mark in self._tags

    def enter(self, mark: str) -> None:
        """Hold a place for a query. Raises ClickHouseError when its id runs, or too many do."""
        with self._lock:
            if mark in self._tags:
                raise ClickHouseError(216, f"Query with id = {mark.partition('/')[2]} is already "
                                           "running.")
            if len(self._tags) >= self._queries_max:
                raise ClickHouseError(202, "Too many simultaneous queries. Maximum: "
                                           f"{self._queries_max}")
            self._tags.add(mark)

    def leave(self, mark: str) -> None:
        with self._lock:
            self._tags.discard(mark)


def rewrite_kill(sql: str, *, only_user: str | None) -> str:
    """A client's KILL QUERY in the engine's terms: `query_id` and `user` mean the client's own.

    only_user   whose queries may be stopped; None for everybody's
    """
    raw = sql.encode()
    row = list(tokens(raw))
    if len(row) < 2 or not (row[0].keyword("KILL") and row[1].keyword("QUERY")):
        return sql
    where = next((token for token in row if token.keyword("WHERE")), None)
    if where is None:
        return sql
    tail = next((token.start for token in row if token.start > where.end
                 and token.keyword("SYNC", "ASYNC", "TEST", "FORMAT")), len(raw))
    condition = _ours([token for token in row if where.end <= token.start < tail], raw)
    mine = "" if only_user is None else f" AND {_USER} = {literal(only_user)}"
    return (f"KILL QUERY WHERE query_id IN (SELECT query_id FROM system.processes WHERE "
            f"{_TAG} != '' AND ({condition}){mine}) {raw[tail:].decode()}")


def _ours(condition: list[Token], raw: bytes) -> str:
    meaning = {"query_id": _QUERY_ID, "user": _USER, "initial_query_id": _QUERY_ID}
    return " ".join(meaning.get(token.name, raw[token.start:token.end].decode())
                    if token.identifier else raw[token.start:token.end].decode()
                    for token in condition if not token.sign(";"))
