"""Reading a CSV that somebody else wrote: line by line, however large, every line either a row or a refusal by name.

What makes all rows doubtful refuses the file: another encoding, another separator, a missing column, a quote that is
never closed. What is wrong with one row refuses that row.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

MAX_CSV_BYTES = 1 << 30
MAX_LINE = 131_072
"""Characters of a line at most. No row that could be taken is as long, and so the memory of one line is bounded."""
ROW = "(row)"
"""In place of a column where a row is refused as a whole."""
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class ImportRefused(ValueError):
    """The file as a whole cannot be imported; the message says why and what to do."""


class RowRefused(ValueError):
    """One row cannot be imported."""

    def __init__(self, column: str, reason: str) -> None:
        self.column, self.reason = column, reason
        super().__init__(f"{column}: {reason}")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the file."""

    number: int
    """Where the row begins; the first line of the file is 1."""
    cells: dict[str, str]
    """Column -> text without the blanks around it."""
    refused: RowRefused | None = None
    """Why the row cannot be read; `cells` is empty then."""
    rest: tuple[str, ...] = ()
    """Cells beyond those that the header names, where that is allowed."""


class Table:
    """A CSV whose header and every line were read once, so that nothing is written of a file that breaks later on."""

    def __init__(self, path: Path, required: Sequence[str], optional: Sequence[str], *, ragged: bool = False) -> None:
        """Check the file from its first to its last byte, holding one line at a time.

        With `ragged` a row may have more cells than the header, and fewer as long as it has those of `required`.

        Raises:
            ImportRefused: It cannot be read, is no CSV in UTF-8 with commas, or its columns are not the known ones.
        """
        self._path, self._required, self._known = path, required, (*required, *optional)
        self._ragged = ragged
        _check_file(path)
        self.num_rows = sum(1 for _ in self.lines())

    def lines(self) -> Iterator[Line]:
        """The rows in order, blank lines left out.

        Raises:
            ImportRefused: As when the table was opened, if the file has changed since.
        """
        try:
            with self._path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                lines = _Lines(self._path, file)
                reader = csv.reader(lines, strict=True)
                header = self._header(reader, lines)
                yield from self._rows(reader, lines, header)
        except OSError as error:
            raise ImportRefused(f"cannot read {self._path}: {error.strerror}") from error

    def _rows(self, reader: Iterator[list[str]], lines: _Lines, header: list[str]) -> Iterator[Line]:
        while True:
            try:
                values = self._next(reader, lines)
            except _LongLine as error:
                reason = f"is longer than {MAX_LINE:,} characters, more than any row could need"
                yield Line(error.number, {}, RowRefused(ROW, reason))
                continue
            if values is None:
                return
            if not any(value.strip() for value in values):
                continue
            needed = 1 + max(header.index(name) for name in self._required) if self._ragged else len(header)
            if len(values) < needed or (len(values) > len(header) and not self._ragged):
                reason = f"{len(values)} cells under {len(header)} columns"
                yield Line(lines.begin, {}, RowRefused(ROW, reason))
                continue
            broken = next((name for name, value in zip_longest(header, values, fillvalue="") if "\0" in value), None)
            if broken is not None:
                yield Line(lines.begin, {}, RowRefused(broken, "holds a NUL character, which is no text"))
                continue
            stripped = [value.strip() for value in values]
            cells = dict(zip(header, stripped, strict=False))
            yield Line(lines.begin, cells, rest=tuple(stripped[len(header) :]))

    def _next(self, reader: Iterator[list[str]], lines: _Lines) -> list[str] | None:
        lines.begin_row()
        try:
            return next(reader, None)
        except csv.Error as error:
            if "new-line character" in str(error):
                raise ImportRefused(
                    f"{self._path} line {lines.begin} has a line end of its own: save with LF"
                ) from error
            if lines.number > lines.begin or "unexpected end" in str(error):
                raise ImportRefused(
                    f"{self._path} is not CSV: a quote that is opened on line {lines.begin} is not closed there; "
                    "close it, and write a quote inside a quoted cell twice"
                ) from error
            raise ImportRefused(
                f"{self._path} line {lines.begin} is not CSV: {error}; write a quote inside a quoted cell twice"
            ) from error

    def _header(self, reader: Iterator[list[str]], lines: _Lines) -> list[str]:
        try:
            header = [name.strip() for name in self._next(reader, lines) or []]
        except _LongLine as error:
            raise ImportRefused(f"{self._path}: its first line has more than {MAX_LINE:,} characters") from error
        missing = [name for name in self._required if name not in header]
        unknown = [name for name in header if name not in self._known]
        if missing:
            found = ", ".join(ascii(name)[1:-1] for name in header)[:300] or "nothing"
            raise ImportRefused(
                f"{self._path} lacks the column {', '.join(missing)}; its first line names: {found}"
                + (self._separator_hint(header) or self._near(unknown))
            )
        if unknown:
            names = ", ".join(ascii(name)[1:-1] for name in unknown)[:300]
            raise ImportRefused(
                f"{self._path} has a column that is not known: {names}{self._near(unknown)}. "
                f"Known: {', '.join(self._known)}"
            )
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise ImportRefused(f"{self._path} names the column {', '.join(twice)} twice; keep one of them")
        return header

    def _separator_hint(self, header: list[str]) -> str:
        line = ",".join(header)
        for mark, word in _SEPARATORS.items():
            if mark in line and len(set(self._known) & {part.strip().lower() for part in line.split(mark)}) > 1:
                return f"; its cells are separated by {word}, but commas are wanted: save it as comma-separated"
        if line.lower().startswith("sep="):
            return "; remove that line, and separate cells by commas"
        return ""

    def _near(self, unknown: list[str]) -> str:
        hints = []
        for name in unknown[:5]:
            near = difflib.get_close_matches(name.lower().replace(" ", "_"), self._known, n=1)
            if near:
                hints.append(f"{near[0]} instead of {name[:60]!a}")
        return f"; did you mean {', '.join(hints)}?" if hints else ""


