"""The commands that bring an evaluation's page, and the labels that it doubts, to whoever wants to look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import Json, VersionArgument


def report(
    model_version: VersionArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write the page to this file, in place of what is there; default: only say where it is.",
            metavar="FILE.html",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say where the page of a version's last evaluation is, or write it to a file.

    The page needs nothing else: mail it, print it, open it without a network. --json prints the same as JSON.

    Examples:
    afterglow report sunset_v2_2026_02_12
    afterglow report sunset_v2_2026_02_12 --out report.html
    """
    from db.engine import session_scope
    from db.errors import NotFound
    from db.queries import evaluations, models
    from ml.images.atomic import write_over
    from worker.cli.output import check_out, console, print_json
    from worker.places import file_store, report_cache
    from worker.services import running_services
    from worker.verified import read_evaluation_file

    check_out(out)
    again = f"`afterglow evaluate {model_version}` makes one"
    with running_services(), session_scope() as session:
        models.get_version(session, model_version)
        evaluation = evaluations.latest_evaluation(session, model_version)
        if evaluation is None:
            raise NotFound(f"{model_version} has no evaluation yet: {again}")
        page, content = read_evaluation_file(file_store(), evaluation, "report.html"), evaluation.report
        found = file_store().fetch_directory(evaluation.artifact_key, report_cache() / f"evaluation-{evaluation.id}")
    if page is None:
        raise NotFound(f"the last evaluation of {model_version} is older than its pages: {again}")
    if out is not None:
        write_over(out, page)
    if as_json:
        print_json(content)
    else:
        console.print(str(out or found / "report.html"), markup=False)


def suspects(
    model_version: VersionArgument,
    limit: Annotated[int, typer.Option(min=1, help="How many, the most doubtful first.")] = 50,
    as_json: Json = False,
) -> None:
    """List suspected wrong labels of a version's last evaluation, the most doubtful first.

    Doubt is how far a label is from what a model says that did not learn from it, over what chance explains.

    Examples:
    afterglow suspects sunset_v2_2026_02_12
    afterglow suspects sunset_v2_2026_02_12 --limit 200 --json
    """
    from dataclasses import asdict

    from db.engine import session_scope
    from db.errors import NotFound
    from db.queries import evaluations, models
    from ml.suspects import SUSPECTS_FILE, parse_suspects
    from worker.cli.output import console, print_json, print_table
    from worker.places import file_store
    from worker.services import running_services
    from worker.verified import read_evaluation_file

    with running_services(), session_scope() as session:
        models.get_version(session, model_version)
        evaluation = evaluations.latest_evaluation(session, model_version)
        data = None if evaluation is None else read_evaluation_file(file_store(), evaluation, SUSPECTS_FILE)
    if data is None:
        raise NotFound(
            f"no evaluation of {model_version} has ranked labels yet: `afterglow evaluate {model_version}` does"
        )
    ranked = parse_suspects(data)
    if as_json:
        print_json([asdict(each) for each in ranked[:limit]])
        return
    print_table(
        ("rank", "snapshot", "split", "label", "score", "doubt", "direction", "ratings", "raters", "says"),
        [
            (each.rank, each.snapshot_id, each.split, f"{each.label:.2f}", f"{each.score:.2f}", f"{each.doubt:.1f}",
             each.direction, each.ratings, each.raters, each.by)
            for each in ranked[:limit]
        ],
    )  # fmt: skip
    if len(ranked) > limit:
        console.print(f"{limit} of {len(ranked)} rows; --limit shows more")
