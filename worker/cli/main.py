"""`afterglow`: all commands in one place."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from worker.cli import data, jobs, keys, models, scoring, services

app = typer.Typer(
    name="afterglow",
    help="Turn people's judgements of images into models that can be trusted, and keep them honest.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", help="Where everything is kept [AFTERGLOW_DATA_DIR; default: ./var].", metavar="DIR"
        ),
    ] = None,
) -> None:
    """Options of all commands."""
    if data_dir is not None:
        os.environ["AFTERGLOW_DATA_DIR"] = str(data_dir)


app.command("up")(services.up)
app.command("migrate")(services.migrate)
app.command("demo")(services.demo)
app.add_typer(data.import_app, name="import")
app.command("export")(data.export)
app.command("train")(models.train)
app.command("evaluate")(models.evaluate)
app.command("models")(models.list_models)
app.command("promote")(models.promote)
app.command("rollback")(models.rollback)
app.command("score")(scoring.score)
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run the command line; what people can mend is one plain line on stderr, not a trace."""
    from worker.cli.errors import explain

    try:
        app()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f"afterglow: {message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
