"""Queries on jobs as people see them: submitting, listing, cancelling, trying again. Who has one is in `job_leases`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from db.errors import Conflict, NotFound
from db.queries.job_events import add_job_event, count_job_events, job_events
from db.queries.job_leases import (
    JOBS_CHANNEL,
    LOST_WORKER,
    Claim,
    beat,
    claim_job,
    ended_as,
    finish_job,
    give_back_job,
    hold_fence,
    notify_jobs,
    reap_jobs,
    return_job,
    take_for_dispatch,
)
from db.queries.models import end_run
from db.tables import Job
from db.tables.jobs import FINAL_STATES

__all__ = [
    "JOBS_CHANNEL",
    "LOST_WORKER",
    "USUAL_PRIORITY",
    "Claim",
    "add_job",
    "add_job_event",
    "beat",
    "cancel_job",
    "claim_job",
    "count_job_events",
    "count_jobs",
    "ended_as",
    "find_job",
    "find_retry",
    "finish_job",
    "follow_up_jobs",
    "get_job",
    "give_back_job",
    "hold_fence",
    "is_final",
    "job_events",
    "job_states",
    "list_jobs",
    "lock_idempotency_key",
    "lock_job",
    "reap_jobs",
    "recent_failures",
    "return_job",
    "run_ends",
    "take_for_dispatch",
]

USUAL_PRIORITY = 100
A_WEEK = timedelta(days=7)


def add_job(
    session: Session,
    kind: str,
    params: dict[str, Any],
    *,
    queue: str,
    max_attempts: int,
    idempotency_key: str | None = None,
    parent_id: int | None = None,
    retry_of: int | None = None,
    run_id: int | None = None,
    priority: int = USUAL_PRIORITY,
) -> tuple[Job, bool]:
    """Submit a job and wake the dispatcher when the transaction commits; False when its key was submitted before."""
    values = {
        "kind": kind,
        "params": params,
        "queue": queue,
        "max_attempts": max_attempts,
        "idempotency_key": idempotency_key,
        "parent_id": parent_id,
        "retry_of": retry_of,
        "run_id": run_id,
        "state": "queued",
        "priority": priority,
        "attempt": 0,
    }
    statement = insert(Job).values(values)
    if idempotency_key is not None:
        statement = statement.on_conflict_do_nothing(
            index_elements=["kind", "idempotency_key"], index_where=text("idempotency_key IS NOT NULL")
        )
    added = session.execute(statement.returning(col(Job.id))).first()
    if added is None:
        assert idempotency_key is not None
        known = find_job(session, kind, idempotency_key)
        assert known is not None
        return known, False
    job = get_job(session, added[0])
    add_job_event(session, added[0], 0, "submitted")
    notify_jobs(session, added[0])
    return job, True


def get_job(session: Session, job_id: int) -> Job:
    """The job of this id as it is now, or NotFound."""
    job = session.get(Job, job_id, populate_existing=True)
    if job is None:
        raise NotFound(what="job", key=job_id)
    return job


def lock_job(session: Session, job_id: int) -> Job:
    """The job of this id, its row locked until the end of the transaction, or NotFound."""
    session.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
    return get_job(session, job_id)


def find_retry(session: Session, job_id: int) -> Job | None:
    """The job that tries this one again, if any."""
    return session.exec(select(Job).where(col(Job.retry_of) == job_id)).one_or_none()


def find_job(session: Session, kind: str, idempotency_key: str) -> Job | None:
    """The job that was submitted under this key, if any."""
    return session.exec(
        select(Job).where(col(Job.kind) == kind, col(Job.idempotency_key) == idempotency_key)
    ).one_or_none()


def lock_idempotency_key(session: Session, kind: str, idempotency_key: str) -> None:
    """Let one submission under this key at a time look it up and act, until the end of the transaction."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": f"submit:{kind}:{idempotency_key}"})


def list_jobs(
    session: Session,
    *,
    state: str | None = None,
    kind: str | None = None,
    before_id: int | None = None,
    limit: int = 50,
) -> Sequence[Job]:
    """Jobs, newest first."""
    query = select(Job).order_by(col(Job.id).desc()).limit(limit)
    if state is not None:
        query = query.where(col(Job.state) == state)
    if kind is not None:
        query = query.where(col(Job.kind) == kind)
    if before_id is not None:
        query = query.where(col(Job.id) < before_id)
    return session.exec(query).all()


