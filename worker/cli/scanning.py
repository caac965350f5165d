"""Commands that take photos into projects, and list projects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.options import Json

if TYPE_CHECKING:
    from worker.stages.scan import LeftOut, ScanReport


def scan(
    directory: Annotated[Path, typer.Argument(help="Directory with photos, at any depth.", metavar="DIR")],
    project: Annotated[str, typer.Option(help="Project that they belong to; made if there is none.", metavar="NAME")],
    as_json: Json = False,
) -> None:
    """Take the photos under a directory into a project. Files are only read, and may be moved later.

    Known from the content: a photo under another path is the same photo. Stage and time come from names like
    20250727_224840_stage1.5_face_swapped.png; files of the same stem go with their image. A scan that was stopped goes on
    where it was. Exit code 1 when there are images and none can be read.

    Example: afterglow scan "training data/mojo1" --project mojo1
    """
    import re

    from worker.cli.errors import WrongInput
    from worker.cli.output import print_json
    from worker.cli.progress import counted
    from worker.services import running_services
    from worker.settings import worker_settings
    from worker.stages.scan import scan as scan_directory

    if not directory.is_dir():
        raise WrongInput(f"{directory} is {'not a directory' if directory.exists() else 'not there'}: name a directory")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,63}", project, re.ASCII):
        raise WrongInput(
            f"{project!r} cannot name a project: 1 to 64 letters, digits, blanks or _ . -, a letter or digit first"
        )
    with running_services(), counted("scanning", "images") as report_progress:
        report = scan_directory(directory, project, report_progress, worker_settings().scan_threads)
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)
    if report.images and len(report.unreadable) == report.images:
        raise typer.Exit(1)


def list_projects(as_json: Json = False) -> None:
    """List projects of photos.

    Example: afterglow projects
    """
    from db.engine import session_scope
    from db.queries import photos
    from worker.cli.output import console, moment, print_json, print_table
    from worker.services import running_services

    with running_services(), session_scope() as session:
        rows = photos.list_projects(session, limit=None)
    if as_json:
        print_json([{**row.model_dump(), "photos": count} for row, count in rows])
    elif rows:
        print_table(("name", "photos", "since (UTC)"), [(r.name, count, moment(r.created_at)) for r, count in rows])
    else:
        console.print("no projects; take photos in with `afterglow scan DIR --project NAME`")


def _print_report(report: ScanReport) -> None:
    from worker.cli.output import console

    if not report.images:
        console.print(f"no images in {report.directory}: nothing was taken in", markup=False)
    else:
        console.print(
            f"{report.images} images: {report.read} read, {report.unchanged} unchanged since they were seen, "
            f"{len(report.unreadable)} cannot be read"
        )
        console.print(
            f"added to {report.project}: {report.photos_added} photos, {report.paths_added} paths, "
            f"{report.companions_added} companions",
            markup=False,
        )
    _print_files("cannot be read", report.unreadable)
    _print_files("left out", report.others)


def _print_files(title: str, files: Sequence[LeftOut], limit: int = 50) -> None:
    from worker.cli.output import console

    if not files:
        return
    console.print(f"{title}:")
    for one in files[:limit]:  # no table: a path that is broken over lines cannot be copied
        console.print(f"  {one.path}: {one.reason}", markup=False, highlight=False, soft_wrap=True)
    if len(files) > limit:
        console.print(f"... and {len(files) - limit} more; --json lists them all")
