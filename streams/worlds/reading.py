"""Read the rows of a file, one after the other: CSV, JSON Lines or Parquet, never all at once.

Yields (line, row) for rows and (line, Unfit) for what is no row; line numbers count from 1 as an
editor shows them (for Parquet: the number of the row). Nothing is dropped without being yielded.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import pyarrow
import pyarrow.parquet

from streams.kernel.errors import KairosError, MappingError
from streams.worlds.mapping import FileForm, Mapping
from streams.worlds.reading_csv import CsvRows
from streams.worlds.sections import one_of
from streams.worlds.values import Row, Unfit

_LOOK_BYTES = 4096
# Text has next to no control characters, and no zeros; of random bytes a tenth are such.
_CONTROLS_RATIO_MAX = 0.05
_TEXT_BYTES = bytes([*b"\t\n\r\f\v", *range(32, 127), *range(128, 256)])

ParsedRow = tuple[int, Row | Unfit]


@dataclass(slots=True)
class Rows:
    """An open file. `fraction` says how much of it has been read, in [0, 1]."""

    form: str
    parsed: Iterator[ParsedRow]
    position: _Position

    @property
    def fraction(self) -> float:
        return self.position.fraction


@dataclass(slots=True)
class _Position:
    total: int
    source: BinaryIO | None = None
    done: int = 0

    @property
    def fraction(self) -> float:
        if self.total <= 0:
            return 1.0
        source = self.source
        done = source.tell() if source is not None and not source.closed else self.done
        return min(done / self.total, 1.0)


def open_rows(path: Path, mapping: Mapping) -> Rows:
    """Open `path` as `mapping` says. Raises MappingError (a column is missing) or KairosError."""
    if not path.is_file():
        raise KairosError(f"{path} is not a file", "check the path")
    try:
        form = mapping.form.form or guess_form(path)
        if form == "parquet":
            return _parquet(path, mapping)
        source = path.open("rb")
        position = _Position(path.stat().st_size, source)
        plain = cast(BinaryIO, gzip.GzipFile(fileobj=source)) if _is_gzip(path) else source
        _check_text(path, mapping.form.encoding)
        if form == "jsonl":
            return Rows(form, _json_lines(plain, mapping), position)
        rows = CsvRows(plain, mapping.form, str(path))
        if rows.header:                      # an empty file has no columns to be wrong about
            check_columns(mapping, rows.header, repeated=rows.repeated)
        return Rows(form, rows.parsed(), position)
    except (OSError, EOFError, zlib.error) as fault:
        raise KairosError(f"{path} cannot be read ({getattr(fault, 'strerror', None) or fault})",
                          "check that it is complete and readable") from None


def _check_text(path: Path, encoding: str) -> None:
    """Refuse what is no text at all, which would otherwise be reported as columns or bad lines."""
    with (gzip.open(path) if _is_gzip(path) else path.open("rb")) as file:
        start = file.read(_LOOK_BYTES)
    if start.startswith(b"PK\x03\x04"):
        raise KairosError(f"{path} is a ZIP or Excel file, not CSV, JSON Lines or Parquet",
                          "unpack it, or save the sheet as CSV")
    marked = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if marked or codecs.lookup(encoding).encode("\n,a")[0] != b"\n,a":
        return                                        # in such text any byte may occur
    decoded = codecs.getincrementaldecoder(encoding)("replace").decode(start)
    controls = len(start.translate(None, _TEXT_BYTES))
    if controls > len(start) * _CONTROLS_RATIO_MAX and (b"\0" in start or "\ufffd" in decoded):
        raise KairosError(f"{path} is not CSV, JSON Lines or Parquet: it holds binary data",
                          "check the path; for UTF-16 text set file.encoding in the mapping")


def guess_form(path: Path) -> str:
    """csv, jsonl or parquet, by the first bytes and then by the name."""
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            return "parquet"
    names = [suffix.lower() for suffix in path.suffixes]
    if ".parquet" in names or ".pq" in names:
        return "parquet"
    if {".jsonl", ".ndjson", ".json"} & set(names):
        return "jsonl"
    with (gzip.open(path) if _is_gzip(path) else path.open("rb")) as file:
        return "jsonl" if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def check_columns(mapping: Mapping, have: Sequence[str],
                  repeated: frozenset[str] = frozenset()) -> None:
    """Every column that the mapping names is in the file; nested paths by their first step."""
    known = set(have)
    for column, line in mapping.columns().items():
        if column in repeated:
            raise MappingError(mapping.file, line, f"the file has column '{column}' several times",
                               f"say which: '{column}#1', '{column}#2', …")
        if column not in known and column.split(".")[0] not in known:
            listed = ", ".join(have[:40]) + (" …" if len(have) > 40 else "")
            near = one_of(column, have)
            hint = f"{near} " if near.startswith("did you mean") else ""
            raise MappingError(mapping.file, line, f"the file has no column '{column}'",
                               f"{hint}it has: {listed}")


def _json_lines(file: BinaryIO, mapping: Mapping) -> Iterator[ParsedRow]:
    try:
        yield from _objects(file, mapping)
    except (EOFError, OSError, zlib.error) as fault:
        raise KairosError(f"the file breaks off ({fault})", "is it complete?") from None


def _objects(file: BinaryIO, mapping: Mapping) -> Iterator[ParsedRow]:
    """One JSON object a line; blank lines are nothing. Lines too long are skipped unread."""
    limit, line = mapping.form.row_bytes_max, 0
    buffered = io.BufferedReader(cast(Any, file), 1 << 20)
    while raw := buffered.readline(limit + 1):
        line += 1
        if len(raw) > limit and not raw.endswith(b"\n"):
            while raw and not raw.endswith(b"\n"):
                raw = buffered.readline(limit)
            yield line, Unfit("too_large", "", f"the line is longer than {limit} bytes")
            continue
        if line == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
            if raw.strip() == b"{":
                raise KairosError("the file is JSON over several lines, not JSON Lines",
                                  "write one object a line, for example with jq -c .")
            if raw.lstrip().startswith(b"["):
                raise KairosError("the file is one JSON array, not JSON Lines",
                                  "write one object a line, for example with jq -c '.[]'")
        if raw.strip():
            yield line, _json_object(raw, mapping.form)


def _json_object(raw: bytes, form: FileForm) -> Row | Unfit:
    try:
        if form.encoding.lower().replace("-", "").replace("_", "") != "utf8":
            raw = raw.decode(form.encoding).encode()
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        return Unfit("bad_json", "", f"is not JSON: {str(fault)[:80]}")
    except UnicodeDecodeError:
        return Unfit("bad_encoding", "", f"is not {form.encoding} text")
    if not isinstance(found, dict):
        return Unfit("bad_json", "", f"is a {type(found).__name__}, not an object")
    return found


def _parquet(path: Path, mapping: Mapping) -> Rows:
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError, ValueError) as fault:
        raise KairosError(f"{path} is not a readable Parquet file ({str(fault)[:120]})",
                          "is it complete?") from None
    have = file.schema_arrow.names
    check_columns(mapping, have)
    reads_all = any("{content}" in v.template for v in (mapping.event_id,) if v is not None)
    wanted = {*mapping.columns(), mapping.explode}
    wanted |= {name.split(".")[0] for name in wanted}
    columns = [name for name in have if name in wanted or reads_all or mapping.event_id is None]
    position = _Position(file.metadata.num_rows)
    return Rows("parquet", _parquet_rows(file, columns, position), position)


def _parquet_rows(file: pyarrow.parquet.ParquetFile, columns: Sequence[str],
                  position: _Position) -> Iterator[ParsedRow]:
    line = 0
    try:
        for batch in file.iter_batches(batch_size=8192, columns=list(columns)):
            names = batch.schema.names
            contents = [column.to_pylist() for column in batch.columns]
            for cells in zip(*contents, strict=True):
                line += 1
                yield line, dict(zip(names, cells, strict=True))
            position.done = line
    except (pyarrow.ArrowException, OSError) as fault:
        raise KairosError(f"the Parquet file breaks off after row {line} ({str(fault)[:120]})",
                          "is it complete?") from None
