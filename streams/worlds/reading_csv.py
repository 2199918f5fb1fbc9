"""Rows of a CSV file: any delimiter, quoted line breaks, byte-order marks, damaged lines.

The file is fed to the csv module line by line, so that a row's first line is known and a quote that
is never closed costs its own line only: that line is reported, and reading goes on behind it.
"""

from __future__ import annotations

import codecs
import csv
import io
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from typing import BinaryIO

from streams.kernel.errors import KairosError
from streams.worlds.mapping import FileForm
from streams.worlds.values import Row, Unfit

DELIMITERS = (",", ";", "\t", "|")


class _Feed:
    """Physical lines, with those of the row being read kept, so that they can be given again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self.row: list[str] = []
        self.first_line = 1

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        text = self._again.popleft() if self._again else next(self._lines)
        self.row.append(text)
        return text

    def again(self, first: str) -> None:
        """The line just taken will be read once more."""
        self._again.appendleft(first)
        self.row = []

    def next_row(self) -> None:
        self.first_line += len(self.row)
        self.row = []

    def give_back(self) -> None:
        """All but the first line of the present row will be read again, as rows of their own."""
        self._again.extendleft(reversed(self.row[1:]))
        self.row = self.row[:1]


class CsvRows:
    """`header` is empty for an empty file; `repeated` holds names that occur twice in it.

    The columns of a repeated name x are called x#1, x#2, in their order.
    """

    def __init__(self, file: BinaryIO, form: FileForm, path: str) -> None:
        self._form, self._path = form, path
        self._not_text = (f"is not {form.encoding} text; set file.encoding in the mapping "
                          "(latin-1, cp1252)")
        csv.field_size_limit(form.row_bytes_max)
        self._feed = _Feed(self._decoded(file))
        for _ in range(form.skip_lines):
            next(self._feed, "")
            self._feed.next_row()
        self._reader: Iterator[list[str]] = iter(())
        self.header, self.repeated = self._begin()

    def _decoded(self, file: BinaryIO) -> Iterator[str]:
        """Lines with their ends. Bytes of another encoding become lone surrogates, seen later."""
        start = file.peek(4)[:4] if hasattr(file, "peek") else b""
        marked = _marked(start)
        encoding = marked or self._form.encoding
        if marked == "utf-8-sig":
            self._not_text = ("is not UTF-8, as the mark at the beginning of the file says; take "
                              "off its first three bytes and set file.encoding in the mapping")
        if codecs.lookup(encoding).name == "utf-8":
            encoding = "utf-8-sig"
        text = io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")
        try:
            yield from text
        except UnicodeError as fault:
            raise KairosError(f"{self._path} is not {encoding} text ({fault})",
                              "set file.encoding in the mapping") from None
        except (EOFError, OSError, zlib.error) as fault:
            raise KairosError(f"{self._path} breaks off ({fault})", "is it complete?") from None

    def _begin(self) -> tuple[list[str], frozenset[str]]:
        first = next(self._feed, "")
        if not first:
            return list(self._form.columns), frozenset()
        delimiter = self._form.delimiter or sniff(first, self._form.quote)
        self._feed.again(first)
        if self._form.quote:
            self._reader = csv.reader(self._feed, delimiter=delimiter, strict=True,
                                      quotechar=self._form.quote)
        else:
            self._reader = csv.reader(self._feed, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        if self._form.columns:
            return list(self._form.columns), frozenset()
        try:
            names = [name.strip() for name in next(self._reader)]
        except csv.Error as fault:
            raise KairosError(f"{self._path}:1: the header is not CSV ({fault})",
                              "set file.delimiter and file.quote in the mapping") from None
        self._feed.next_row()
        return _numbered(names)

    def parsed(self) -> Iterator[tuple[int, Row | Unfit]]:
        header, width = self.header, len(self.header)
        while True:
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as fault:
                self._feed.give_back()
                yield self._feed.first_line, self._unfit(fault)
                self._feed.next_row()
                continue
            line = self._feed.first_line
            self._feed.next_row()
            if not cells:
                continue                                    # an empty line is nothing
            yield line, self._row(header, width, cells)

    def _unfit(self, fault: csv.Error) -> Unfit:
        if "larger than field limit" in str(fault):
            return Unfit("too_large", "", f"a cell is longer than {self._form.row_bytes_max} bytes")
        return Unfit("bad_csv", "", f"is not CSV: {fault}")

    def _row(self, header: list[str], width: int, cells: list[str]) -> Row | Unfit:
        if len(cells) > width and not any(cells[width:]):
            cells = cells[:width]                           # a delimiter at the end of the line
        if len(cells) != width:
            return Unfit("wrong_width", "", f"the row has {len(cells)} columns, not {width}")
        for name, cell in zip(header, cells, strict=True):
            if not cell.isascii() and any("\ud800" <= char <= "\udfff" for char in cell):
                return Unfit("bad_encoding", name, self._not_text)
        return dict(zip(header, cells, strict=True))


def _marked(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else ""


def sniff(header: str, quote: str = '"') -> str:
    """The delimiter that stands most often in the header, outside quotes; else a comma."""
    outside, counts = True, Counter[str]()
    for char in header:
        if quote and char == quote:
            outside = not outside
        elif outside and char in DELIMITERS:
            counts[char] += 1
    return max(DELIMITERS, key=lambda mark: counts[mark])


def _numbered(names: list[str]) -> tuple[list[str], frozenset[str]]:
    counts, seen = Counter(names), Counter[str]()
    header = []
    for name in names:
        seen[name] += 1
        header.append(f"{name}#{seen[name]}" if counts[name] > 1 else name)
    return header, frozenset(name for name, count in counts.items() if count > 1)
