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


def follow(job_id: int, *, runs_here: bool) -> list[Job]:
    """Show progress of a job and of all jobs that follow from it, until the last has ended.

    Ctrl-C cancels the job when its worker ends with this command (`runs_here`); else it only ends the watching.

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
                _interrupted(current, runs_here)
                raise
            with session_scope() as session:
                waiting += [job.id for job in jobs.follow_up_jobs(session, current) if job.id is not None]
    return done


def _interrupted(job_id: int, runs_here: bool) -> None:
    if not runs_here:
        remarks.print(f"job {job_id} goes on; `afterglow jobs cancel {job_id}` ends it")
        return
    with session_scope() as session:
        state = jobs.get_job(session, job_id).state
        if not jobs.is_final(state):
            state = jobs.cancel_job(session, job_id).state
    remarks.print(f"stopping job {job_id}; press Ctrl-C again to leave at once")
    while not jobs.is_final(state):
        time.sleep(POLL_S)
        with session_scope() as session:
            state = jobs.get_job(session, job_id).state
    remarks.print(f"job {job_id} is {state}")


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
