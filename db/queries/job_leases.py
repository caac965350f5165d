"""Queries on who has a job: dispatch, claims, leases and how an attempt ends.

All times come from the database's clock. A fenced write (owner and attempt) hits no row or one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from db.queries.job_events import add_job_event

JOBS_CHANNEL = "afterglow_jobs"
"""Notification sent when a job is to be had; wakes the dispatcher."""

LOST_WORKER = "the worker that ran it stopped answering"
MAX_PAUSE_S = 60.0
"""Longest pause between two statements of a transaction that holds the row of a job."""


@dataclass(frozen=True)
class Claim:
    """What a worker holds while it runs a job: the fence of all its writes."""

    job_id: int
    kind: str
    params: dict[str, Any]
    attempt: int
    owner: str
    run_id: int | None


def notify_jobs(session: Session, job_id: int) -> None:
    """Wake the dispatchers when the transaction commits."""
    session.execute(text("SELECT pg_notify(:channel, :id)"), {"channel": JOBS_CHANNEL, "id": str(job_id)})


def _limit_pause(session: Session, seconds: float) -> None:
    """Have Postgres end the connection when this transaction pauses for longer.

    A process that is stopped, or whose machine is, may hold the lock of a job's row. Nobody could take the job back
    until it wakes.
    """
    session.execute(
        text("SELECT set_config('idle_in_transaction_session_timeout', :ms, true)"), {"ms": str(int(seconds * 1000))}
    )


def take_for_dispatch(session: Session, redispatch_s: float, limit: int = 100) -> list[tuple[int, str, int]]:
    """Mark due queued jobs as published now and return (id, queue, priority), the most urgent first.

    Skips rows that another dispatcher holds.
    """
    _limit_pause(session, redispatch_s + 1)
    rows = session.execute(
        text(
            """
            WITH due AS (
                SELECT id, run_after FROM jobs WHERE state = 'queued' AND run_after <= clock_timestamp()
                AND (dispatched_at IS NULL OR dispatched_at < clock_timestamp() - make_interval(secs => :again))
                ORDER BY priority, run_after LIMIT :limit FOR UPDATE SKIP LOCKED),
            marked AS (
                UPDATE jobs SET dispatched_at = clock_timestamp() FROM due WHERE jobs.id = due.id
                RETURNING jobs.id, queue, priority, due.run_after)
            SELECT id, queue, priority FROM marked ORDER BY priority, run_after, id
            """
        ),
        {"again": redispatch_s, "limit": limit},
    )
    return [(row.id, row.queue, row.priority) for row in rows]


def claim_job(session: Session, job_id: int, owner: str, lease_s: float) -> Claim | None:
    """Start an attempt of a queued job; None when it is not to be had (taken, cancelled, finished, not due)."""
    _limit_pause(session, lease_s)
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
    _limit_pause(session, lease_s)
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


def hold_fence(session: Session, claim: Claim, pause_s: float = MAX_PAUSE_S) -> bool:
    """Lock the job's row if this attempt still owns it, so that what is written next is one with its finish.

    The transaction ends, and the lock with it, when more than `pause_s` seconds lie between two statements.
    """
    _limit_pause(session, pause_s)
    row = session.execute(text(f"SELECT 1 FROM jobs WHERE {_FENCE} FOR UPDATE"), _fence(claim)).first()
    return row is not None


def ended_as(session: Session, claim: Claim, state: str) -> bool:
    """Whether this very attempt has ended the job in `state`: only its owner can have, since an attempt has one."""
    row = session.execute(
        text("SELECT 1 FROM jobs WHERE id = :id AND attempt = :attempt AND state = :state"),
        {"id": claim.job_id, "attempt": claim.attempt, "state": state},
    ).first()
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


# The delay doubles with each attempt, up to an hour, so that a job with many attempts is not put off for days.
_GIVE_BACK = """
    UPDATE jobs SET
        state = CASE WHEN cancel_requested THEN 'cancelled' WHEN attempt >= max_attempts THEN 'dead'
                     ELSE 'queued' END,
        finished_at = CASE WHEN cancel_requested OR attempt >= max_attempts THEN clock_timestamp() END,
        run_after = clock_timestamp()
                    + make_interval(secs => least(3600, :backoff * power(2, attempt)) * (1 + random() / 2)),
        dispatched_at = NULL, lease_owner = NULL, lease_until = NULL, reason = :reason
"""


def give_back_job(session: Session, claim: Claim, reason: str, backoff_s: float) -> str | None:
    """An attempt failed in a way that may pass: queue it again later, or end it.

    It waits `backoff_s * 2^attempt` seconds, an hour at most, plus up to half of that at random.

    Returns:
        The state; None when this attempt no longer owns the job.
    """
    row = session.execute(
        text(f"{_GIVE_BACK} WHERE {_FENCE} RETURNING state"), {**_fence(claim), "reason": reason, "backoff": backoff_s}
    ).first()
    if row is None:
        return None
    state = str(row.state)
    _note_given_back(session, claim.job_id, claim.attempt, state, reason, claim.owner)
    return state


def return_job(session: Session, claim: Claim, reason: str) -> str | None:
    """An attempt ended through no fault of the job, since its worker was told to stop: queue it again at once.

    The attempt does not count against the job's limit, which grows by one. Returns the state (`queued`, or `cancelled`
    when that was asked for meanwhile); None when this attempt no longer owns the job.
    """
    row = session.execute(
        text(
            f"""
            UPDATE jobs SET state = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END,
                   max_attempts = max_attempts + (NOT cancel_requested)::int,
                   finished_at = CASE WHEN cancel_requested THEN clock_timestamp() END,
                   run_after = clock_timestamp(), dispatched_at = NULL, lease_owner = NULL, lease_until = NULL,
                   reason = :reason
            WHERE {_FENCE} RETURNING state
            """
        ),
        {**_fence(claim), "reason": reason},
    ).first()
    if row is None:
        return None
    state = str(row.state)
    _note_given_back(session, claim.job_id, claim.attempt, state, reason, claim.owner)
    return state


def reap_jobs(session: Session, backoff_s: float, limit: int = 100) -> list[tuple[int, str, int | None]]:
    """Take back jobs whose lease ran out: queued again, cancelled, or dead. Returns (id, new state, training run)."""
    rows = session.execute(
        text(
            f"""
            {_GIVE_BACK} WHERE id IN (
                SELECT id FROM jobs WHERE state = 'running' AND lease_until < clock_timestamp()
                ORDER BY lease_until LIMIT :limit FOR UPDATE SKIP LOCKED)
            RETURNING id, state, attempt, run_id
            """
        ),
        {"reason": LOST_WORKER, "backoff": backoff_s, "limit": limit},
    ).all()
    for row in rows:
        _note_given_back(session, row.id, row.attempt, row.state, LOST_WORKER, None)
    return [(row.id, row.state, row.run_id) for row in rows]


def _note_given_back(session: Session, job_id: int, attempt: int, state: str, reason: str, owner: str | None) -> None:
    add_job_event(session, job_id, attempt, "requeued" if state == "queued" else state, reason, owner)
    if state == "queued":
        notify_jobs(session, job_id)
