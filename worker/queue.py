"""Submitting a job: insert its row and notify. Knows nothing of Celery, so that a job can be submitted without Redis."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from db.queries import jobs
from db.tables import Job
from worker.settings import worker_settings

QUEUES = {"export_dataset": "default", "train": "train", "export_onnx": "train", "evaluate": "train"}
"""Kind of job -> queue that its workers read."""


def submit(
    session: Session,
    kind: str,
    params: dict[str, Any],
    *,
    idempotency_key: str | None = None,
    parent_id: int | None = None,
    retry_of: int | None = None,
    run_id: int | None = None,
) -> tuple[Job, bool]:
    """Insert a job; it starts after the caller's transaction commits. Returns it and whether it is new.

    Raises:
        LookupError: There is no such kind of job.
    """
    if kind not in QUEUES:
        raise LookupError(f"no job is called {kind!r}; known: {', '.join(sorted(QUEUES))}")
    return jobs.add_job(
        session,
        kind,
        params,
        queue=QUEUES[kind],
        max_attempts=worker_settings().max_attempts,
        idempotency_key=idempotency_key,
        parent_id=parent_id,
        retry_of=retry_of,
        run_id=run_id,
    )
