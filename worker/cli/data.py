"""Commands that bring labels in and datasets out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.options import Before, Json, KindArgument, Limit

if TYPE_CHECKING:
    from worker.importers.photo_logs import LogRefusal, LogReport
    from worker.importers.snapshots import ImportReport, Kept, Refusal

import_app = typer.Typer(no_args_is_help=True)


@import_app.callback()
def _imports() -> None:
    """Bring images and labels in.

    Example: afterglow import snapshots labels.csv --images photos/
    """


@import_app.command("snapshots")
def import_snapshots(
    file: Annotated[
        Path, typer.Argument(help="CSV with image, webcam, phase, captured_at and more.", metavar="FILE.csv")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", help="Directory that the image paths are under; default: all images are URLs.", metavar="DIR"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import webcam snapshots and their ratings. Importing a file again adds nothing.

    Columns: image (a path under DIR, or a URL), webcam, phase (sunrise or sunset), captured_at (ISO 8601 with zone);
    optional: rating (1..5, 0 = not a sunset), rater, label_source, group, title, lat, lng, region, source.
    A bad row is refused with its reason and never stops the good ones; exit code 1 when every row was refused.

    Example: afterglow import snapshots labels.csv --images photos/
    """
    import getpass

    from worker.cli.errors import WrongInput
    from worker.cli.output import print_json
    from worker.cli.progress import counted
    from worker.importers import snapshots
    from worker.places import file_store
    from worker.services import running_services

    if images is not None and not images.is_dir():
        raise WrongInput(f"--images {images} is not a directory")
    if not file.is_file():
        raise WrongInput(f"{file} is {'not a file' if file.exists() else 'not there'}: give a CSV file")
    with running_services(), counted("importing", "rows") as report_progress:
        report = snapshots.import_snapshots(file, images, file_store(), report_progress, f"cli:{getpass.getuser()}")
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)
    if report.rows and len(report.refused) == report.rows:
        raise typer.Exit(1)


@import_app.command("log")
def import_log(
    file: Annotated[Path, typer.Argument(help="Log in CSV; its header tells which kind it is.", metavar="FILE.csv")],
    rater: Annotated[str, typer.Option(help="Whose selections and crops they are.", metavar="NAME")] = "import",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be.")] = False,
    as_json: Json = False,
) -> None:
    """Import a log of choosing and cropping photos that were scanned. Importing a file again adds nothing.

    Known: selection_only_log, select_crop_log, crop_training_data, anomaly_cases, historical_crop_log. Photos are matched
    by file name within their project, whatever the directory; a broken row is refused with its reason and never stops
    the good ones. Exit code 1 when every row was refused.

    Example: afterglow import log select_crop_log.csv --rater ann --dry-run
    """
    import getpass

    from worker.cli.errors import WrongInput
    from worker.cli.output import print_json
    from worker.cli.progress import counted
    from worker.importers import photo_logs
    from worker.services import running_services

    if not rater.strip() or len(rater) > 200:
        raise WrongInput("--rater must be a name of 1 to 200 characters")
    with running_services(), counted("importing", "rows") as report_progress:
        report = photo_logs.import_log(file, rater.strip(), f"cli:{getpass.getuser()}", dry_run, report_progress)
    if as_json:
        print_json(report.to_json())
    else:
        _print_log_report(report)
    if report.rows and len(report.refused) == report.rows:
        raise typer.Exit(1)


def _print_log_report(report: LogReport) -> None:
    from worker.cli.output import console

    console.print(
        f"{report.dialect}, {report.rows} rows: {report.imported} imported, {report.known} already known, "
        f"{len(report.refused)} refused, {len(report.crops_refused)} without their crop"
    )
    console.print(
        f"added: {report.groups_added} groups, {report.selections_added} selections, {report.crops_added} crops"
    )
    if report.dry_run:
        console.print("nothing was written, since this is a dry run")
    _print_rows("refused", report.refused)
    _print_rows("taken without their crop", report.crops_refused)


