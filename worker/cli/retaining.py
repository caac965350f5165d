"""The command that removes by age what nobody needs; it changes nothing unless it is told to."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from worker.cli.options import Json


def retain(
    frames_days: Annotated[
        float | None, typer.Option(help="Days that an image stays; default: as set.", min=1, max=36500, metavar="DAYS")
    ] = None,
    events_days: Annotated[
        float | None,
        typer.Option(help="Days that an attempt to score stays; default: as set.", min=1, max=36500, metavar="DAYS"),
    ] = None,
    commit: Annotated[bool, typer.Option("--commit", help="Remove it, after asking.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --commit: do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Say which old images and attempts to score nobody needs; with --commit, remove them. Images cannot be brought back.

    An image stays where a person rated, seeded or imported the frame, and where a dataset or a training names it.

    Examples:
    afterglow retain
    afterglow retain --frames-days 90 --commit
    """
    from db.engine import session_scope
    from worker.cli.errors import WrongInput
    from worker.cli.output import console, print_json
    from worker.places import file_store
    from worker.services import running_services
    from worker.stages.retain import configured_ages, plan
    from worker.stages.retain import retain as remove

    if yes and not commit:
        raise WrongInput("--yes answers what --commit asks: give both, or neither for a dry run")
    if commit and not yes and (as_json or not sys.stdin.isatty()):
        raise WrongInput("nobody can be asked here: look at the dry run first, then give --commit --yes")
    ages = configured_ages(frames_days, events_days)
    with running_services():
        with session_scope() as session:
            found = plan(session, ages)
        if not as_json:
            _print_plan(found)
        gone = found["frames"]["removed"]
        if not commit:
            if as_json:
                print_json({"dry_run": True, **found})
            else:
                console.print("nothing was changed; --commit removes it")
            return
        if not yes:
            typer.confirm(f"Remove {gone['frames']} images and {found['events']['removed']} attempts?", abort=True)
        done = remove(file_store(), ages)
    if as_json:
        print_json({"dry_run": False, **found, "done": done})
        return
    console.print(
        f"removed: images of {done['frames']} frames, {done['images']} files with {_size(done['bytes'])}, "
        f"{done['events']} attempts to score"
    )


def _print_plan(found: dict[str, Any]) -> None:
    from worker.cli.output import print_table

    frames, events = found["frames"], found["events"]
    rows: list[tuple[str, str, int, str]] = [
        ("frames", f"kept: {reason}", each["frames"], _size(each["bytes"])) for reason, each in frames["kept"].items()
    ]
    gone, total = frames["removed"], frames["total"]
    rows.append(
        ("frames", f"to remove: older than {found['frames_days']:g} days", gone["frames"], _size(gone["bytes"]))
    )
    rows.append(("frames", "total", total["frames"], _size(total["bytes"])))
    rows += [("attempts to score", f"kept: {reason}", number, "") for reason, number in events["kept"].items()]
    rows.append(("attempts to score", f"to remove: older than {found['events_days']:g} days", events["removed"], ""))
    rows.append(("attempts to score", "total", events["total"], ""))
    print_table(("what", "why", "number", "size"), rows)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"
