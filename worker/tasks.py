"""The Celery tasks: one runs a job, one is what the clock starts."""

from __future__ import annotations

from celery import Task

from worker.app import app
from worker.jobs import run_job
from worker.schedule import submit_evaluations


@app.task(name="run_job", bind=True)  # type: ignore[untyped-decorator]
def run_job_task(self: Task, job_id: int) -> None:
    """Run a job by its id, if it is still to be had. Its events name this Celery worker and message."""
    run_job(job_id, f"celery:{self.request.hostname}:{self.request.id}")


@app.task(name="submit_evaluations")  # type: ignore[untyped-decorator]
def submit_evaluations_task() -> None:
    """Submit the evaluations of this slot of the schedule."""
    submit_evaluations()
