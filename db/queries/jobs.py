"""Queries on jobs. All times come from the database's clock; a fenced write (owner and attempt) hits no row or one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from db.errors import Conflict, NotFound
from db.queries.models import end_run
from db.tables import Job, JobEvent
from db.tables.jobs import FINAL_STATES

JOBS_CHANNEL = "afterglow_jobs"
"""Notification sent when a job is submitted; wakes the dispatcher."""
BACKOFF_S = 5
"""A failed attempt is tried again after `BACKOFF_S * 2^attempt` seconds, plus up to half of that at random."""

LOST_WORKER = "the worker that ran it stopped answering"


@dataclass(frozen=True)
class Claim:
    """What a worker holds while it runs a job: the fence of all its writes."""

    job_id: int
    kind: str
    params: dict[str, Any]
    attempt: int
    owner: str
    run_id: int | None


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
        "priority": 100,
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
    session.execute(text("SELECT pg_notify(:channel, :id)"), {"channel": JOBS_CHANNEL, "id": str(added[0])})
    return job, True


def add_job_event(
    session: Session, job_id: int, attempt: int, event: str, message: str | None = None, worker: str | None = None
) -> None:
    """Append one thing that happened to a job."""
    session.add(JobEvent(job_id=job_id, attempt=attempt, event=event, message=message, worker=worker))
    session.flush()


def get_job(session: Session, job_id: int) -> Job:
    """The job of this id as it is now, or NotFound."""
    job = session.get(Job, job_id, populate_existing=True)
    if job is None:
        raise NotFound(what="job", key=job_id)
    return job


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


def job_events(session: Session, job_id: int, *, after_id: int = 0, limit: int = 500) -> Sequence[JobEvent]:
    """What happened to a job, oldest first."""
    return session.exec(
        select(JobEvent)
        .where(col(JobEvent.job_id) == job_id, col(JobEvent.id) > after_id)
        .order_by(col(JobEvent.id))
        .limit(limit)
    ).all()


def follow_up_jobs(session: Session, job_id: int) -> Sequence[Job]:
    """Jobs that the success of this one submitted."""
    return session.exec(select(Job).where(col(Job.parent_id) == job_id).order_by(col(Job.id))).all()


def take_for_dispatch(session: Session, redispatch_s: float, limit: int = 100) -> list[tuple[int, str]]:
    """Mark due queued jobs as published now and return (id, queue); skips rows that another dispatcher holds."""
    rows = session.execute(
        text(
            """
            UPDATE jobs SET dispatched_at = clock_timestamp() WHERE id IN (
                SELECT id FROM jobs WHERE state = 'queued' AND run_after <= clock_timestamp()
                AND (dispatched_at IS NULL OR dispatched_at < clock_timestamp() - make_interval(secs => :again))
                ORDER BY priority, run_after LIMIT :limit FOR UPDATE SKIP LOCKED)
            RETURNING id, queue
            """
        ),
        {"again": redispatch_s, "limit": limit},
    )
    return [(row.id, row.queue) for row in rows]


def claim_job(session: Session, job_id: int, owner: str, lease_s: float) -> Claim | None:
    """Start an attempt of a queued job; None when it is not to be had (taken, cancelled, finished, not due)."""
    row = session.execute(
        text(
            """
            UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_owner = :owner,
                   lease_until = clock_timestamp() + make_interval(secs => :lease), heartbeat_at = clock_timestamp(),
                   started_at = coalesce(started_at, clock_timestamp()), reason = NULL
            WHERE id = :id AND state = 'queued' AND run_after <= clock_timestamp()
                  AND NOT cancel_requested AND attempt < max_attempts
            RETURNING id, kind, params, attempt, run_id
            """
        ),
        {"id": job_id, "owner": owner, "lease": lease_s},
    ).first()
    if row is None:
        return None
    add_job_event(session, row.id, row.attempt, "started", worker=owner)
    return Claim(row.id, row.kind, row.params, row.attempt, owner, row.run_id)


_FENCE = "id = :id AND state = 'running' AND lease_owner = :owner AND attempt = :attempt"


def _fence(claim: Claim) -> dict[str, Any]:
    return {"id": claim.job_id, "owner": claim.owner, "attempt": claim.attempt}


def beat(
    session: Session, claim: Claim, lease_s: float, *, progress: float | None = None, message: str | None = None
) -> bool | None:
    """Renew the lease and write progress. Returns whether a cancel was requested; None when the fence is lost."""
    row = session.execute(
        text(
            f"""
            UPDATE jobs SET lease_until = clock_timestamp() + make_interval(secs => :lease),
                   heartbeat_at = clock_timestamp(), progress = coalesce(:progress, progress),
                   message = coalesce(:message, message)
            WHERE {_FENCE} RETURNING cancel_requested
            """
        ),
        {**_fence(claim), "lease": lease_s, "progress": progress, "message": message},
    ).first()
    return None if row is None else bool(row.cancel_requested)


def hold_fence(session: Session, claim: Claim) -> bool:
    """Lock the job's row if this attempt still owns it, so that what is written next is one with its finish."""
    row = session.execute(text(f"SELECT 1 FROM jobs WHERE {_FENCE} FOR UPDATE"), _fence(claim)).first()
    return row is not None


