"""Commands for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.options import Before, JobArgument, Json, Limit, complete_jobs, complete_states

if TYPE_CHECKING:
    from sqlmodel import Session

    from db.tables import Job, JobEvent

app = typer.Typer()

State = Annotated[
    str | None,
    typer.Option("--state", help="Only jobs in this state: queued, running, succeeded, failed, cancelled, dead.",
                 metavar="STATE", autocompletion=complete_states),
]  # fmt: skip
JobKind = Annotated[
    str | None,
    typer.Option("--kind", help="Only this kind of job, e.g. train, export_onnx, evaluate, retrain or gate.",
                 metavar="KIND"),
]  # fmt: skip


@app.callback(invoke_without_command=True)
def jobs(
    ctx: typer.Context,
    state: State = None,
    kind: JobKind = None,
    limit: Limit = 20,
    before: Before = None,
    watch_them: Annotated[
        bool, typer.Option("--watch", help="Show live what runs and waits, as `jobs watch`.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Jobs, newest first: what runs, what ran, why something failed.

    Examples:
    afterglow jobs
    afterglow jobs --state failed --limit 5
    afterglow jobs --watch
    """
    if ctx.invoked_subcommand is not None:
        return
    if watch_them:
        watch(None)
    else:
        list_jobs(state=state, kind=kind, limit=limit, before=before, as_json=as_json)


@app.command("list")
def list_jobs(
    state: State = None, kind: JobKind = None, limit: Limit = 20, before: Before = None, as_json: Json = False
) -> None:
    """List jobs, newest first; the same as `afterglow jobs`.

    Example: afterglow jobs list --kind train --limit 50 --before 812
    """
    from db.engine import session_scope
    from db.queries import jobs
    from worker.cli.output import manner, print_json, say_more
    from worker.cli.workers import warn_if_nobody_works
    from worker.services import running_services

    _check(state, kind)
    with running_services() as services:
        with session_scope() as session:
            rows = jobs.list_jobs(session, state=state, kind=kind, before_id=before, limit=limit)
        if as_json or manner.as_json:
            print_json([row.model_dump() for row in rows])
            return
        _print_jobs(rows)
        if rows:
            say_more("afterglow jobs", rows, limit, rows[-1].id)
        if any(row.state == "queued" for row in rows):
            warn_if_nobody_works(services.data_dir, {row.queue for row in rows if row.state == "queued"})


def _check(state: str | None, kind: str | None) -> None:
    from db.tables.jobs import STATES
    from worker.cli.errors import WrongInput
    from worker.queue import QUEUES

    if state is not None and state not in STATES:
        raise WrongInput(f"no job is ever {state!r}; choose from {', '.join(STATES)}")
    if kind is not None and kind not in QUEUES:
        raise WrongInput(f"no job is called {kind!r}; choose from {', '.join(QUEUES)}")


def _print_jobs(rows: Any) -> None:
    from worker.cli.output import console, moment, print_table

    if not rows:
        console.print("no jobs")
        return
    print_table(
        ("id", "kind", "state", "progress", "attempt", "submitted (UTC)", "message or reason"),
        [
            (row.id, row.kind, row.state, f"{row.progress:.0%}", f"{row.attempt}/{row.max_attempts}",
             moment(row.created_at), row.reason or row.message)
            for row in rows
        ],
    )  # fmt: skip


@app.command("watch")
def watch(
    job_id: Annotated[
        int | None,
        typer.Argument(
            help="Number of one job; default: all that run or wait.",
            metavar="[JOB]",
            show_default=False,
            autocompletion=complete_jobs,
        ),
    ] = None,
) -> None:
    """Show live how far running jobs are, until they have ended. Ctrl-C ends the watching, not the jobs.

    With a number: that job and all that follow from it; exit code 1 when one of them does not succeed.

    Examples:
    afterglow jobs watch
    afterglow jobs watch 812
    """
    from worker.cli.errors import WrongInput
    from worker.cli.output import manner
    from worker.cli.watch import watch_jobs
    from worker.services import running_services

    if manner.as_json:
        raise WrongInput("watching is for people; programs read `afterglow jobs --json` or `jobs show JOB --json`")
    with running_services() as services:
        watch_jobs(services.data_dir, job_id)