@import_app.command("list")
def list_imports(limit: Limit = 20, before: Before = None, as_json: Json = False) -> None:
    """List imports, newest first, with what each brought in.

    Example: afterglow import list
    """
    from db.engine import session_scope
    from db.queries import exclusions
    from worker.cli.output import console, moment, print_json, print_table, say_more
    from worker.services import running_services

    with running_services(), session_scope() as session:
        rows = list(exclusions.list_imports(session, cursor=before, limit=limit))
        excluded = {subject.import_id for subject in exclusions.excluded_now(session)}
    if as_json:
        print_json([{**row.model_dump(), "excluded": row.id in excluded} for row in rows])
        return
    if not rows:
        console.print("no imports; bring labels in with `afterglow import snapshots FILE.csv`")
        return
    print_table(
        ("id", "file", "sha256", "by", "started (UTC)", "snapshots", "ratings", "refused", ""),
        [
            (r.id, r.file_name, r.file_sha256[:12], r.imported_by, moment(r.started_at),
             *((r.counts or {}).get(name) for name in ("snapshots_added", "ratings_added", "refused")),
             "excluded" if r.id in excluded else "" if r.finished_at else "not finished")
            for r in rows
        ],
    )  # fmt: skip
    say_more("afterglow import list", rows, limit, rows[-1].id)


def _print_report(report: ImportReport) -> None:
    from worker.cli.output import console

    if not report.rows:
        console.print("nothing to import: the file has only its header")
        return
    console.print(
        f"{report.rows} rows: {report.imported} imported, {report.known} already known, {len(report.refused)} refused"
    )
    console.print(
        f"added: {report.webcams_added} webcams, {report.snapshots_added} snapshots, {report.ratings_added} ratings"
    )
    if report.imported:
        console.print(
            f"this is import {report.import_id}; if it was a mistake: afterglow exclude import {report.import_id}"
        )
    _print_rows("refused", report.refused)
    _print_rows("taken, but a webcam keeps what is stored of it", report.kept)


def _print_rows(title: str, rows: Sequence[Refusal | Kept | LogRefusal], limit: int = 50) -> None:
    from worker.cli.output import console, print_table

    if not rows:
        return
    console.print(f"{title}:")
    print_table(("row", "column", "reason"), [(one.row, one.column, one.reason) for one in rows[:limit]])
    if len(rows) > limit:
        console.print(f"... and {len(rows) - limit} more; --json lists them all")


def export(
    kind: KindArgument,
    head: Annotated[
        str | None, typer.Option(help="Head the targets are for; default: the kind's first.", metavar="NAME")
    ] = None,
    min_rating_count: Annotated[int, typer.Option(help="Fewest people who must have judged a snapshot.", min=1)] = 1,
    as_of: Annotated[
        datetime | None, typer.Option(help="Labels as they stood then, in UTC; default: now.", metavar="TIME")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also copy the five files here; default: only into the store.", metavar="DIR")
    ] = None,
    as_json: Json = False,
) -> None:
    """Freeze labels as a dataset: manifests, splits and what each gate dropped.

    Examples:
    afterglow export rating --min-rating-count 2 --out dataset/
    afterglow export rating --as-of 2026-03-01T00:00:00
    """
    import shutil
    from datetime import UTC

    from ml.export_dataset import Gates
    from ml.judgements import judgement
    from ml.judgements.base import JudgementError
    from worker.cli.output import console, print_json
    from worker.cli.progress import working
    from worker.places import file_store
    from worker.services import running_services
    from worker.stages.export_dataset import export_now

    if head is not None and head not in judgement(kind).heads:
        raise JudgementError(f"a {kind} model has no head {head!r}; choose from {', '.join(judgement(kind).heads)}")
    chosen_head = head or judgement(kind).heads[0]
    moment = as_of.replace(tzinfo=UTC) if as_of is not None and as_of.tzinfo is None else as_of
    with running_services(), working("exporting"):
        dataset = export_now(kind, chosen_head, Gates(min_rating_count=min_rating_count), moment)
        if out is not None:
            source = file_store().fetch_directory(dataset.artifact_key, out)
            if source != out:
                shutil.copytree(source, out, dirs_exist_ok=True)
    if as_json:
        print_json({"id": dataset.id, "as_of": dataset.as_of, "manifest_sha256": dataset.manifest_sha256,
                    "counts": dataset.counts, "params": dataset.params})  # fmt: skip
        return
    console.print(f"dataset {dataset.id} as of {dataset.as_of:%Y-%m-%d %H:%M:%S} UTC, sha256 {dataset.manifest_sha256}")
    for line in count_lines(dataset.counts):
        console.print(line)


def count_lines(counts: dict[str, Any]) -> list[str]:
    """What an export kept and dropped, in words."""
    splits = counts["splits"]
    lines = [
        f"kept {counts['kept']} of {counts['total']}: {splits['train']} train, {splits['val']} val, {splits['test']} test "
        f"({counts['test_unseen']} of webcams held out, {counts['test_seen']} of webcams seen)"
    ]
    for reason, number in sorted(counts["excluded"].items()):
        hint = " (gate min_rating_count)" if reason == "rating-count-below-minimum" else ""
        lines.append(f"dropped {number}: {reason}{hint}")
    return lines
