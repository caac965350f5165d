"""What jobs left behind: removed once nobody can go on from it, and never before."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import Session

from db.engine import session_scope
from db.queries import jobs
from db.queries.jobs import Claim
from db.tables import ModelTrainingRun
from ml.images.store import FileStore
from tests.worker.conftest import debug_recipe
from worker import sweep
from worker.jobs import STAGES, Finish, JobContext, run_job
from worker.places import checkpoint_key, checkpoints_prefix, upload_key, work_directory
from worker.queue import retry_job, submit, submit_training

DAY_H = 24


def _training(state: str, ended_h: float = 0.0) -> tuple[int, int]:
    """A run whose training job is in `state`, for `ended_h` hours if that is its end; with files of its own."""
    with session_scope() as session:
        run, job = submit_training(session, "rating", debug_recipe())
        assert run.id is not None
        assert job.id is not None
        if state != "queued":
            claim = jobs.claim_job(session, job.id, "w", 60)
            assert claim is not None
            if state != "running":
                _end(session, claim, state, ended_h)
    directory = work_directory(job.id, 1)
    (directory / "big").write_bytes(b"x")
    return run.id, job.id


def _end(session: Session, claim: Claim, state: str, ended_h: float) -> None:
    session.execute(
        text(
            "UPDATE jobs SET state = :state, finished_at = clock_timestamp() - make_interval(secs => :s), "
            "lease_owner = NULL, lease_until = NULL WHERE id = :id"
        ),
        {"state": state, "s": ended_h * 3600, "id": claim.job_id},
    )


def _age(job_id: int, hours: float) -> Path:
    """Make a job's directory look as if nothing was put into it for so long."""
    attempt = work_directory(job_id, 1)
    then = time.time() - hours * 3600
    for path in (attempt / "big", attempt, attempt.parent):
        os.utime(path, (then, then))
    return attempt.parent


@pytest.mark.parametrize(
    ("state", "ended_h", "goes"),
    [
        ("queued", 0, False),
        ("running", 0, False),
        ("succeeded", 0, True),
        ("failed", DAY_H - 1, False),
        ("failed", DAY_H + 1, True),
        ("dead", DAY_H + 1, True),
        ("cancelled", DAY_H - 1, False),
        ("cancelled", DAY_H + 1, True),
    ],
)
def test_work_and_checkpoints_stay_while_somebody_may_go_on_from_them(
    database: str, store: FileStore, tmp_path: Path, state: str, ended_h: float, goes: bool
) -> None:
    run_id, job_id = _training(state, ended_h)
    directory = _age(job_id, 10 * DAY_H)  # how old the files are says nothing of a job that the database knows
    (tmp_path / "fit").write_bytes(b"x")
    store.put_file(tmp_path / "fit", f"{checkpoint_key(run_id, job_id, 1)}/fit")
    assert (job_id in sweep.sweep_work(), run_id in sweep.sweep_checkpoints()) == (goes, goes)
    assert directory.exists() == (not goes)
    assert bool(store.list_files(checkpoints_prefix(run_id))) == (not goes)


def test_the_checkpoints_of_a_run_that_is_tried_again_stay(database: str, store: FileStore, tmp_path: Path) -> None:
    run_id, job_id = _training("failed", DAY_H + 1)
    (tmp_path / "fit").write_bytes(b"x")
    store.put_file(tmp_path / "fit", f"{checkpoint_key(run_id, job_id, 1)}/fit")
    with session_scope() as session:
        retry_job(session, job_id)
    assert run_id not in sweep.sweep_checkpoints()
    assert store.list_files(checkpoints_prefix(run_id))


def test_a_directory_of_a_job_that_the_database_does_not_know_goes_by_its_age(database: str) -> None:
    young, old = 1_000_001, 1_000_002
    for job_id, hours in ((young, DAY_H - 1), (old, DAY_H + 1)):
        (work_directory(job_id, 1) / "big").write_bytes(b"x")
        _age(job_id, hours)
    removed = sweep.sweep_work()
    assert (young in removed, old in removed) == (False, True)
    stranger = work_directory(1, 1).parent.parent / "job-notes"
    stranger.mkdir()
    assert sweep.sweep_work() == []
    assert stranger.exists()


@pytest.mark.parametrize(
    ("state", "ended_h", "goes"),
    [("queued", 0, False), ("running", 0, False), ("succeeded", 0, True), ("failed", DAY_H - 1, False),
     ("failed", DAY_H + 1, True)],
)  # fmt: skip
def test_an_uploaded_archive_stays_while_a_job_may_read_it(
    database: str, store: FileStore, tmp_path: Path, state: str, ended_h: float, goes: bool
) -> None:
    key = upload_key(uuid.uuid4().hex)
    (tmp_path / "zip").write_bytes(key.encode())
    store.put_file(tmp_path / "zip", key)
    with session_scope() as session:
        job, _ = submit(session, "register", {"upload": key})
        assert job.id is not None
        if state != "queued":
            claim = jobs.claim_job(session, job.id, "w", 60)
            assert claim is not None
            if state != "running":
                _end(session, claim, state, ended_h)
    assert (key in sweep.sweep_uploads()) == goes
    assert store.has_file(key) == (not goes)


def succeed(context: JobContext) -> Finish:
    (work_directory(context.claim.job_id, context.claim.attempt) / "big").write_bytes(b"x")

    def write(session: Session) -> None:
        run = session.get(ModelTrainingRun, context.run_id)
        assert run is not None
        run.status = "trained"
        session.add(run)

    return Finish({}, write)


def test_success_sweeps_the_jobs_work_and_the_runs_checkpoints_at_once(
    database: str, store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STAGES, "train", f"{__name__}:succeed")
    run_id, job_id = _training("queued")
    other_run, other_job = _training("queued")
    for run, job in ((run_id, job_id), (other_run, other_job)):
        (tmp_path / "fit").write_bytes(b"x")
        store.put_file(tmp_path / "fit", f"{checkpoint_key(run, job, 1)}/fit")
    assert run_job(job_id, "w") == "succeeded"
    assert not work_directory(job_id, 1).parent.joinpath("attempt-1", "big").exists()
    assert store.list_files(checkpoints_prefix(run_id)) == []
    assert store.list_files(checkpoints_prefix(other_run))


def test_a_worker_sweeps_at_its_start_and_then_at_most_once_an_hour(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_last_sweep", None)
    assert [sweep.sweep_if_due(), sweep.sweep_if_due()] == [True, False]
    monkeypatch.setattr(sweep, "_last_sweep", time.monotonic() - sweep.SWEEP_INTERVAL_S - 1)
    assert sweep.sweep_if_due()