@app.command("show")
def show(job_id: JobArgument, as_json: Json = False) -> None:
    """Show one job with all that happened to it: attempts, log, and why it ended.

    Example: afterglow jobs show 812
    """
    from db.engine import session_scope
    from db.queries import jobs
    from worker.cli.output import print_json
    from worker.cli.workers import warn_if_nobody_works
    from worker.services import running_services

    with running_services() as services:
        with session_scope() as session:
            job = jobs.get_job(session, job_id)
            events = _all_events(session, job_id)
            follow_ups = [one.id for one in jobs.follow_up_jobs(session, job_id)]
        if as_json:
            print_json(
                {**job.model_dump(), "events": [event.model_dump() for event in events], "follow_ups": follow_ups}
            )
            return
        _print_job(job, events, follow_ups)
        if job.state == "queued":
            warn_if_nobody_works(services.data_dir, {job.queue})


def _all_events(session: Session, job_id: int) -> list[JobEvent]:
    from db.queries import jobs

    events: list[JobEvent] = []
    while page := jobs.job_events(session, job_id, after_id=events[-1].id or 0 if events else 0):
        events += page
    return events


def _print_job(job: Job, events: list[JobEvent], follow_ups: list[int | None]) -> None:
    from worker.cli.output import console, moment, print_table, seconds_since

    facts = [
        ("state", f"{job.state}, attempt {job.attempt} of {job.max_attempts}, {job.progress:.0%}"),
        ("reason", job.reason),
        ("doing", job.message if job.state == "running" else None),
        ("heartbeat", f"{seconds_since(job.heartbeat_at):.0f} s ago" if job.state == "running" and job.heartbeat_at
         else None),
        ("worker", job.lease_owner),
        ("submitted", f"{moment(job.created_at)} UTC"),
        ("queue", job.queue),
        ("retry of", job.retry_of),
        ("follows", job.parent_id),
        ("followed by", ", ".join(str(one) for one in follow_ups) or None),
    ]  # fmt: skip
    console.print(f"job {job.id}, {job.kind}", style="bold")
    for label, value in facts:
        if value is not None:
            console.print(f"{label:<12} {value}", markup=False)
    console.print()
    print_table(
        ("time (UTC)", "attempt", "event", "message", "worker"),
        [(f"{e.created_at:%H:%M:%S}", e.attempt, e.event, e.message, e.worker) for e in events],
    )


@app.command("cancel")
def cancel(job_id: JobArgument, as_json: Json = False) -> None:
    """Cancel a queued job at once; ask a running one to stop.

    Example: afterglow jobs cancel 812
    """
    from db.engine import session_scope
    from db.queries import jobs
    from worker.cli.output import console, print_json
    from worker.services import running_services

    with running_services(), session_scope() as session:
        job = jobs.cancel_job(session, job_id)
    if as_json:
        print_json(job.model_dump())
    else:
        console.print(f"job {job_id} is {'cancelled' if job.state == 'cancelled' else 'asked to stop'}")


@app.command("retry")
def retry(
    job_id: JobArgument,
    wait: Annotated[
        bool | None,
        typer.Option(
            "--wait/--no-wait", help="Follow it to its end; default: only when this command has to run it itself."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Try a job again that failed, died or was cancelled, as a new job; a training goes on from its last checkpoint.

    Where `afterglow up` or other workers run, they take it; else this command runs it and waits. Trying the same job
    again twice gives one new job.

    Example: afterglow jobs retry 812
    """
    from db.engine import session_scope
    from db.queries import jobs
    from worker.cli.follow import follow
    from worker.cli.output import console, print_json, remarks
    from worker.queue import retry_job
    from worker.services import running_services

    with running_services(jobs=wait is not False) as services:
        with session_scope() as session:
            job, is_new = retry_job(session, job_id)
        assert job.id is not None
        said = f"job {job_id} is tried again as job {job.id}" + ("" if is_new else ", as asked for before")
        if services.runs_jobs or wait:
            remarks.print(said)
            follow(job.id, runs_here=services.runs_jobs)
        with session_scope() as session:
            job = jobs.get_job(session, job.id)
    if as_json:
        print_json({**job.model_dump(), "is_new": is_new})
    else:
        console.print(f"{said}: {job.state}. Watch it with `afterglow jobs watch {job.id}`"
                      if job.state in ("queued", "running") else f"{said}: {job.state}")  # fmt: skip
