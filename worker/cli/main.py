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


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"afterglow {version('afterglow')}")
        raise typer.Exit


@app.callback()
def options(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            help="Where everything is kept; may stand anywhere in the line [AFTERGLOW_DATA_DIR; default: ./var].",
            metavar="DIR",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of all commands."""
    if data_dir is not None:
        os.environ["AFTERGLOW_DATA_DIR"] = str(data_dir)


def with_data_dir_first(words: list[str]) -> list[str]:
    """The command line with `--data-dir DIR` moved to the front, wherever it stood before a bare `--`."""
    end = words.index("--") if "--" in words else len(words)
    front: list[str] = []
    rest: list[str] = []
    place = 0
    while place < end:
        word = words[place]
        if word == "--data-dir" and place + 1 < end:
            front += [word, words[place + 1]]
            place += 1
        elif word.startswith("--data-dir="):
            front.append(word)
        else:
            rest.append(word)
        place += 1
    return [*front, *rest, *words[end:]]


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
        app(with_data_dir_first(sys.argv[1:]))
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
