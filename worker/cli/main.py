"""`afterglow`: all commands in one place."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from worker.cli import (
    data,
    demo_loop,
    diff,
    disagreements,
    doctor,
    evaluating,
    exclude,
    jobs,
    keys,
    lineage,
    lists,
    login,
    models,
    raters,
    reports,
    reproducing,
    retaining,
    retraining,
    scanning,
    scoring,
    services,
    shadowing,
    tick,
    training,
)
from worker.cli.errors import MEANING, Ending
from worker.cli.output import manner

EPILOG = "\n\n".join(
    [
        "[bold]First steps[/bold]\n"
        "afterglow doctor          what is there, what is missing, what to do\n"
        "afterglow demo            the whole cycle on generated data\n"
        "afterglow train --help    every command explains itself, with examples",
        "[bold]Exit codes[/bold]\n" + "\n".join(f"{int(code):>3}  {says}" for code, says in MEANING.items()),
    ]
)

app = typer.Typer(
    name="afterglow",
    help="Turn people's judgements of images into models that can be trusted, and keep them honest.",
    epilog=EPILOG,
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
            help="Where everything is kept; may stand anywhere in the line. Default: AFTERGLOW_DATA_DIR, else ./var.",
            metavar="DIR",
        ),
    ] = None,
    _quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print results and errors only; may stand anywhere in the line.")
    ] = False,
    _debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Print errors with their traces, as AFTERGLOW_DEBUG=1 does; anywhere in the line."
        ),
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of all commands."""
    if data_dir is not None:
        os.environ["AFTERGLOW_DATA_DIR"] = str(data_dir)


FLAGS = ("--quiet", "-q", "--debug")
"""Options without a value that may stand anywhere in the line."""


def with_common_options_first(words: list[str]) -> list[str]:
    """The command line with the options of all commands moved to the front, wherever they stood before a bare `--`."""
    end = words.index("--") if "--" in words else len(words)
    front: list[str] = []
    rest: list[str] = []
    place = 0
    while place < end:
        word = words[place]
        if word == "--data-dir" and place + 1 < end:
            front += [word, words[place + 1]]
            place += 1
        elif word in FLAGS or word.startswith("--data-dir="):
            front.append(word)
        else:
            rest.append(word)
        place += 1
    return [*front, *rest, *words[end:]]


LEARN, SERVE, LOOK, START = "From labels to models", "Use a model", "See what is going on", "Run Afterglow"

app.command("doctor", rich_help_panel=START)(doctor.doctor)
app.command("demo", rich_help_panel=START)(services.demo)
app.command("demo-loop", rich_help_panel=START)(demo_loop.demo_loop)
app.command("up", rich_help_panel=START)(services.up)
app.command("migrate", rich_help_panel=START)(services.migrate)
app.command("retain", rich_help_panel=START)(retaining.retain)
app.add_typer(keys.app, name="keys", rich_help_panel=START)
app.add_typer(login.app, name="login", rich_help_panel=START)
app.add_typer(data.import_app, name="import", rich_help_panel=LEARN)
app.command("scan", rich_help_panel=LEARN)(scanning.scan)
app.command("export", rich_help_panel=LEARN)(data.export)
app.command("train", rich_help_panel=LEARN)(training.train)
app.command("evaluate", rich_help_panel=LEARN)(training.evaluate)
app.command("evaluate-cycle", rich_help_panel=LEARN)(evaluating.evaluate_cycle)
app.command("retrain", rich_help_panel=LEARN)(retraining.retrain)
app.command("reproduce", rich_help_panel=LEARN)(reproducing.reproduce)
app.command("promote", rich_help_panel=SERVE)(models.promote)
app.command("rollback", rich_help_panel=SERVE)(models.rollback)
app.command("shadow", rich_help_panel=SERVE)(shadowing.shadow)
app.command("score", rich_help_panel=SERVE)(scoring.score)
app.command("tick", rich_help_panel=SERVE)(tick.tick)
app.add_typer(jobs.app, name="jobs", rich_help_panel=LOOK)
app.command("models", rich_help_panel=LOOK)(lists.list_models)
app.command("runs", rich_help_panel=LOOK)(lists.list_runs)
app.command("report", rich_help_panel=LOOK)(reports.report)
app.command("evaluations", rich_help_panel=LOOK)(evaluating.list_evaluations)
app.command("suspects", rich_help_panel=LOOK)(reports.suspects)
app.command("datasets", rich_help_panel=LOOK)(lists.list_datasets)
app.add_typer(lineage.app, name="lineage", rich_help_panel=LOOK)
app.command("projects", rich_help_panel=LOOK)(scanning.list_projects)
app.command("raters", rich_help_panel=LOOK)(raters.raters)
app.command("find-disagreements", rich_help_panel=LOOK)(disagreements.find_disagreements)
app.add_typer(disagreements.app, name="disagreements", rich_help_panel=LOOK)
app.command("diff", rich_help_panel=LOOK)(diff.diff)
app.add_typer(exclude.app, name="exclude", rich_help_panel=LEARN)


def run(words: list[str]) -> int:
    """Run a command line; returns its exit code. What people can mend is one plain sentence on stderr, not a trace."""
    own = words[: words.index("--")] if "--" in words else words
    manner.set(
        as_json="--json" in own,
        quiet="--quiet" in own or "-q" in own,
        debug="--debug" in own or os.environ.get("AFTERGLOW_DEBUG", "0") not in ("", "0"),
    )
    if manner.as_json or manner.quiet:
        import logging

        logging.disable(logging.WARNING)
    try:
        answer = app(with_common_options_first(words), prog_name="afterglow", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `afterglow models | head`: whoever read has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Ending.DONE
    except KeyboardInterrupt:
        answer = int(Ending.INTERRUPTED)
    except Exception as error:  # noqa: BLE001  the last place that can say it in plain words
        return _tell(error)
    code = answer if isinstance(answer, int) else 0
    if code == Ending.INTERRUPTED:
        _print_error("stopped", Ending.INTERRUPTED)
    return code


def _tell(error: Exception) -> int:
    from typer.exceptions import Abort, TyperException

    from worker.cli.errors import told

    if manner.debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, TyperException):
        return _tell_usage(error)
    if isinstance(error, Abort):
        _print_error("stopped", Ending.INTERRUPTED)
        return Ending.INTERRUPTED
    known = told(error)
    if known is None:
        _print_error(
            f"this should not have happened: {type(error).__name__}: {error}. "
            "The same command with --debug shows where; please report it with that.",
            Ending.FAILED,
        )
        return Ending.FAILED
    _print_error(known.message, known.ending)
    return known.ending


def _tell_usage(error: Exception) -> int:
    """A command line that cannot be read; a group without its command shows its help."""
    message = str(getattr(error, "format_message", lambda: error)())
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "afterglow"
    if type(error).__name__ == "NoArgsIsHelpError":
        if not manner.as_json:
            return Ending.WRONG_INPUT  # Typer has printed the help
        message = "a command is missing."
    stop = "" if message.rstrip().endswith((".", "?")) else "."
    _print_error(f"{message.rstrip()}{stop} See `{path} --help`.", Ending.WRONG_INPUT)
    return Ending.WRONG_INPUT


def _print_error(message: str, ending: Ending) -> None:
    if manner.as_json:
        about = {"code": ending.word, "exit_code": int(ending), "message": message}
        print(json.dumps({"error": about}, ensure_ascii=False), file=sys.stderr)
    else:
        print("stopped" if ending is Ending.INTERRUPTED else f"afterglow: {message}", file=sys.stderr)


def main() -> None:
    """The program `afterglow`."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
