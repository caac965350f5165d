"""Commands that run Afterglow itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def up(
    port: Annotated[
        int | None, typer.Option(help="Port of the HTTP server; default: the next free one from 8000.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address that the HTTP server listens on.")] = "127.0.0.1",
) -> None:
    """Run everything: Postgres, Redis, server, workers and clock, until Ctrl-C.

    Example: afterglow up --port 8000
    """
    from worker.up import run_up

    raise typer.Exit(run_up(port=port, host=host))


def migrate() -> None:
    """Bring the database's schema up to date.

    Example: DATABASE_URL=postgresql://... afterglow migrate
    """
    from worker.cli.output import console
    from worker.up import running_services

    with running_services():
        console.print("the schema is up to date")


def demo(
    directory: Annotated[
        Path | None, typer.Option("--directory", help="Where the demo keeps its data; emptied first.", metavar="DIR")
    ] = None,
    webcams: Annotated[int, typer.Option(help="Generated webcams.", min=8)] = 40,
    days: Annotated[int, typer.Option(help="Days of generated frames.", min=2)] = 16,
) -> None:
    """Show the whole cycle on generated data: import, export, train, evaluate, ONNX, promote, score over HTTP.

    Example: afterglow demo
    """
    from worker.cli.demo import run_demo

    raise typer.Exit(run_demo(directory, num_webcams=webcams, num_days=days))