class _LongLine(Exception):
    """A line that is no row; those after it can still be read."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"line {number} is too long")


class _Lines:
    """The physical lines for `csv.reader`. Not a generator: it goes on after it has raised `_LongLine`."""

    def __init__(self, path: Path, file: io.TextIOWrapper) -> None:
        self._path, self._file = path, file
        self.number = 0
        """Of the line that was read last."""
        self.begin = 1
        """Of the line where the current row begins; a quoted cell may go over several."""

    def begin_row(self) -> None:
        """The next line begins a row."""
        self.begin = self.number + 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > MAX_LINE:
            self._skip(line)
        if not line.isascii():
            self._check_text(line)
        return line

    def _skip(self, line: str) -> None:
        """Read a line that is too long to its end. Raises `_LongLine` where the next line begins a row of its own."""
        quotes = line.count('"')
        while not line.endswith(("\n", "\r")) and (line := self._file.readline(MAX_LINE)):
            quotes += line.count('"')
        if self.number > self.begin or quotes % 2:
            raise ImportRefused(
                f"{self._path} is not CSV: a quote that is opened on line {self.begin} is not closed there; close it"
            )
        raise _LongLine(self.number)

    def _check_text(self, line: str) -> None:
        bad = re.search("[\udc80-\udcff]", line)
        if bad is not None:
            raise ImportRefused(
                f"{self._path} is not UTF-8 (line {self.number} holds the byte {ord(bad[0]) - 0xDC00:#04x}): "
                "save it as UTF-8"
            )


def _check_file(path: Path) -> None:
    """Refuse what is no file with text, before a byte of it is taken for a row."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise ImportRefused(f"{path} is a directory: name the CSV file in it")
        if not stat.S_ISREG(found.st_mode):
            raise ImportRefused(f"{path} is not a plain file: it is read twice, so save it to a file first")
        if found.st_size == 0:
            raise ImportRefused(f"{path} is empty: its first line must name the columns")
        if found.st_size > MAX_CSV_BYTES:
            raise ImportRefused(f"{path} is larger than 1 GiB: split it")
        # A name that became a pipe meanwhile must not hold us up.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise ImportRefused(f"cannot read {path}: {error.strerror}") from error
    if start.startswith(_UTF16):
        raise ImportRefused(f"{path} is UTF-16: save it as UTF-8")
    if start.startswith(b"PK\x03\x04"):
        raise ImportRefused(f"{path} is a zip file or a spreadsheet: save it as CSV in UTF-8")
    if b"\0" in start.partition(b"\n")[0]:
        raise ImportRefused(f"{path} has NUL characters in its first line: it is not UTF-8 text; save it as UTF-8")
