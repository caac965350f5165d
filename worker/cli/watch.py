"""A live view of jobs: a table on a terminal, a plain line for each change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from db.engine import session_scope
from db.queries import jobs
from db.tables import Job
from worker.cli.follow import JobBars, JobEndedBadly
from worker.cli.output import console, remarks, seconds_since
from worker.cli.workers import warn_if_nobody_works

POLL_S = 0.5
MAX_SHOWN = 30
WARN_AFTER_POLLS = 4
"""A queued job is normally taken within a second or two; only then is it worth asking whether anybody works."""


def watch_jobs(data_dir: Path, job_id: int | None) -> None:
    """Show one job with its follow-ups, or all that run or wait, until none of them does.

    Raises:
        NotFound: There is no such job.
        JobEndedBadly: The one job, or one that followed from it, did not succeed.
    """
    watched: dict[int, Job] = {}
    polls = 0
    try:
        with _View() as view:
            while True:
                for job in _look(job_id, watched):
                    assert job.id is not None
                    watched[job.id] = job
                view.show(list(watched.values()))
                open_jobs = [job for job in watched.values() if not jobs.is_final(job.state)]
                if not open_jobs:
                    break
                if polls == WARN_AFTER_POLLS:
                    warn_if_nobody_works(data_dir, {job.queue for job in open_jobs if job.state == "queued"})
                polls += 1
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        left = [str(job.id) for job in watched.values() if not jobs.is_final(job.state)]
        if left:
            remarks.print(f"watching ended; job {', '.join(left)} goes on. `afterglow jobs cancel {left[0]}` ends one.")
        raise
    if not watched:
        console.print("no job runs or waits")
    tried_again = {job.retry_of for job in watched.values()}
    for job in watched.values():
        if job_id is not None and job.state != "succeeded" and job.id not in tried_again:
            raise JobEndedBadly(f"job {job.id} ({job.kind}) {job.state}: {job.reason}")


def _look(job_id: int | None, watched: dict[int, Job]) -> Sequence[Job]:
    """The jobs to show as they are now: those watched so far, and new ones."""
    with session_scope() as session:
        found = {
            number: jobs.get_job(session, number) for number, job in watched.items() if not jobs.is_final(job.state)
        }
        if job_id is None:
            for state in ("running", "queued"):
                found |= {job.id: job for job in jobs.list_jobs(session, state=state, limit=MAX_SHOWN) if job.id}
        else:
            family = [job_id]
            for number in family:
                found[number] = jobs.get_job(session, number)
                family += [job.id for job in jobs.follow_up_jobs(session, number) if job.id]
    return sorted(found.values(), key=lambda job: job.id or 0)


class _View(JobBars):
    """The table, redrawn in place; elsewhere the lines of `JobBars`."""

    def __init__(self) -> None:
        super().__init__()
        self._bars = None
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> _View:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, rows: list[Job]) -> None:  # type: ignore[override]
        if self._live:
            self._live.update(jobs_table(rows))
            return
        for job in rows:
            super().show(job)


def jobs_table(rows: Sequence[Job]) -> Table:
    """Jobs with their state, attempt, progress bar, message and the age of their last heartbeat."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("id", "kind", "state", "attempt", "", "", "heartbeat", "doing"):
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "attempt"))
    for job in rows:
        beat = f"{seconds_since(job.heartbeat_at):.0f} s ago" if job.state == "running" and job.heartbeat_at else "-"
        doing = job.reason if job.state not in ("queued", "running", "succeeded") else job.message
        table.add_row(
            str(job.id), job.kind, job.state, f"{job.attempt}/{job.max_attempts}",
            ProgressBar(total=1.0, completed=job.progress, width=20), f"{job.progress:.0%}", beat, escape(doing or "-"),
        )  # fmt: skip
    return table
