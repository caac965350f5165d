"""Commands of evaluation cycles, and of what versions reached over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.options import Before, Json, KindOption, Limit, complete_kinds, complete_versions


def evaluate_cycle(
    kind: Annotated[
        str, typer.Argument(help="Kind of judgement.", metavar="[KIND]", autocompletion=complete_kinds)
    ] = "rating",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end, or only submit it.")] = True,
    as_json: Json = False,
) -> None:
    """Evaluate the active version, the one before it and the newest candidate, on the same rows of today's labels.

    None of these rows, nor what resembles one, was learned from by any of them. AFTERGLOW_EVALUATE_CRON does it by the
    clock.

    Examples:
    afterglow evaluate-cycle
    afterglow evaluate-cycle rating --json
    """
    import getpass

    from db.engine import session_scope
    from db.queries import evaluations
    from worker.cli.follow import follow
    from worker.cli.output import console, print_json, remarks
    from worker.evaluating import history, submit_cycle
    from worker.queue import COMMAND_PRIORITY
    from worker.services import running_services

    with running_services(jobs=wait) as services:
        with session_scope() as session:
            job, _ = submit_cycle(
                session, kind, by=f"cli:{getpass.getuser()}", priority=COMMAND_PRIORITY if wait else None
            )
        assert job.id is not None
        if not wait:
            console.print(f"the cycle is job {job.id}: watch it with `afterglow jobs watch {job.id}`")
            return
        follow(job.id, runs_here=services.runs_jobs)
        with session_scope() as session:
            cycle = evaluations.find_cycle(session, job.id)
            assert cycle is not None and cycle.id is not None
            points = history(evaluations.list_evaluations(session, cycle_id=cycle.id))
            content: dict[str, Any] = {"cycle_id": cycle.id, "summary": cycle.summary, "evaluations": points}
    if as_json:
        print_json(content)
        return
    _print_points(points)
    remarks.print(f"as a page: afterglow report {points[-1]['model_version']}", markup=False)


def list_evaluations(
    kind: KindOption = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Only this version.", autocompletion=complete_versions)
    ] = None,
    role: Annotated[str | None, typer.Option(help="Only this role in a cycle: active, previous, candidate.")] = None,
    cycle: Annotated[int | None, typer.Option(help="Only this evaluation cycle, by its number.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Also write these as a page with a plot to this file; with --kind. Default: the table only.",
            metavar="FILE.html",
        ),
    ] = None,
    limit: Limit = 50,
    before: Before = None,
    as_json: Json = False,
) -> None:
    """List evaluations, newest first: what each version reached over time, beside the best baseline on the same rows.

    Examples:
    afterglow evaluations
    afterglow evaluations --kind rating --role active --out history.html
    """
    from db.engine import session_scope
    from db.queries import evaluations
    from db.tables.evaluations import ROLES
    from ml.history import history_page
    from ml.images.atomic import write_over
    from ml.judgements import judgement
    from worker.cli.errors import WrongInput
    from worker.cli.output import check_out, console, print_json, say_more
    from worker.evaluating import history
    from worker.services import running_services

    if kind is not None:
        judgement(kind)
    if role is not None and role not in ROLES:
        raise WrongInput(f"{role!r} is no role in a cycle: {', '.join(ROLES)}")
    if out is not None and kind is None:
        raise WrongInput("a page is of one kind: give --kind too")
    check_out(out)
    with running_services(), session_scope() as session:
        points = history(
            evaluations.list_evaluations(
                session, version, kind=kind, cycle_id=cycle, role=role, cursor=before, limit=limit
            )
        )
    if out is not None and kind is not None:
        write_over(out, history_page(kind, points).encode())
    if as_json:
        print_json(points)
        return
    if not points:
        console.print("no evaluations; make some with `afterglow evaluate-cycle KIND`")
        return
    _print_points(points)
    say_more("afterglow evaluations", points, limit, points[-1]["evaluation_id"])


def _print_points(points: list[dict[str, Any]]) -> None:
    from worker.cli.output import print_table

    print_table(
        ("id", "when (UTC)", "version", "role", "metric", "value", "best baseline", "rows", "groups"),
        [
            (each["evaluation_id"], str(each["created_at"])[:16].replace("T", " "), each["model_version"], each["role"],
             each["metric"], _figures(each), _figures(each["baseline"]), each["n"], each["n_groups"])
            for each in points
        ],
    )  # fmt: skip


def _figures(found: dict[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return "-"
    low, high = found["interval"] or (None, None)
    span = f" [{low:.3f}, {high:.3f}]" if low is not None else ""
    return f"{found['value']:.3f}{span}" + (f" {found['name']}" if "name" in found else "")
