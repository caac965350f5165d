"""Commands that bring labels in and datasets out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

import_app = typer.Typer(help="Bring images and labels in.", no_args_is_help=True)


@import_app.callback()
def _imports() -> None:
    """Bring images and labels in."""


@import_app.command("snapshots")
def import_snapshots(
    file: Annotated[
        Path, typer.Argument(help="CSV with image, webcam, phase, captured_at and more.", metavar="FILE.csv")
    ],
    images: Annotated[
        Path | None, typer.Option("--images", help="Directory of the image paths.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Import webcam snapshots and their ratings. Importing a file again adds nothing.

    Columns: image (a path under DIR, or a URL), webcam, phase (sunrise or sunset), captured_at (ISO 8601 with zone);
    optional: rating (1..5, 0 = not a sunset), rater, label_source, group, title, lat, lng, region, source.

    Example: afterglow import snapshots labels.csv --images photos/
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from worker.cli.output import console, print_json, print_table, remarks
    from worker.importers import snapshots
    from worker.places import file_store
    from worker.up import running_services

    if images is not None and not images.is_dir():
        raise snapshots.ImportRefused(f"--images {images} is not a directory")
    with running_services(), Progress(
        TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=remarks
    ) as bar:  # fmt: skip
        task = bar.add_task("import", total=None)
        report = snapshots.import_snapshots(
            file, images, file_store(), lambda done, total: bar.update(task, completed=done, total=total)
        )
    if as_json:
        print_json(report.to_json())
    else:
        console.print(
            f"{report.rows} rows: {report.imported} imported, {report.known} already known, "
            f"{len(report.refused)} refused"
        )
        console.print(
            f"added: {report.webcams_added} webcams, {report.snapshots_added} snapshots, {report.ratings_added} ratings"
        )
        if report.refused:
            print_table(("row", "column", "reason"), [(one.row, one.column, one.reason) for one in report.refused[:50]])
            if len(report.refused) > 50:
                console.print(f"... and {len(report.refused) - 50} more; --json lists them all")
    if report.rows and len(report.refused) == report.rows:
        raise typer.Exit(1)


def export(
    kind: Annotated[str, typer.Argument(help="Kind of judgement, e.g. rating.")],
    head: Annotated[str | None, typer.Option(help="Head the targets are for; default: the kind's first.")] = None,
    min_rating_count: Annotated[int, typer.Option(help="Fewest people who must have judged a snapshot.", min=1)] = 1,
    as_of: Annotated[datetime | None, typer.Option(help="Labels as they stood then (UTC).")] = None,
    out: Annotated[Path | None, typer.Option(help="Also copy the five files here.", metavar="DIR")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the dataset as JSON.")] = False,
) -> None:
    """Freeze labels as a dataset: manifests, splits and what each gate dropped.

    Example: afterglow export rating --min-rating-count 2 --out dataset/
    """
    import shutil
    from datetime import UTC

    from ml.export_dataset import Gates
    from ml.judgements import judgement
    from ml.judgements.base import JudgementError
    from worker.cli.output import console, print_json
    from worker.places import file_store
    from worker.stages.export_dataset import export_now
    from worker.up import running_services

    if head is not None and head not in judgement(kind).heads:
        raise JudgementError(f"a {kind} model has no head {head!r}; choose from {', '.join(judgement(kind).heads)}")
    moment = as_of.replace(tzinfo=UTC) if as_of is not None and as_of.tzinfo is None else as_of
    with running_services():
        dataset = export_now(kind, head or judgement(kind).heads[0], Gates(min_rating_count=min_rating_count), moment)
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


def count_lines(counts: dict) -> list[str]:  # type: ignore[type-arg]
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
