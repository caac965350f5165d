"""What commands print: results on stdout, as text or JSON; progress, remarks and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from worker.cli.errors import WrongInput

WIDTH_OF_FILES = 120
"""Columns of tables that go into a file or a pipe, where there is no terminal to ask."""

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
remarks = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass
class Manner:
    """How this process speaks, for all of its commands."""

    as_json: bool = False
    """Results and errors as one JSON document each; no progress and no remarks."""
    quiet: bool = False
    """Results and errors only."""
    debug: bool = False
    """Errors with their traces."""

    def set(self, *, as_json: bool, quiet: bool, debug: bool) -> None:
        """Take it up; called once, before a command runs."""
        self.as_json, self.quiet, self.debug = as_json, quiet, debug
        remarks.quiet = as_json or quiet


manner = Manner()


def print_json(content: Any) -> None:
    """Print one JSON value on stdout."""
    print(json.dumps(content, indent=2, ensure_ascii=False, default=_as_text))


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under their headers."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    console.print(table, markup=False)


def say_more(command: str, rows: Sequence[Any], limit: int, last: Any) -> None:
    """Say how to get the next page, when this one is full."""
    if len(rows) == limit:
        remarks.print(f"there may be more: {command} --before {last}", markup=False)


def moment(value: datetime | None) -> str | None:
    """A time for people: UTC, to the minute; None stays None."""
    return None if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"


def seconds_since(value: datetime) -> float:
    """Seconds from a moment to now, never negative (the database's clock may be ahead of ours)."""
    return max(0.0, (datetime.now(UTC) - value).total_seconds())


def check_out(out: Path | None) -> None:
    """Refuse a file for --out that cannot be written, before anything is done for it.

    Raises:
        WrongInput: It is a directory, or its folder does not exist.
    """
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise WrongInput(f"--out {out} cannot be written: give the name of a file in a folder that exists")
