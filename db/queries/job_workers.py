"""Queries on whether anybody works: who hands out jobs, and the queues that nobody takes jobs from."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from db.queries.job_leases import JOBS_CHANNEL

COUNT_DISPATCHERS = (
    f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN {JOBS_CHANNEL}'"
)
"""The SQL of how many dispatchers are connected: each is known by the connection on which it listens for jobs."""
PATIENCE_S = 30.0
"""How long a job may wait, and its queue be quiet, before nobody is taken to work there: three heartbeats of a worker."""


@dataclass(frozen=True)
class UnservedQueue:
    """A queue in which jobs wait while no worker runs or has run one."""

    queue: str
    waiting: int
    waits_s: float
    """How long the oldest of them has waited, in seconds."""


def count_dispatchers(session: Session) -> int:
    """How many dispatchers are connected to this database."""
    return int(session.execute(text(COUNT_DISPATCHERS)).scalar_one())


def unserved_queues(session: Session) -> list[UnservedQueue]:
    """Queues with jobs that are due for longer than `PATIENCE_S`, of which no worker has said anything for so long.

    Workers answer Celery and not the database; what they leave in the rows of jobs tells it without asking Redis. A
    queue in which nothing waits is not among them, whoever serves it.
    """
    rows = session.execute(
        text(
            """
            WITH waits AS (
                SELECT queue, count(*) AS waiting,
                       CAST(extract(epoch FROM clock_timestamp() - min(run_after)) AS float) AS waits_s
                FROM jobs WHERE state = 'queued' AND run_after <= clock_timestamp() GROUP BY queue)
            SELECT queue, waiting, waits_s FROM waits WHERE waits_s > :patience AND NOT EXISTS (
                SELECT 1 FROM jobs WHERE jobs.queue = waits.queue
                AND heartbeat_at > clock_timestamp() - make_interval(secs => :patience))
            ORDER BY queue
            """
        ),
        {"patience": PATIENCE_S},
    )
    return [UnservedQueue(**row) for row in rows.mappings()]
