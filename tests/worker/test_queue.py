"""Submitting, and trying again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from db.engine import session_scope
from db.errors import Conflict, NotFound
from db.queries import jobs, models
from db.tables import Job
from tests.worker.conftest import debug_recipe
from worker.queue import COMMAND_PRIORITY, retry_job, submit, submit_training


def _training() -> tuple[int, int]:
    with session_scope() as session:
        run, job = submit_training(session, "rating", debug_recipe(), priority=COMMAND_PRIORITY)
    assert run.id is not None
    assert job.id is not None
    return run.id, job.id


def _end(job_id: int, state: str) -> None:
    with session_scope() as session:
        claim = jobs.claim_job(session, job_id, "w", 60)
        assert claim is not None
        if state != "running":
            assert jobs.finish_job(session, claim, state, reason="for the test")
        if state in models.RUN_STATUS:
            models.end_run(session, claim.run_id, models.RUN_STATUS[state], "for the test")


def _run_status(run_id: int) -> tuple[str, str | None]:
    with session_scope() as session:
        run = models.get_run(session, run_id)
        return run.status, run.reason


def _retry(job_id: int) -> tuple[Job, bool]:
    with session_scope() as session:
        return retry_job(session, job_id)


@pytest.mark.parametrize("state", ["failed", "dead", "cancelled"])
def test_a_job_that_ended_badly_is_tried_again_as_a_new_job_of_the_same_run(database: str, state: str) -> None:
    run_id, job_id = _training()
    _end(job_id, state)
    assert _run_status(run_id)[1] == "for the test"
    again, is_new = _retry(job_id)
    assert is_new
    assert (again.kind, again.queue, again.state, again.attempt, again.retry_of, again.run_id) == (
        "train", "train", "queued", 0, job_id, run_id
    )  # fmt: skip
    assert (again.idempotency_key, again.cancel_requested, again.priority) == (None, False, COMMAND_PRIORITY)
    assert _run_status(run_id) == ("queued", None)
    with session_scope() as session:
        assert jobs.get_job(session, job_id).state == state
        assert [event.event for event in jobs.job_events(session, job_id)][-1] == "retried"


def test_however_many_ask_a_job_is_tried_again_once(database: str) -> None:
    _, job_id = _training()
    _end(job_id, "failed")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: _retry(job_id), range(12)))
    assert len({job.id for job, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1


def test_a_retry_can_be_tried_again_itself(database: str) -> None:
    _, job_id = _training()
    _end(job_id, "failed")
    second = _retry(job_id)[0].id
    assert second is not None
    _end(second, "dead")
    third, is_new = _retry(second)
    assert (third.retry_of, is_new) == (second, True)
    assert _retry(job_id)[0].id == second


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_what_did_not_end_badly_is_not_tried_again(database: str, state: str) -> None:
    _, job_id = _training()
    if state != "queued":
        _end(job_id, state)
    with pytest.raises(Conflict, match=f"job {job_id} is {state}; only one that failed, died or was cancelled"):
        _retry(job_id)


@pytest.mark.parametrize("status", ["trained", "registered"])
def test_a_training_that_succeeded_by_other_means_is_not_tried_again(database: str, status: str) -> None:
    run_id, job_id = _training()
    _end(job_id, "cancelled")
    with session_scope() as session:
        run = models.get_run(session, run_id)
        run.status, run.artifact_path, run.artifact_sha256 = status, "runs/elsewhere", "0" * 64
        session.add(run)
    with pytest.raises(Conflict, match=f"was {status} meanwhile"):
        _retry(job_id)
    assert _run_status(run_id)[0] == status


def test_an_unknown_job_is_not_found(database: str) -> None:
    with pytest.raises(NotFound, match="job 987654"):
        _retry(987654)


def test_what_follows_from_an_urgent_job_is_as_urgent(database: str) -> None:
    run_id, job_id = _training()
    with session_scope() as session:
        child, _ = submit(session, "export_onnx", {}, parent_id=job_id, run_id=run_id)
    assert child.priority == COMMAND_PRIORITY
