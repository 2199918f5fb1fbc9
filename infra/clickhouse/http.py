"""ClickHouse's HTTP interface as a bare ASGI application over the embedded engine."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from infra.clickhouse import answer, guard, request, statement
from infra.clickhouse.body import Body, Gone
from infra.clickhouse.engine import Engine
from infra.clickhouse.errors import ClickHouseError
from infra.clickhouse.query import Insert, Query, Scope, Terms
from infra.clickhouse.request import Ask
from infra.clickhouse.running import Running, tag
from infra.clickhouse.sessions import Session, Sessions
from infra.clickhouse.verdict import Verdicts
from infra.clickhouse.wholeness import Wholeness

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")
QUERIES_MAX = 64
KILL_AGAIN_S = 0.2
INSERT_STEP_BYTES = 1 << 20
SQL_BYTES_MAX = 256 << 20


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the front; `writes` tells the sink's from the analysts'."""

    name: str
    password: str
    writes: bool


class Application:
    """One per process: accounts, sessions, running queries, threads."""

    def __init__(self, engine: Engine, accounts: tuple[Account, ...]) -> None:
        self.engine = engine
        self.verdicts = Verdicts(engine)
        self.wholeness = Wholeness(engine)
        self.running = Running(QUERIES_MAX)
        self.sessions = Sessions()
        self.threads = ThreadPoolExecutor(QUERIES_MAX, thread_name_prefix="query")
        self.killers = ThreadPoolExecutor(2, thread_name_prefix="kill")
        self._accounts = {account.name: account for account in accounts}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path in ("/ping", "/replicas_status"):
            await answer.plain(send, 200, b"Ok.\n")
        elif path != "/":
            text = f"There is no handle {path}\n\nUse / or /ping for health checks.\n"
            await answer.plain(send, 404, text.encode())
        elif scope["method"] not in ("GET", "POST", "HEAD"):
            await answer.plain(send, 501, b"Code: 48. DB::Exception: method not implemented\n")
        else:
            await _Exchange(self, scope, receive, send).serve()

    def account(self, ask: Ask) -> Account:
        """Who asks. Raises ClickHouseError 516 as a server does, with 403."""
        account = self._accounts.get(ask.user)
        expected = account.password if account is not None else secrets.token_hex(32)
        same = hmac.compare_digest(expected.encode(), ask.password.encode("utf-8", "replace"))
        if account is None or not same:
            raise ClickHouseError(516, f"{ask.user or 'default'}: Authentication failed: password "
                                       "is incorrect, or there is no user with such name.")
        return account