def finish_job(
    session: Session, claim: Claim, state: str, *, result: dict[str, Any] | None = None, reason: str | None = None
) -> bool:
    """End a running job in a final state; False when this attempt no longer owns it (roll everything back then)."""
    row = session.execute(
        text(
            f"""
            UPDATE jobs SET state = CAST(:state AS text), result = CAST(:result AS jsonb), reason = :reason,
                   finished_at = clock_timestamp(), lease_owner = NULL, lease_until = NULL,
                   progress = CASE WHEN CAST(:state AS text) = 'succeeded' THEN 1 ELSE progress END
            WHERE {_FENCE} RETURNING id
            """
        ),
        {
            **_fence(claim),
            "state": state,
            "result": json.dumps(result) if result is not None else None,
            "reason": reason,
        },
    ).first()
    if row is None:
        return False
    add_job_event(session, claim.job_id, claim.attempt, state, reason, claim.owner)
    return True


_GIVE_BACK = """
    UPDATE jobs SET
        state = CASE WHEN cancel_requested THEN 'cancelled' WHEN attempt >= max_attempts THEN 'dead'
                     ELSE 'queued' END,
        finished_at = CASE WHEN cancel_requested OR attempt >= max_attempts THEN clock_timestamp() END,
        run_after = clock_timestamp() + make_interval(secs => :backoff * power(2, attempt) * (1 + random() / 2)),
        dispatched_at = NULL, lease_owner = NULL, lease_until = NULL, reason = :reason
"""


def give_back_job(session: Session, claim: Claim, reason: str) -> str | None:
    """An attempt failed in a way that may pass: queue it again later, or end it. Returns the state; None if fenced."""
    row = session.execute(
        text(f"{_GIVE_BACK} WHERE {_FENCE} RETURNING state"), {**_fence(claim), "reason": reason, "backoff": BACKOFF_S}
    ).first()
    if row is None:
        return None
    state = str(row.state)
    event = "requeued" if state == "queued" else state
    add_job_event(session, claim.job_id, claim.attempt, event, reason, claim.owner)
    return state


def reap_jobs(session: Session, limit: int = 100) -> list[tuple[int, str, int | None]]:
    """Take back jobs whose lease ran out: queued again, cancelled, or dead. Returns (id, new state, training run)."""
    reason = LOST_WORKER
    rows = session.execute(
        text(
            f"""
            {_GIVE_BACK} WHERE id IN (
                SELECT id FROM jobs WHERE state = 'running' AND lease_until < clock_timestamp()
                ORDER BY lease_until LIMIT :limit FOR UPDATE SKIP LOCKED)
            RETURNING id, state, attempt, run_id
            """
        ),
        {"reason": reason, "backoff": BACKOFF_S, "limit": limit},
    ).all()
    for row in rows:
        add_job_event(session, row.id, row.attempt, "requeued" if row.state == "queued" else row.state, reason)
    return [(row.id, row.state, row.run_id) for row in rows]


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
