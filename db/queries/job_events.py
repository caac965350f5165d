"""Queries on what happened to a job. Rows are only appended."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, func, select

from db.tables import JobEvent


def add_job_event(
    session: Session, job_id: int, attempt: int, event: str, message: str | None = None, worker: str | None = None
) -> None:
    """Append one thing that happened to a job."""
    session.add(JobEvent(job_id=job_id, attempt=attempt, event=event, message=message, worker=worker))
    session.flush()


def job_events(session: Session, job_id: int, *, after_id: int = 0, limit: int = 500) -> Sequence[JobEvent]:
    """What happened to a job, oldest first."""
    return session.exec(
        select(JobEvent)
        .where(col(JobEvent.job_id) == job_id, col(JobEvent.id) > after_id)
        .order_by(col(JobEvent.id))
        .limit(limit)
    ).all()


def count_job_events(session: Session, job_id: int, event: str, attempt: int | None = None) -> int:
    """How often this happened to a job, or to one attempt of it."""
    query = select(func.count()).where(col(JobEvent.job_id) == job_id, col(JobEvent.event) == event)
    if attempt is not None:
        query = query.where(col(JobEvent.attempt) == attempt)
    return session.exec(query).one()
