"""What a statement is: its verb, the format it names, and where the data of an INSERT begins."""

from __future__ import annotations

from dataclasses import dataclass

from infra.clickhouse.errors import ClickHouseError
from infra.clickhouse.tokenizer import Kind, Token, tokens

STREAMABLE_VERBS = ("SELECT", "WITH")
ANSWERING_VERBS = (*STREAMABLE_VERBS, "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "EXISTS", "CHECK",
                   "FROM", "KILL", "(")
_BLANKS = b" \t\f\v"


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT whose rows travel as bytes.

    `head` is the SQL that the engine's insert call takes (no FORMAT, no VALUES); the rows begin at
    `data_start` of the bytes that were cut.
    """

    head: str
    format: str
    data_start: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The head of an INSERT goes on beyond the bytes seen so far."""


def verb(sql: bytes) -> str:
    """First keyword in capitals, `(` for a bracketed query, empty for no statement at all."""
    for token in tokens(sql):
        return token.name.upper() if token.kind is Kind.WORD or token.sign("(") else token.name
    return ""


def named_format(sql: bytes) -> str:
    """The format that the statement's own FORMAT clause names, empty without one."""
    row = [token for token in tokens(sql) if not token.sign(";")]
    for at in range(len(row) - 2, -1, -1):
        if not (row[at].keyword("FORMAT") and row[at + 1].identifier):
            continue
        if at + 2 == len(row) or row[at + 2].keyword("SETTINGS", "INTO"):
            return row[at + 1].name
    return ""


def cut_insert(sql: bytes, *, final: bool) -> Insert | Unfinished | None:
    """Where the SQL of an INSERT ends and its rows begin; None when it carries no rows.

    final   no more bytes follow `sql`
    Raises ClickHouseError for INSERT forms that the embedded engine cannot serve.
    """
    found = _Reader(sql, final).insert()
    if found is None or isinstance(found, Insert) or not final:
        return found
    raise ClickHouseError(62, "Syntax error: the INSERT statement is not complete")


class _NeedMore(Exception):
    pass


class _Reader:
    """Reads the grammar of an INSERT's head, token by token."""

    def __init__(self, sql: bytes, final: bool) -> None:
        self._sql, self._final = sql, final
        self._source = tokens(sql)

    def _next(self) -> Token | None:
        """The next token; one that touches the end of unfinished bytes may still grow."""
        token = next(self._source, None)
        cut = token is None or token.end == len(self._sql) or token.kind is Kind.OPEN
        if cut and not self._final:
            raise _NeedMore
        return token

    def insert(self) -> Insert | Unfinished | None:
        try:
            first = self._next()
            return self._rows() if first is not None and first.keyword("INSERT") else None
        except _NeedMore:
            return Unfinished()

    def _rows(self) -> Insert | None:
        """From after INSERT to the word that says where the rows come from."""
        depth, named, dotted = 0, False, False
        while (token := self._next()) is not None:
            if token.sign("(", "[", "{"):
                depth += 1
            elif token.sign(")", "]", "}"):
                depth, named = depth - 1, True
            elif depth > 0 or (token.keyword("INTO", "TABLE") and not named):
                continue
            elif token.identifier and (dotted or not named):
                _refuse_function(token)
                named = True
            elif token.keyword("SELECT", "WITH"):
                return None
            elif token.keyword("FROM"):
                self._refuse_infile()
                return None
            elif token.keyword("VALUES"):
                return Insert(text(self._sql[:token.start]), "Values", token.end)
            elif token.keyword("FORMAT"):
                return self._format(token)
            dotted = token.sign(".")
        return None

    def _refuse_infile(self) -> None:
        source = self._next()
        if source is not None and source.keyword("INFILE"):
            raise ClickHouseError(78, "INSERT … FROM INFILE is a client's business: send the "
                                      "file's bytes as the body")

    def _format(self, word: Token) -> Insert:
        name = self._next()
        if name is None or not name.identifier:
            raise ClickHouseError(62, "Syntax error: FORMAT needs a name")
        start = _after_line(self._sql, name.end)
        if start == len(self._sql) and self._sql[-1:] != b"\n" and not self._final:
            raise _NeedMore  # the line end may still come
        if self._sql[start:start + 9].upper() == b"SETTINGS ":
            raise ClickHouseError(62, "Syntax error: write SETTINGS before FORMAT")
        return Insert(text(self._sql[:word.start]), name.name, start)

def _refuse_function(token: Token) -> None:
    if token.keyword("FUNCTION"):
        raise ClickHouseError(48, "INSERT INTO FUNCTION is not available in the embedded engine; "
                                  "insert into a table")


def _after_line(sql: bytes, at: int) -> int:
    """Rows begin after the blanks and the one line end that follow the format's name."""
    while sql[at:at + 1] and sql[at:at + 1] in _BLANKS:
        at += 1
    if sql[at:at + 1] == b"\r":
        at += 1
    return at + 1 if sql[at:at + 1] == b"\n" else at


def text(sql: bytes) -> str:
    """SQL as text. Raises ClickHouseError when it is not UTF-8."""
    try:
        return sql.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise ClickHouseError(62, f"Syntax error: SQL must be UTF-8 (byte {fault.start}); bind "
                                  "other bytes as a parameter or send them as rows") from fault
