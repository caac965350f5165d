"""The one Celery task."""

from __future__ import annotations

from worker.app import app
from worker.jobs import run_job


@app.task(name="run_job")  # type: ignore[untyped-decorator]
def run_job_task(job_id: int) -> None:
    """Run a job by its id, if it is still to be had."""
    run_job(job_id)
