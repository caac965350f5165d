"""Arguments and options that several commands share, and the completion of their values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlmodel import Session

NUM_COMPLETED = 50
"""Newest rows that completion offers."""


def complete_kinds(incomplete: str) -> list[str]:
    """Kinds of judgement that begin so."""
    from ml.judgements import kinds

    return [kind for kind in kinds() if kind.startswith(incomplete)]


def complete_versions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Model versions that begin so, newest first, if a database is running."""

    def read(session: Session) -> list[str]:
        from db.queries import models

        return [row.model_version for row in models.list_versions(session, limit=NUM_COMPLETED)]

    return [name for name in _from_database(ctx, read) if name.startswith(incomplete)]


def complete_jobs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Numbers of jobs that begin so, newest first, with what they are, if a database is running."""

    def read(session: Session) -> list[tuple[str, str]]:
        from db.queries import jobs

        return [(str(row.id), f"{row.kind}, {row.state}") for row in jobs.list_jobs(session, limit=NUM_COMPLETED)]

    return [each for each in _from_database(ctx, read) if each[0].startswith(incomplete)]


def complete_states(incomplete: str) -> list[str]:
    """States of jobs that begin so."""
    from db.tables.jobs import STATES

    return [state for state in STATES if state.startswith(incomplete)]


def complete_scopes(incomplete: str) -> list[str]:
    """Lists of scopes that go on from what is typed."""
    from db.tables.access import SCOPES

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{scope}" for scope in SCOPES if scope.startswith(last)]


def _from_database(ctx: typer.Context, read: Callable[[Session], list[Any]]) -> list[Any]:
    """What `read` finds, or nothing where no database runs: completion starts no service and never complains."""
    try:
        with _data_dir(ctx):
            from db.engine import session_scope

            with session_scope() as session:
                return read(session)
    except Exception:  # noqa: BLE001  a shell that completes has no place for an error
        return []


@contextmanager
def _data_dir(ctx: typer.Context) -> Iterator[None]:
    given = ctx.find_root().params.get("data_dir")
    if given:
        os.environ["AFTERGLOW_DATA_DIR"] = str(given)
    yield


Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on stdout and nothing else.", rich_help_panel="Output"),
]
KindArgument = Annotated[
    str, typer.Argument(help="Kind of judgement, e.g. rating.", metavar="KIND", autocompletion=complete_kinds)
]
KindOption = Annotated[
    str | None,
    typer.Option("--kind", help="Only this kind of judgement; default: all.", autocompletion=complete_kinds),
]
VersionArgument = Annotated[
    str,
    typer.Argument(
        help="Model version, as `afterglow models` lists it.", metavar="VERSION", autocompletion=complete_versions
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="One recipe key, e.g. backbone=resnet18. May be repeated.", metavar="KEY=VALUE"),
]
JobArgument = Annotated[
    int,
    typer.Argument(help="Number of the job, as `afterglow jobs` lists it.", metavar="JOB",
                   autocompletion=complete_jobs),
]  # fmt: skip
Limit = Annotated[int, typer.Option("--limit", help="Newest rows to show, 1 to 1000.", min=1, max=1000)]
Before = Annotated[
    int | None,
    typer.Option("--before", help="Only those with a smaller number: the next page of a list.", metavar="ID", min=1),
]
