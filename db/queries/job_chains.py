"""Queries on chains of jobs: what a job goes back to, and all that came of it, tried again or not."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlmodel import Session, col, select

from db.queries.jobs import get_job
from db.tables import Job


def first_job(session: Session, job_id: int) -> Job:
    """The job that nobody's success submitted, from which this one follows; itself where it follows from none."""
    row = session.execute(
        text(
            """
            WITH RECURSIVE upward AS (
                SELECT id, parent_id FROM jobs WHERE id = :id
                UNION SELECT jobs.id, jobs.parent_id FROM jobs JOIN upward ON jobs.id = upward.parent_id)
            SELECT id FROM upward WHERE parent_id IS NULL
            """
        ),
        {"id": job_id},
    ).one()
    return get_job(session, row.id)


def chain_of(session: Session, job_id: int) -> Sequence[Job]:
    """A job, what its success submitted, what tried one of them again, and so on; in the order of their submission."""
    ids = session.execute(
        text(
            """
            WITH RECURSIVE chain AS (
                SELECT CAST(:id AS bigint) AS id
                UNION SELECT jobs.id FROM jobs JOIN chain ON jobs.parent_id = chain.id OR jobs.retry_of = chain.id)
            SELECT id FROM chain
            """
        ),
        {"id": job_id},
    ).scalars()
    return session.exec(select(Job).where(col(Job.id).in_(list(ids))).order_by(col(Job.id))).all()
