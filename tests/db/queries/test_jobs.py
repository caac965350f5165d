"""The life of a job's row: claims, fences, leases, backoff, cancel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from db.engine import session_scope
from db.errors import Conflict
from db.queries import jobs
from db.queries.jobs import Claim


def _add(**more: Any) -> int:
    with session_scope() as session:
        job, _ = jobs.add_job(
            session, "train", {"n": 1}, queue="train", max_attempts=more.pop("max_attempts", 3), **more
        )
        assert job.id is not None
        return job.id


def _claim(job_id: int, owner: str = "w1", lease_s: float = 60) -> Claim | None:
    with session_scope() as session:
        return jobs.claim_job(session, job_id, owner, lease_s)


def _state(job_id: int) -> str:
    with session_scope() as session:
        return jobs.get_job(session, job_id).state


def _events(job_id: int) -> list[str]:
    with session_scope() as session:
        return [event.event for event in jobs.job_events(session, job_id)]


def _let_lease_run_out(job_id: int) -> None:
    with session_scope() as session:
        session.execute(text("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE id = :id"), {"id": job_id})


def _let_backoff_pass(job_id: int) -> None:
    with session_scope() as session:
        session.execute(text("UPDATE jobs SET run_after = now() WHERE id = :id"), {"id": job_id})


def test_of_many_claims_one_wins(database: str) -> None:
    job_id = _add()
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: _claim(job_id, f"w{n}"), range(8)))
    assert sum(claim is not None for claim in claims) == 1


def test_the_same_key_is_the_same_job(database: str) -> None:
    def submit(_: int) -> int | None:
        with session_scope() as session:
            return jobs.add_job(session, "train", {}, queue="train", max_attempts=3, idempotency_key="slot-1")[0].id

    with ThreadPoolExecutor(5) as pool:
        assert len(set(pool.map(submit, range(10)))) == 1


def test_a_zombie_cannot_finish_what_another_attempt_took_over(database: str) -> None:
    job_id = _add()
    zombie = _claim(job_id, "zombie")
    assert zombie is not None
    _let_lease_run_out(job_id)
    with session_scope() as session:
        assert (job_id, "queued") in [(one, state) for one, state, _ in jobs.reap_jobs(session, 5)]
    _let_backoff_pass(job_id)
    second = _claim(job_id, "second")
    assert second is not None
    assert second.attempt == 2
    with session_scope() as session:
        assert jobs.beat(session, zombie, 60) is None
        assert not jobs.hold_fence(session, zombie)
        assert not jobs.finish_job(session, zombie, "succeeded")
        assert jobs.give_back_job(session, zombie, "late", 5) is None
    with session_scope() as session:
        assert jobs.finish_job(session, second, "succeeded", result={"ok": True})
    assert _state(job_id) == "succeeded"
    assert _events(job_id) == ["submitted", "started", "requeued", "started", "succeeded"]


def test_a_failing_job_waits_before_it_is_tried_again_and_is_dead_in_the_end(database: str) -> None:
    job_id = _add(max_attempts=2)
    first = _claim(job_id)
    assert first is not None
    with session_scope() as session:
        assert jobs.give_back_job(session, first, "no luck", 5) == "queued"
        waits = session.execute(text("SELECT run_after - now() FROM jobs WHERE id = :id"), {"id": job_id}).scalar_one()
    assert 9 < waits.total_seconds() <= 15  # 5 s * 2^1, and up to half of it more
    assert _claim(job_id) is None
    _let_backoff_pass(job_id)
    second = _claim(job_id)
    assert second is not None
    with session_scope() as session:
        assert jobs.give_back_job(session, second, "no luck again", 5) == "dead"
    with session_scope() as session:
        assert jobs.get_job(session, job_id).reason == "no luck again"


def test_cancelling_a_queued_job_ends_it_and_it_is_never_claimed(database: str) -> None:
    job_id = _add()
    with session_scope() as session:
        assert jobs.cancel_job(session, job_id).state == "cancelled"
    assert _claim(job_id) is None


def test_cancelling_a_running_job_is_told_by_its_next_heartbeat(database: str) -> None:
    job_id = _add()
    claim = _claim(job_id)
    assert claim is not None
    with session_scope() as session:
        assert jobs.beat(session, claim, 60, progress=0.5, message="half") is False
        jobs.cancel_job(session, job_id)
    with session_scope() as session:
        assert jobs.beat(session, claim, 60) is True
        job = jobs.get_job(session, job_id)
        assert (job.progress, job.message) == (0.5, "half")


def test_a_cancelled_job_whose_worker_is_lost_ends_cancelled(database: str) -> None:
    job_id = _add()
    assert _claim(job_id) is not None
    with session_scope() as session:
        jobs.cancel_job(session, job_id)
    _let_lease_run_out(job_id)
    with session_scope() as session:
        jobs.reap_jobs(session, 5)
    assert _state(job_id) == "cancelled"


def test_a_finished_job_cannot_be_cancelled(database: str) -> None:
    job_id = _add()
    claim = _claim(job_id)
    assert claim is not None
    with session_scope() as session:
        jobs.finish_job(session, claim, "succeeded")
    with session_scope() as session, pytest.raises(Conflict, match="succeeded"):
        jobs.cancel_job(session, job_id)


def test_a_published_job_is_not_published_again_until_its_message_may_be_lost(database: str) -> None:
    job_id = _add()
    with session_scope() as session:
        assert job_id in [one for one, *_ in jobs.take_for_dispatch(session, 60)]
    with session_scope() as session:
        assert job_id not in [one for one, *_ in jobs.take_for_dispatch(session, 60)]
        assert job_id in [one for one, *_ in jobs.take_for_dispatch(session, 0)]


def test_the_most_urgent_jobs_are_published_first(database: str) -> None:
    clock, usual, command = _add(priority=200), _add(), _add(priority=10)
    with session_scope() as session:
        taken = [one for one, *_ in jobs.take_for_dispatch(session, 0)]
    assert [one for one in taken if one in (clock, usual, command)] == [command, usual, clock]


def test_a_job_whose_worker_was_told_to_stop_waits_for_nothing_and_loses_no_attempt(database: str) -> None:
    job_id = _add(max_attempts=1)
    for attempt in (1, 2):
        claim = _claim(job_id, f"w{attempt}")
        assert claim is not None
        assert claim.attempt == attempt
        with session_scope() as session:
            assert jobs.return_job(session, claim, "its worker was stopped") == "queued"
            assert jobs.return_job(session, claim, "again") is None
    last = _claim(job_id, "last")
    assert last is not None
    with session_scope() as session:
        assert jobs.give_back_job(session, last, "no luck", 0) == "dead"
    assert _events(job_id)[-3:] == ["requeued", "started", "dead"]


def test_a_job_that_was_cancelled_when_its_worker_was_told_to_stop_ends_cancelled(database: str) -> None:
    job_id = _add()
    claim = _claim(job_id)
    assert claim is not None
    with session_scope() as session:
        jobs.cancel_job(session, job_id)
        assert jobs.return_job(session, claim, "its worker was stopped") == "cancelled"
    with session_scope() as session:
        assert jobs.get_job(session, job_id).max_attempts == 3


def test_only_the_attempt_that_ended_a_job_is_told_that_it_did(database: str) -> None:
    job_id = _add()
    first = _claim(job_id, "first")
    assert first is not None
    with session_scope() as session:
        assert not jobs.ended_as(session, first, "succeeded")
        jobs.return_job(session, first, "its worker was stopped")
    second = _claim(job_id, "second")
    assert second is not None
    with session_scope() as session:
        jobs.finish_job(session, second, "succeeded")
        assert jobs.ended_as(session, second, "succeeded")
        assert not jobs.ended_as(session, first, "succeeded")
