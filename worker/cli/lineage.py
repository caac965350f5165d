"""Commands that say where a model comes from, and where a snapshot, a rater or an import went."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.options import Before, Json, Limit

if TYPE_CHECKING:
    from db.queries.exclusions import Subject
    from db.queries.lineage import RunRow, RunUse

app = typer.Typer(no_args_is_help=True)
RunArgument = Annotated[
    str, typer.Argument(help="Number of a training run, or the version that it made.", metavar="RUN|VERSION")
]
_RATINGS_SHOWN = 6


@app.callback()
def _lineage() -> None:
    """Which rows, raters and imports made a model, and which models they made.

    Example: afterglow lineage run sunset_v2_2026_02_12
    """


@app.command("run")
def run(
    name: RunArgument,
    split: Annotated[str | None, typer.Option(help="Only rows of this split: train, val or test.")] = None,
    rater: Annotated[str | None, typer.Option(help="Only rows that this rater has a part in.", metavar="NAME")] = None,
    after: Annotated[
        int, typer.Option(help="Only snapshots with a larger number: the next page.", metavar="SNAPSHOT", min=0)
    ] = 0,
    limit: Annotated[int, typer.Option(help="Rows to show.", min=1, max=1_000_000)] = 50,
    as_json: Json = False,
) -> None:
    """The exact rows of a run as they were when it began: image, label, split, source, every raw rating behind it.

    Examples:
    afterglow lineage run sunset_v2_2026_02_12 --split test
    afterglow lineage run 7 --rater ann --limit 1000 --json
    """
    from db.engine import session_scope
    from db.queries import lineage, models
    from ml.manifest import SPLITS
    from worker.cli.errors import WrongInput
    from worker.cli.output import console, print_json, print_table, remarks
    from worker.services import running_services

    if split is not None and split not in SPLITS:
        raise WrongInput(f"--split {split} is none; choose from {', '.join(SPLITS)}")
    with running_services(), session_scope() as session:
        run_id = models.named_run(session, name).id
        assert run_id is not None
        summary = lineage.run_summary(session, run_id)
        rows = lineage.run_rows(session, run_id, split=split, rater=rater, cursor=after, limit=limit)
    if as_json:
        print_json({**summary, "rows": [_row_facts(row) for row in rows]})
        return
    for line in _summary_lines(summary):
        console.print(line, markup=False)
    if not rows:
        console.print("no such rows")
        return
    print_table(("snapshot", "image", "label", "source", "split", "ratings"), [_row_cells(row) for row in rows])
    if len(rows) == limit:
        remarks.print(f"there may be more: afterglow lineage run {name} --after {rows[-1].snapshot_id}", markup=False)


def _row_facts(row: RunRow) -> dict[str, Any]:
    columns = ("user_session_id", "rating", "is_sunset_verdict", "label_source", "import_id")
    ratings = [{column: getattr(one, column) for column in columns} for one in row.ratings]
    return {**row.__dict__, "ratings": ratings}


def _row_cells(row: RunRow) -> tuple[Any, ...]:
    said = [f"{one.user_session_id} {'no sunset' if one.rating is None else one.rating}" for one in row.ratings]
    more = f" and {len(said) - _RATINGS_SHOWN} more" if len(said) > _RATINGS_SHOWN else ""
    ratings = ", ".join(said[:_RATINGS_SHOWN]) + more
    return row.snapshot_id, row.image_sha256[:12], row.label_value, row.label_source, row.split, ratings or "-"


def _summary_lines(summary: dict[str, Any]) -> list[str]:
    num_rows = sum(summary["splits"].values())
    as_of = f", labels as of {summary['as_of']:%Y-%m-%d %H:%M:%S} UTC" if summary["as_of"] else ""
    dataset = f"dataset {summary['dataset_id']}{as_of}" if summary["dataset_id"] else "trained elsewhere"
    splits = ", ".join(f"{n} {split}" for split, n in summary["splits"].items())
    sources = ", ".join(f"{n} {source}" for source, n in summary["sources"].items())
    lines = [
        f"run {summary['run_id']}, {summary['model_version']}: {dataset}",
        f"{num_rows} rows: {splits or 'none'}; labels: {sources or 'none'}",
    ]
    raters = [
        f"{each['rater']} {each['ratings']}{' (excluded now)' if each['excluded'] else ''}"
        for each in summary["raters"]
    ]
    shown = ", ".join(raters[:20]) + (f" and {len(raters) - 20} more; --json names all" if len(raters) > 20 else "")
    lines.append(f"ratings by {len(raters)} raters: {shown}" if raters else "raters: not recorded")
    if summary["imports"]:
        imports = [
            f"{each['import_id']} ({each['ratings']}{', excluded now' if each['excluded'] else ''})"
            for each in summary["imports"]
        ]
        lines.append(f"ratings by import: {', '.join(imports)}")
    return lines


@app.command("snapshot")
def snapshot(
    name: Annotated[
        str, typer.Argument(help="Number of a snapshot, or the sha256 of an image.", metavar="ID|IMAGE_SHA256")
    ],
    limit: Limit = 50,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """The runs that used a snapshot, or any snapshot of an image, with the label and split it had there.

    Example: afterglow lineage snapshot 1234
    """
    from db.engine import session_scope
    from db.queries import lineage, webcams
    from worker.cli.errors import WrongInput
    from worker.cli.output import console, print_json, print_table, say_more
    from worker.services import running_services

    is_image = re.fullmatch(r"[0-9a-f]{64}", name) is not None
    if not is_image and not re.fullmatch(r"[0-9]{1,18}", name):
        raise WrongInput(f"{name} is neither the number of a snapshot nor an image's sha256 (64 hex digits)")
    with running_services(), session_scope() as session:
        if is_image:
            rows = lineage.runs_of_row(session, image_sha256=name, cursor=before, limit=limit)
        else:
            webcams.get_snapshot(session, int(name))
            rows = lineage.runs_of_row(session, snapshot_id=int(name), cursor=before, limit=limit)
    if as_json:
        print_json([row.__dict__ for row in rows])
        return
    if not rows:
        console.print("no run has used it")
        return
    print_table(
        ("id", "run", "version", "active", "snapshot", "label", "source", "split"),
        [
            (r.id, r.run_id, r.model_version, "active" if r.active else "", r.snapshot_id, r.label_value,
             r.label_source, r.split)
            for r in rows
        ],
    )  # fmt: skip
    say_more(f"afterglow lineage snapshot {name}", rows, limit, rows[-1].id)


@app.command("rater")
def rater(
    name: Annotated[str, typer.Argument(help="Name of the rater.", metavar="NAME")],
    limit: Limit = 50,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """The runs that used a rating of this rater, how many rows and what share of them.

    Example: afterglow lineage rater ann
    """
    from db.queries.exclusions import Subject

    _print_uses(Subject(rater=name), f"afterglow lineage rater {name}", limit, before, as_json)


@app.command("import")
def import_(
    import_id: Annotated[int, typer.Argument(help="Number of an import, as `afterglow import list` shows it.",
                                             metavar="ID", min=1)],
    limit: Limit = 50,
    before: Before = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """The runs that used a label of this import, how many rows and what share of them.

    Example: afterglow lineage import 3
    """
    from db.queries.exclusions import Subject

    _print_uses(Subject(import_id=import_id), f"afterglow lineage import {import_id}", limit, before, as_json)


def _print_uses(subject: Subject, command: str, limit: int, before: int | None, as_json: bool) -> None:
    from db.engine import session_scope
    from db.queries import exclusions, lineage
    from worker.cli.output import console, print_json, say_more
    from worker.services import running_services

    with running_services(), session_scope() as session:
        if subject.import_id is not None:
            exclusions.get_import(session, subject.import_id)
        rows = lineage.runs_that_used(session, [subject], cursor=before, limit=limit)
        unknown = lineage.versions_without_raters(session)
    if as_json:
        print_json([use_facts(row) for row in rows])
        return
    if rows:
        print_uses(rows)
        say_more(command, rows, limit, rows[-1].run_id)
    else:
        console.print(f"no run that is recorded here has used {subject}")
    say_unknown(unknown)


def use_facts(row: RunUse) -> dict[str, Any]:
    """A use as JSON."""
    return {**row.__dict__, "share": row.share}


def print_uses(rows: Sequence[RunUse]) -> None:
    """Print which runs used somebody's labels, how many rows of how many, and whether they serve now."""
    from worker.cli.output import print_table

    print_table(
        ("run", "version", "status", "active", "rows", "of", "share", "train rows"),
        [
            (r.run_id, r.model_version, r.status, "active" if r.active else "", r.rows, r.num_rows,
             f"{100 * r.share:.1f} %", r.train_rows)
            for r in rows
        ],
    )  # fmt: skip


def say_unknown(versions: Sequence[str]) -> None:
    """Say of which versions nothing is known, so that their absence proves nothing."""
    from worker.cli.output import remarks

    if versions:
        named = ", ".join(versions[:5]) + (f" and {len(versions) - 5} more" if len(versions) > 5 else "")
        remarks.print(
            f"trained elsewhere, with raters not recorded, so they may be concerned too: {named}", markup=False
        )
