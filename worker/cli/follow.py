"""Watching jobs to their end, with those that they submit in turn."""

from __future__ import annotations

import time

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from db.engine import session_scope
from db.queries import jobs
from db.tables import Job
from worker.cli.output import remarks

POLL_S = 0.3


class JobEndedBadly(Exception):
    """A job failed, died or was cancelled; the message is its reason."""


def follow(job_id: int) -> list[Job]:
    """Show progress of a job and of all jobs that follow from it, until the last has ended.

    Raises:
        JobEndedBadly: One of them did not succeed.
    """
    done: list[Job] = []
    waiting = [job_id]
    with Progress(
        TextColumn("{task.fields[kind]:<14}"), BarColumn(bar_width=24), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("{task.description}"), console=remarks,
    ) as bar:  # fmt: skip
        while waiting:
            current = waiting.pop(0)
            try:
                done.append(_follow_one(bar, current))
            except KeyboardInterrupt:
                remarks.print(
                    f"job {current} is kept: it goes on as soon as workers run (`afterglow up`); "
                    f"`afterglow jobs cancel {current}` ends it"
                )
                raise
            with session_scope() as session:
                waiting += [job.id for job in jobs.follow_up_jobs(session, current) if job.id is not None]
    return done


def _follow_one(bar: Progress, job_id: int) -> Job:
    with session_scope() as session:
        job = jobs.get_job(session, job_id)
    task = bar.add_task("waiting for a worker", total=1.0, kind=job.kind)
    while True:
        with session_scope() as session:
            job = jobs.get_job(session, job_id)
        waits = "waiting for a worker" if job.state == "queued" else job.state
        bar.update(
            task, completed=job.progress, description=job.message if job.state == "running" and job.message else waits
        )
        if jobs.is_final(job.state):
            break
        time.sleep(POLL_S)
    if job.state != "succeeded":
        raise JobEndedBadly(f"job {job_id} ({job.kind}) {job.state}: {job.reason}")
    return job
