"""Whether anybody works, told from connections and from the rows of jobs."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlmodel import Session

from db.engine import listening, session_scope
from db.queries import job_workers, jobs


def _job(queue: str, *, waits_s: float, state: str = "queued", silent_s: float | None = None) -> int:
    """A job that has waited so long; its worker's last word is `silent_s` old."""
    with session_scope() as session:
        job, _ = jobs.add_job(session, "train", {}, queue=queue, max_attempts=3)
        assert job.id is not None
        if state == "running":
            assert jobs.claim_job(session, job.id, f"w{job.id}", 60) is not None
        session.execute(
            text(
                "UPDATE jobs SET run_after = clock_timestamp() - make_interval(secs => :waits), "
                "heartbeat_at = clock_timestamp() - make_interval(secs => :silent) WHERE id = :id"
            ),
            {"id": job.id, "waits": waits_s, "silent": silent_s},
        )
        return job.id


def _unserved(session: Session) -> dict[str, int]:
    session.rollback()
    return {each.queue: each.waiting for each in job_workers.unserved_queues(session)}


@pytest.mark.parametrize(
    ("name", "waits_s", "worker_silent_s", "unserved"),
    [
        ("nobody-ever", 60, None, True),
        ("nobody-yet", 5, None, False),
        ("busy", 600, 3, False),
        ("gone", 600, 50, True),
        ("not-due", -60, None, False),
    ],
)
def test_a_queue_is_unserved_when_jobs_wait_and_no_worker_says_anything(
    session: Session, name: str, waits_s: float, worker_silent_s: float | None, unserved: bool
) -> None:
    _job(name, waits_s=waits_s)
    if worker_silent_s is not None:
        _job(name, waits_s=waits_s, state="running", silent_s=worker_silent_s)
    assert (name in _unserved(session)) is unserved


def test_how_many_wait_and_how_long_the_first_of_them(session: Session) -> None:
    _job("two", waits_s=100)
    _job("two", waits_s=40)
    found = next(each for each in job_workers.unserved_queues(session) if each.queue == "two")
    assert found.waiting == 2
    assert found.waits_s >= 100


def test_a_dispatcher_is_known_by_its_connection_as_long_as_it_lasts(session: Session) -> None:
    assert job_workers.count_dispatchers(session) == 0
    with listening(jobs.JOBS_CHANNEL):
        session.rollback()
        assert job_workers.count_dispatchers(session) == 1
    deadline = time.monotonic() + 10
    while job_workers.count_dispatchers(session) and time.monotonic() < deadline:
        session.rollback()  # Postgres needs a moment to see that the other end is gone
    assert job_workers.count_dispatchers(session) == 0


def test_what_failed_wants_attention_until_it_is_tried_again_or_old(session: Session) -> None:
    first = _job("failures", waits_s=0, state="running")
    assert jobs.finish_job(session, jobs.Claim(first, "train", {}, 1, f"w{first}", None), "failed", reason="no label")
    assert [each.id for each in jobs.recent_failures(session)] == [first]
    assert not jobs.recent_failures(session, within=timedelta(0))
    jobs.add_job(session, "train", {}, queue="failures", max_attempts=3, retry_of=first)
    assert not jobs.recent_failures(session)