class _Exchange:
    """One request and its answer."""

    def __init__(self, app: Application, scope: Message, receive: Receive, send: Send) -> None:
        self._app, self._scope, self._receive, self._send = app, scope, receive, send
        self._headers = {key.decode("latin-1").lower(): value.decode("latin-1")
                         for key, value in scope["headers"]}
        self._gone: asyncio.Task[None] | None = None
        self._tag = ""
        self._reply = answer.Reply(app.engine, send)

    async def serve(self) -> None:
        try:
            await self._query()
        except ClickHouseError as fault:
            await self._reply.refuse(fault.said_to(self._tag.partition("/")[0]))
        except Gone:
            return
        finally:
            if self._gone is not None:
                self._gone.cancel()

    async def _query(self) -> None:
        ask = request.read(self._scope["method"], self._scope["query_string"], self._headers)
        if not ask.sql and ask.method != "POST":
            await answer.plain(self._send, 200, b"Ok.\n")
            return
        query_id = ask.query_id or str(uuid.uuid4())
        self._reply.ready(ask, query_id)
        account = self._app.account(ask)
        body = Body(self._receive, ask)
        if ask.content_type.lower().startswith("multipart/form-data"):
            ask = request.with_form(ask, await body.whole(SQL_BYTES_MAX))
        guard.check_settings(ask.settings)
        terms = Terms(user=account.name, writes=account.writes, read_only=ask.read_only,
                      database=ask.database, tag=tag(account.name, query_id),
                      log_comment=ask.log_comment or query_id, settings=ask.settings,
                      params=ask.params)
        self._tag = terms.tag
        await self._replace(ask)
        self._app.running.enter(terms.tag)
        self._reply.before_end = lambda: self._app.running.leave(terms.tag)
        try:
            await self._in_session(ask, terms, body)
        finally:
            self._reply.end()

    async def _replace(self, ask: Ask) -> None:
        """replace_running_query: stop the client's own query of the same id first."""
        while ask.replace_running and self._app.running.has(self._tag):
            await self._kill()
            await asyncio.sleep(KILL_AGAIN_S / 10)

    async def _in_session(self, ask: Ask, terms: Terms, body: Body) -> None:
        session: Session | None = None
        if ask.session_id:
            session = self._app.sessions.take(terms.user, ask.session_id,
                                              timeout_s=ask.session_timeout_s,
                                              must_exist=ask.session_check)
            # Free again before the client can have seen the end of the answer.
            self._reply.before_end = lambda: self._free(session, ask, terms)
        await self._statement(ask, terms, body, Scope(self._app.engine, terms, session))

    def _free(self, session: Session, ask: Ask, terms: Terms) -> None:
        self._app.sessions.give_back(session, forget=ask.close_session)
        self._app.running.leave(terms.tag)

    async def _statement(self, ask: Ask, terms: Terms, body: Body, scope: Scope) -> None:
        head, sql = await self._head(ask, body)
        if head is not None:
            guard.check(head.head.encode())
            await self._insert(Insert(scope, head, self._app.verdicts, self._app.wholeness),
                               body.rows(sql[head.data_start:], ask.sql))
            return
        sql += await body.whole(SQL_BYTES_MAX - len(sql))
        sql = sql.strip()
        guard.check(sql)
        if not statement.verb(sql):
            raise ClickHouseError(62, "Syntax error: Empty query")
        await self._select(Query(scope, terms, statement.text(sql), ask.default_format,
                                 whole=ask.wait_end, wholeness=self._app.wholeness))

    async def _head(self, ask: Ask, body: Body) -> tuple[statement.Insert | None, bytes]:
        """Read until it is clear whether rows follow; the bytes read so far."""
        sql = ask.sql + b"\n" if ask.sql else b""
        while True:
            cut = statement.cut_insert(sql, final=body.ended)
            if not isinstance(cut, statement.Unfinished):
                return cut, sql
            sql += await body.piece()

    async def _insert(self, insert: Insert, rows: AsyncIterator[bytes]) -> None:
        try:
            await self._thread(insert.begin)
            step = bytearray()
            async for piece in rows:
                step += piece
                if len(step) >= INSERT_STEP_BYTES:
                    await self._thread(insert.append, bytes(step))
                    step.clear()
            if step:
                await self._thread(insert.append, bytes(step))
            await self._thread(insert.done)
        finally:
            await self._cleanup(insert.stop)
        await self._reply.empty(insert.tally)

    async def _select(self, query: Query) -> None:
        self._watch()
        try:
            piece = await self._thread(query.begin)
            while not query.finished:
                await self._reply.part(query, piece)
                piece = await self._thread(query.more)
        finally:
            await self._cleanup(query.stop)
        await self._reply.last(query, piece)

    def _watch(self) -> None:
        """From here on, whatever arrives means that the client has gone."""
        async def until_gone() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                continue
        self._gone = asyncio.ensure_future(until_gone())

    async def _thread(self, step: Callable[..., T], *given: Any) -> T:
        """Run a blocking step; stop the query when the client goes away meanwhile."""
        if self._gone is not None and self._gone.done():
            raise Gone
        future = asyncio.get_running_loop().run_in_executor(self._app.threads, step, *given)
        if self._gone is None:
            return await future
        both: set[asyncio.Future[Any]] = {future, self._gone}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not self._gone.done():
            return await future
        while not future.done():
            await self._kill()
            await asyncio.wait({future}, timeout=KILL_AGAIN_S)
        future.exception()
        raise Gone

    async def _kill(self) -> None:
        await asyncio.get_running_loop().run_in_executor(
            self._app.killers, self._app.engine.kill, self._tag)

    async def _cleanup(self, stop: Callable[[], None]) -> None:
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._app.threads, stop))
