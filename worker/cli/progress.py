"""Progress of what takes long: a bar on a terminal, now and then a plain line elsewhere, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from worker.cli.output import remarks

LINE_EVERY_S = 10.0
"""Seconds between two plain lines at most, unless a tenth of the work was done meanwhile."""

Report = Callable[[int, int], None]
"""Takes the number of things done and of all."""


@contextmanager
def counted(title: str, unit: str) -> Iterator[Report]:
    """Show how many of a known number are done.

    Args:
        title: What is done, e.g. `importing`.
        unit: What is counted, e.g. `rows`.
    """
    if remarks.quiet:
        yield lambda done, total: None
        return
    if not remarks.is_terminal:
        yield _plain(title, unit)
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Progress(*columns, console=remarks, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain(title: str, unit: str) -> Report:
    said_tenth, said_at = 0, time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal said_tenth, said_at
        tenth = 10 * done // total if total else 10
        now = time.monotonic()
        if tenth > said_tenth or now - said_at > LINE_EVERY_S:
            said_tenth, said_at = tenth, now
            remarks.print(f"{title}: {done} of {total} {unit}", markup=False)

    return report


@contextmanager
def working(title: str) -> Iterator[None]:
    """Show that something is going on whose end cannot be foretold."""
    if remarks.is_terminal and not remarks.quiet:
        columns = (SpinnerColumn(), TextColumn(title), TimeElapsedColumn())
        with Progress(*columns, console=remarks, transient=True) as bar:
            bar.add_task(title, total=None)
            yield
    else:
        remarks.print(f"{title} ...", markup=False)
        yield
