"""Commands that run Afterglow itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import Json


def up(
    port: Annotated[
        int | None,
        typer.Option(
            help="TCP port of the HTTP server; default: the next free one from 8000.", metavar="PORT", min=1, max=65535
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address that the HTTP server listens on; 0.0.0.0 for all.", metavar="ADDRESS")
    ] = "127.0.0.1",
) -> None:
    """Run everything: Postgres, Redis, server, workers and clock, until Ctrl-C. Exit code 3 when it runs already.

    Examples:
    afterglow up
    afterglow up --port 8000 --data-dir /srv/afterglow
    """
    from worker.up import run_up

    raise typer.Exit(run_up(port=port, host=host))


def migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to date. `afterglow up` and every other command do so by themselves.

    Examples:
    afterglow migrate
    DATABASE_URL=postgresql://me@db.example/afterglow afterglow migrate
    """
    from sqlalchemy import text

    from db.engine import session_scope
    from worker.cli.output import console, print_json
    from worker.services import running_services

    with running_services(), session_scope() as session:
        revision = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    if as_json:
        print_json({"revision": revision})
    else:
        console.print(f"the schema is up to date (revision {revision})")


def demo(
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory",
            help="Where the demo keeps its data, emptied first; default: `demo` in the data directory.",
            metavar="DIR",
        ),
    ] = None,
    webcams: Annotated[int, typer.Option(help="Generated webcams, 8 or more.", min=8)] = 40,
    days: Annotated[int, typer.Option(help="Days of generated frames, 2 or more.", min=2)] = 16,
) -> None:
    """Show the whole cycle on generated data: import, export, train, evaluate, ONNX, promote, score over HTTP.

    Takes about two minutes on two cores and needs no network.

    Example: afterglow demo --directory /tmp/afterglow-demo
    """
    from worker.cli.demo import run_demo

    raise typer.Exit(run_demo(directory, num_webcams=webcams, num_days=days))
