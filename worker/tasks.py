"""The Celery tasks: one runs a job, one is what the clock starts. And what a worker does at its start and its end."""

from __future__ import annotations

import threading
from typing import Any

from celery import Task, signals

from worker.app import app
from worker.job_context import STOPPING
from worker.jobs import run_job
from worker.schedule import submit_cycles, submit_retention, submit_shadows
from worker.sweep import sweep_if_due


@app.task(name="run_job", bind=True)  # type: ignore[untyped-decorator]
def run_job_task(self: Task, job_id: int) -> None:
    """Run a job by its id, if it is still to be had. Its events name this Celery worker and message."""
    run_job(job_id, f"celery:{self.request.hostname}:{self.request.id}")
    sweep_if_due()


@app.task(name="submit_cycles")  # type: ignore[untyped-decorator]
def submit_cycles_task() -> None:
    """Submit the evaluation cycles of this slot of the schedule."""
    submit_cycles()


@app.task(name="submit_retention")  # type: ignore[untyped-decorator]
def submit_retention_task() -> None:
    """Submit the retention of this slot of the schedule."""
    submit_retention()


@app.task(name="submit_shadows")  # type: ignore[untyped-decorator]
def submit_shadows_task() -> None:
    """Submit the scoring by shadows of this slot of the schedule."""
    submit_shadows()


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def sweep_at_start(**_: Any) -> None:
    """Remove what jobs left on this machine, beside the worker's first jobs."""
    threading.Thread(target=sweep_if_due, name="sweep", daemon=True).start()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def give_jobs_back(**_: Any) -> None:
    """SIGTERM: Celery waits for its tasks, so let them give their jobs back instead of working on for hours."""
    STOPPING.set()
