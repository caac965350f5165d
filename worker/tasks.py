"""The Celery tasks: one runs a job, one is what the clock starts."""

from __future__ import annotations

from worker.app import app
from worker.jobs import run_job
from worker.schedule import submit_evaluations


@app.task(name="run_job")  # type: ignore[untyped-decorator]
def run_job_task(job_id: int) -> None:
    """Run a job by its id, if it is still to be had."""
    run_job(job_id)


@app.task(name="submit_evaluations")  # type: ignore[untyped-decorator]
def submit_evaluations_task() -> None:
    """Submit the evaluations of this slot of the schedule."""
    submit_evaluations()
