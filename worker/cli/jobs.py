"""Commands for jobs."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Jobs: what runs, what ran, why something failed.", no_args_is_help=True)


@app.command("list")
def list_jobs(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(help="Newest jobs to show.", min=1, max=1000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List jobs, newest first.

    Example: afterglow jobs list --state failed
    """
    from db.engine import session_scope
    from db.queries import jobs
    from worker.cli.output import print_json, print_table
    from worker.up import running_services

    with running_services(), session_scope() as session:
        rows = jobs.list_jobs(session, state=state, limit=limit)
    if as_json:
        print_json([row.model_dump() for row in rows])
    else:
        print_table(
            ("id", "kind", "state", "progress", "attempt", "message or reason"),
            [
                (row.id, row.kind, row.state, f"{row.progress:.0%}", f"{row.attempt}/{row.max_attempts}",
                 row.reason or row.message)
                for row in rows
            ],
        )  # fmt: skip


@app.command("show")
def show(
    job_id: Annotated[int, typer.Argument(help="Number of the job.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show one job with all that happened to it."""
    from db.engine import session_scope
    from db.queries import jobs
    from worker.cli.output import console, print_json, print_table
    from worker.up import running_services

    with running_services(), session_scope() as session:
        job = jobs.get_job(session, job_id)
        events = jobs.job_events(session, job_id)
    if as_json:
        print_json({**job.model_dump(), "events": [event.model_dump() for event in events]})
        return
    console.print(f"job {job.id} {job.kind}: {job.state}{': ' + job.reason if job.reason else ''}")
    print_table(
        ("time", "attempt", "event", "message", "worker"),
        [(f"{e.created_at:%H:%M:%S}", e.attempt, e.event, e.message, e.worker) for e in events],
    )


@app.command("cancel")
def cancel(job_id: Annotated[int, typer.Argument(help="Number of the job.")]) -> None:
    """Cancel a queued job at once; ask a running one to stop."""
    from db.engine import session_scope
    from db.queries import jobs
    from worker.cli.output import console
    from worker.up import running_services

    with running_services(), session_scope() as session:
        job = jobs.cancel_job(session, job_id)
    console.print(f"job {job_id} is {'cancelled' if job.state == 'cancelled' else 'asked to stop'}")
