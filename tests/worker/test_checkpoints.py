"""Checkpoints between the training's directory and the store: the newest of each fit, and never a reason to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.engine import session_scope
from db.queries import jobs
from ml.images.store import FileStore
from worker.checkpoints import StoredCheckpoints, attempt_name
from worker.jobs import JobContext
from worker.queue import submit

RUN = 7


@pytest.fixture
def context(database: str) -> JobContext:
    with session_scope() as session:
        job, _ = submit(session, "train", {})
        assert job.id is not None
        claim = jobs.claim_job(session, job.id, "test", 60.0)
    assert claim is not None
    return JobContext(claim)


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path / "store"))


def _log(context: JobContext) -> list[str]:
    with session_scope() as session:
        found = jobs.job_events(session, context.claim.job_id)
        return [str(event.message) for event in found if event.event == "log"]


def _keep(files: FileStore, tmp_path: Path, key: str, data: bytes) -> None:
    (tmp_path / "source").write_bytes(data)
    files.put_file(tmp_path / "source", f"checkpoints/run-{RUN}/{key}")


def _event(epoch: int, file: str = "final.safetensors") -> dict[str, object]:
    return {"event": "checkpoint", "file": file, "epoch": epoch}


def test_the_newest_of_each_fit_is_fetched_over_all_jobs_and_attempts(
    context: JobContext, files: FileStore, tmp_path: Path
) -> None:
    _keep(files, tmp_path, "job-9/attempt-2/000009-final.safetensors", b"older job")
    _keep(files, tmp_path, "job-10/attempt-1/000002-final.safetensors", b"older attempt")
    _keep(files, tmp_path, "job-10/attempt-2/000001-final.safetensors", b"older file")
    _keep(files, tmp_path, "job-10/attempt-2/000010-final.safetensors", b"newest")
    _keep(files, tmp_path, "job-9/attempt-1/000001-calibration-fold-1-2.safetensors", b"only one")
    _keep(files, tmp_path, "job-10/attempt-2/000011-..%2f.safetensors", b"no name of a fit")
    (tmp_path / "source").write_bytes(b"of another run")
    files.put_file(tmp_path / "source", f"checkpoints/run-{RUN}0/job-99/attempt-1/000001-final.safetensors")
    StoredCheckpoints(context, files, RUN, tmp_path / "resume").fetch()
    found = {path.name: path.read_bytes() for path in (tmp_path / "resume").iterdir()}
    assert found == {"final.safetensors": b"newest", "calibration-fold-1-2.safetensors": b"only one"}


def test_each_checkpoint_replaces_the_one_before_it_also_of_an_earlier_attempt(
    context: JobContext, files: FileStore, tmp_path: Path
) -> None:
    _keep(files, tmp_path, "job-0/attempt-1/000001-final.safetensors", b"one")
    _keep(files, tmp_path, "job-0/attempt-1/000002-evaluation-fold-1-2.safetensors", b"finished")
    checkpoints = StoredCheckpoints(context, files, RUN, tmp_path / "resume")
    checkpoints.fetch()
    for epoch in (2, 3):
        part = tmp_path / "part"
        part.write_bytes(b"epoch %d" % epoch)
        part.replace(tmp_path / "resume" / "final.safetensors")
        checkpoints.on_event(_event(epoch))
        checkpoints.on_event(_event(epoch))
    own = f"checkpoints/run-{RUN}/job-{context.claim.job_id}/attempt-1"
    assert files.list_files(f"checkpoints/run-{RUN}") == sorted(
        [f"checkpoints/run-{RUN}/job-0/attempt-1/000002-evaluation-fold-1-2.safetensors",
         f"{own}/000002-final.safetensors"]
    )  # fmt: skip
    assert files.read_file(f"{own}/000002-final.safetensors") == b"epoch 3"


def test_a_store_that_does_not_answer_is_logged_and_stops_nothing(context: JobContext, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the directory should be")
    checkpoints = StoredCheckpoints(context, FileStore(str(tmp_path / "store")), RUN, tmp_path / "resume")
    checkpoints.fetch()
    (tmp_path / "resume" / "final.safetensors").write_bytes(b"state")
    checkpoints.on_event(_event(1))
    checkpoints.on_event(_event(1, "gone.safetensors"))
    checkpoints.on_event(_event(1, "../escape.safetensors"))
    told = _log(context)
    assert len(told) == 2
    assert all("the training goes on" in line for line in told)


def test_the_log_tells_from_where_a_training_goes_on(context: JobContext, files: FileStore, tmp_path: Path) -> None:
    checkpoints = StoredCheckpoints(context, files, RUN, tmp_path / "resume")
    checkpoints.on_event({"event": "resumed", "fit": "the final training", "epoch": 7, "attempt": "12.1"})
    checkpoints.on_event({"event": "resumed", "fit": "the final training", "epoch": 0, "reason": "cut short"})
    assert _log(context) == ["the final training goes on from epoch 7 of attempt 1 of job 12", "cut short"]
    assert attempt_name(context) == f"{context.claim.job_id}.1"
