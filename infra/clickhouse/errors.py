"""ClickHouse's errors as they leave the HTTP front: code, name, text and HTTP status.

The statuses are those that a ClickHouse server gives to the same codes.
"""

from __future__ import annotations

import re

REQUIRED_PASSWORD = 194
NAMES = {
    1: "UNSUPPORTED_METHOD", 36: "BAD_ARGUMENTS", 48: "NOT_IMPLEMENTED", 62: "SYNTAX_ERROR",
    73: "UNKNOWN_FORMAT", 78: "UNKNOWN_TYPE_OF_QUERY", 115: "UNKNOWN_SETTING",
    117: "INCORRECT_DATA", 126: "INTO_OUTFILE_NOT_ALLOWED", 159: "TIMEOUT_EXCEEDED",
    164: "READONLY", 202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    216: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    210: "NETWORK_ERROR", 271: "CANNOT_DECOMPRESS", 372: "SESSION_NOT_FOUND",
    373: "SESSION_IS_LOCKED", 394: "QUERY_WAS_CANCELLED", 432: "UNKNOWN_CODEC",
    452: "SETTING_CONSTRAINT_VIOLATION", 497: "ACCESS_DENIED", 516: "AUTHENTICATION_FAILED",
    1001: "STD_EXCEPTION",
}
_CODES_OF_STATUS: dict[int, tuple[int, ...]] = {
    # syntax, types, arguments, values that cannot be parsed
    400: (6, 8, 10, 15, 25, 26, 27, 36, 38, 41, 44, 53, 56, 62, 69, 72, 117, 166, 167, 168, 223,
          376, 427, 441, 675, 676),
    401: (REQUIRED_PASSWORD,),
    403: (192, 193, 497, 512, 516),
    # something that has no such name: table, function, column, type, engine, setting, format
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    408: (159,),
    411: (381,),
    413: (320,),
    415: (709,),
    501: (48,),
    503: (76, 202, 203, 209, 439),
}
STATUS = {code: status for status, codes in _CODES_OF_STATUS.items() for code in codes}
_ENGINE_TEXT = re.compile(r"Code: (\d+)\.? (?:DB::Exception: )?(.*)", re.DOTALL)
_NAMED_END = re.compile(r"\(([A-Z][A-Z0-9_]+)\)\s*(?:\(version [^)]*\)+\.?\s*)?$")


class ClickHouseError(Exception):
    """A refusal in ClickHouse's own terms; `str()` is the body that its clients expect."""

    def __init__(self, code: int, message: str, name: str = "") -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.name = name or NAMES.get(code, "")

    @property
    def status(self) -> int:
        return STATUS.get(self.code, 500)

    def said_to(self, user: str) -> ClickHouseError:
        """The same with the name that the client knows: the engine calls everybody `default`."""
        head, colon, rest = self.message.partition(": ")
        message = f"{user}: {rest}" if colon and head == "default" and user else self.message
        return ClickHouseError(self.code, message, self.name)

    def body(self, version: str) -> bytes:
        """`Code: 60. DB::Exception: … (UNKNOWN_TABLE) (version …)`, with a line feed."""
        named = f" ({self.name})" if self.name else ""
        text = f"Code: {self.code}. DB::Exception: {self.message}{named} (version {version})\n"
        return text.encode("utf-8", "replace")


def from_engine(fault: BaseException) -> ClickHouseError:
    """What chDB raised, as a ClickHouseError; a text without a code becomes 1001."""
    text = str(fault).strip()
    found = _ENGINE_TEXT.match(text)
    if found is None:
        return ClickHouseError(1001, text or type(fault).__name__)
    code, message = int(found[1]), found[2].strip()
    end = _NAMED_END.search(message)
    if end is None:
        return ClickHouseError(code, message)
    return ClickHouseError(code, message[:end.start()].strip(), end[1])
