"""ClickHouse SQL cut into tokens, as far as the front must know it: quotes, comments, words.

Works on bytes, because the data of an INSERT may follow its SQL in the same body. Where the engine
and this file could disagree, this one errs on the side of showing a token rather than hiding it:
what looks like a comment or a string here is one for the engine too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_TOKEN = re.compile(
    rb"(?P<space>(?:\s|\xc2\xa0|\xef\xbb\xbf)+)"
    rb"|(?P<comment>--[^\n]*(?:\n|\Z)|\#[ !][^\n]*(?:\n|\Z)|/\*.*?\*/)"
    rb"|(?P<string>'(?:[^'\\]|\\.|'')*'|\xe2\x80\x98.*?\xe2\x80\x99)"
    rb"|(?P<quoted>`(?:[^`\\]|\\.|``)*`|\"(?:[^\"\\]|\\.|\"\")*\"|\xe2\x80\x9c.*?\xe2\x80\x9d)"
    rb"|(?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"
    rb"|(?P<word>[A-Za-z_]\w*)"
    rb"|(?P<number>\d\w*)"
    rb"|(?P<open>/\*|['`\"]|\xe2\x80[\x98\x9c])"
    rb"|(?P<sign>.)", re.DOTALL)
_CURLY_BYTES = 3


class Kind(Enum):
    WORD = "word"
    QUOTED = "quoted"
    STRING = "string"
    NUMBER = "number"
    SIGN = "sign"
    OPEN = "open"  # a quote or comment that begins here and does not end in these bytes


_KINDS = {"word": Kind.WORD, "quoted": Kind.QUOTED, "string": Kind.STRING, "heredoc": Kind.STRING,
          "number": Kind.NUMBER, "sign": Kind.SIGN, "open": Kind.OPEN}


@dataclass(frozen=True, slots=True)
class Token:
    """`name` is the content without quotes; for a bare word also the way to compare keywords."""

    kind: Kind
    name: str
    start: int
    end: int

    def keyword(self, *words: str) -> bool:
        """A bare word that equals one of these, whatever its case."""
        return self.kind is Kind.WORD and self.name.upper() in words

    def sign(self, *signs: str) -> bool:
        return self.kind is Kind.SIGN and self.name in signs

    @property
    def identifier(self) -> bool:
        return self.kind in (Kind.WORD, Kind.QUOTED)


def tokens(sql: bytes, start: int = 0) -> Iterator[Token]:
    """Tokens in order, without blanks and comments; stops after a quote that never closes."""
    for found in _TOKEN.finditer(sql, start):
        group = found.lastgroup
        if group == "tag":
            group = "heredoc"
        if group is None or group in ("space", "comment"):
            continue
        kind = _KINDS[group]
        yield Token(kind, _content(found[0], group), found.start(), found.end())
        if kind is Kind.OPEN:
            return


def _content(raw: bytes, group: str) -> str:
    if group in ("string", "quoted"):
        edge = _CURLY_BYTES if raw[:1] == b"\xe2" else 1
        raw = raw[edge:-edge]
    return raw.decode("utf-8", "replace")