def follow_up_jobs(session: Session, job_id: int) -> Sequence[Job]:
    """Jobs that the success of this one submitted."""
    return session.exec(select(Job).where(col(Job.parent_id) == job_id).order_by(col(Job.id))).all()


def cancel_job(session: Session, job_id: int) -> Job:
    """Cancel a queued job at once; ask a running one to stop; Conflict for a finished one."""
    row = session.execute(
        text(
            """
            UPDATE jobs SET cancel_requested = true,
                   state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END,
                   finished_at = CASE WHEN state = 'queued' THEN clock_timestamp() END
            WHERE id = :id AND state IN ('queued', 'running') RETURNING state, attempt, run_id
            """
        ),
        {"id": job_id},
    ).first()
    if row is None:
        job = get_job(session, job_id)
        if job.state == "cancelled":
            return job
        raise Conflict(f"job {job_id} is {job.state} and can no longer be cancelled")
    event = "cancelled" if row.state == "cancelled" else "cancel-requested"
    add_job_event(session, job_id, row.attempt, event)
    if row.state == "cancelled":
        end_run(session, row.run_id, "cancelled", "cancelled before it started")
    return get_job(session, job_id)


def is_final(state: str) -> bool:
    """Whether a job in this state will not change any more."""
    return state in FINAL_STATES


def count_jobs(session: Session) -> dict[str, int]:
    """State -> number of jobs in it; states without one are left out."""
    return {row.state: row.n for row in session.execute(text("SELECT state, count(*) AS n FROM jobs GROUP BY state"))}


def recent_failures(session: Session, *, within: timedelta = A_WEEK, limit: int = 50) -> Sequence[Job]:
    """Jobs that failed or died not longer ago and that nobody has tried again, newest first."""
    tried_again = select(Job.retry_of).where(col(Job.retry_of).is_not(None))
    return session.exec(
        select(Job)
        .where(col(Job.state).in_(("failed", "dead")), col(Job.id).not_in(tried_again))
        .where(col(Job.finished_at) > func.clock_timestamp() - within)
        .order_by(col(Job.id).desc())
        .limit(limit)
    ).all()


def job_states(session: Session, job_ids: Iterable[int]) -> dict[int, tuple[str, float | None]]:
    """Id -> state and hours since its end (None while it has none), by the database's clock; unknown ids are left out."""
    rows = session.execute(
        text(
            """
            SELECT id, state, CAST(extract(epoch FROM clock_timestamp() - finished_at) / 3600 AS float) AS ended_h
            FROM jobs WHERE id = ANY(:ids)
            """
        ),
        {"ids": list(job_ids)},
    )
    return {row.id: (row.state, row.ended_h) for row in rows}


def run_ends(session: Session, run_ids: Iterable[int]) -> dict[int, tuple[bool, float | None]]:
    """Training run -> whether its training succeeded, and hours since its last training job ended, None while one may run.

    By the database's clock; runs without a training job are left out.
    """
    rows = session.execute(
        text(
            """
            SELECT run_id, bool_or(state = 'succeeded') AS is_trained,
                   CASE WHEN bool_and(finished_at IS NOT NULL)
                        THEN CAST(extract(epoch FROM clock_timestamp() - max(finished_at)) / 3600 AS float) END AS ended_h
            FROM jobs WHERE kind = 'train' AND run_id = ANY(:ids) GROUP BY run_id
            """
        ),
        {"ids": list(run_ids)},
    )
    return {row.run_id: (row.is_trained, row.ended_h) for row in rows}


def upload_ends(session: Session) -> dict[str, tuple[bool, float | None]]:
    """Store key of an uploaded bundle -> whether a job registered it, and hours since the last job that reads it ended.

    The hours are None while such a job may still run. By the database's clock.
    """
    rows = session.execute(
        text(
            """
            SELECT params ->> 'upload' AS key, bool_or(state = 'succeeded') AS is_registered,
                   CASE WHEN bool_and(finished_at IS NOT NULL)
                        THEN CAST(extract(epoch FROM clock_timestamp() - max(finished_at)) / 3600 AS float) END AS ended_h
            FROM jobs WHERE kind = 'register' GROUP BY 1
            """
        )
    )
    return {row.key: (row.is_registered, row.ended_h) for row in rows}
