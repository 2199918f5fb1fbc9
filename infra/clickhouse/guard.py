"""What the front refuses although the engine would do it.

The engine knows one user only, and inside a process it opens files that a server would not. Grants
(`config/users.xml`) close most of that; this file closes the rest, token by token:

- the scalar function `file()` and everything that could call it under another guise (`APPLY(file)`,
  lambdas, ALIAS columns in a structure string, filters given as settings, `eval()`),
- `INTO OUTFILE`, format schemas and templates read from files,
- table functions that reach into the Python process or start programs,
- table engines and dictionary sources outside the list below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from infra.clickhouse.errors import ClickHouseError
from infra.clickhouse.tokenizer import Kind, Token, tokens

ENGINES = frozenset((
    "MergeTree", "ReplacingMergeTree", "SummingMergeTree", "AggregatingMergeTree",
    "CollapsingMergeTree", "VersionedCollapsingMergeTree", "CoalescingMergeTree", "Memory", "Null",
    "Set", "Join", "Log", "TinyLog", "StripeLog", "Buffer", "Merge", "Dictionary",
    "GenerateRandom"))
# The front marks a running query with this setting in order to find it again.
TAG_SETTING = "chdb_client_name"
_TABLE_FUNCTIONS = frozenset(("python", "executable", "eval", "fuzzquery", "fuzzjson"))
_STRUCTURED = frozenset(("values", "generaterandom", "null", "format"))
_SETTINGS = frozenset((
    TAG_SETTING, "additional_table_filters", "additional_result_filter", "format_schema",
    "format_schema_path", "format_template_resultset", "format_template_row", "url_base",
    "input_format_record_errors_file_path", "schema_inference_hints", "framing_output_format",
    "rename_files_after_processing"))
_DICTIONARY_SOURCES = frozenset(("CLICKHOUSE", "NULL"))
_WORTH_A_LOOK = re.compile(
    rb"file|python|executable|eval|fuzz|values|generaterandom|null|format|input|engine|source|\\|"
    rb"kafka|\xe2\x80|" + b"|".join(sorted(name.encode() for name in _SETTINGS)), re.IGNORECASE)


def check_settings(names: Iterable[str]) -> None:
    """Refuse settings of a request that would read files, run SQL or hide the query's mark."""
    for name in names:
        if name.lower() in _SETTINGS:
            raise ClickHouseError(497, f"The setting {name} is not available in the embedded "
                                       "engine")


def check(sql: bytes) -> None:
    """Pass, or raise ClickHouseError with the code that a server would give."""
    if _WORTH_A_LOOK.search(sql) is None:
        return
    row = list(tokens(sql))
    verb = row[0].name.upper() if row else ""
    for at, token in enumerate(row):
        if token.identifier:
            _check_word(row, at)
    if verb in ("CREATE", "ATTACH", "REPLACE"):
        _check_definition(row)


def _check_word(row: list[Token], at: int) -> None:
    token, name = row[at], row[at].name.lower()
    called = at + 1 < len(row) and row[at + 1].sign("(")
    if token.kind is Kind.QUOTED and "\\" in name:
        _deny("names with escapes in them")
    qualified = at > 0 and row[at - 1].sign(".")
    if name == "file" and (called or not qualified):
        _deny("the function file() (write a column of that name as table.file)")
    if token.keyword("OUTFILE"):
        raise ClickHouseError(126, "INTO OUTFILE is not allowed: redirect the response instead")
    if token.keyword("INFILE"):
        raise ClickHouseError(78, "FROM INFILE is a client's business: send the bytes as the body")
    if name in _SETTINGS:
        check_settings((name,))
    if called and name == "input":
        raise ClickHouseError(48, "The table function input() is not available in the embedded "
                                  "engine; insert the rows with FORMAT and transform them later")
    if called and name in _TABLE_FUNCTIONS:
        _deny(f"the table function {name}()")
    if called and name in _STRUCTURED:
        _check_structure(name, row[at + 2:at + 4])
    if token.keyword("FORMAT") and at + 1 < len(row) and row[at + 1].name in (
            "Template", "TemplateIgnoreSpaces"):
        _deny("FORMAT Template, which reads files,")


def _check_structure(name: str, after: list[Token]) -> None:
    """A structure string can define ALIAS columns, that is: run any expression."""
    if len(after) < 2:
        return
    first, second = after
    plain = first.kind is Kind.STRING and second.sign(",", ")") and "\\" not in first.name
    if name == "format":
        if not (plain and ("{" in first.name or second.sign(")"))):
            _deny("the table function format()")
        return
    computed = first.identifier or first.sign("{")
    if computed or (first.kind is Kind.STRING and (not plain or "file" in first.name.lower())):
        _deny(f"{name}() with a structure that is not a plain literal")


def _check_definition(row: list[Token]) -> None:
    """Table engines and dictionary sources of a CREATE, ATTACH or REPLACE."""
    for at, token in enumerate(row[:-1]):
        after = row[at + 1:]
        if token.keyword("ENGINE"):
            name = after[1].name if after[0].sign("=") and len(after) > 1 else after[0].name
            if name not in (*ENGINES, "Atomic") and (after[0].sign("=") or after[0].identifier):
                _deny(f"the engine {name}")
        if token.keyword("SOURCE") and after[0].sign("("):
            _check_source(after[1:])


def _check_source(after: list[Token]) -> None:
    source = after[0].name.upper() if after else ""
    if source not in _DICTIONARY_SOURCES:
        _deny(f"a dictionary source {source}")
    if any(token.keyword("HOST", "PORT", "QUERY", "NAME") for token in after):
        _deny("a dictionary source with HOST, PORT, QUERY or NAME")


def _deny(what: str) -> None:
    raise ClickHouseError(497, f"{what} is not available in the embedded engine")
