"""A training whose process is killed goes on from its last checkpoint, in the next attempt and in a job tried again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from db.engine import session_scope
from db.queries import jobs, models
from ml.images.store import FileStore
from tests.conftest import environment
from tests.worker.conftest import debug_recipe, write_generated_labels
from worker.checkpoints import StoredCheckpoints
from worker.importers.snapshots import import_snapshots
from worker.jobs import run_job
from worker.queue import retry_job, submit_training
from worker.stages import train

# Several trainings, each killed in its turn: the rule itself is held by tests/ml/test_resume.py in every run.
pytestmark = pytest.mark.faults
EPOCHS = 12


@pytest.fixture(scope="module")
def labelled(database: str, store: FileStore, tmp_path_factory: pytest.TempPathFactory) -> FileStore:
    folder = tmp_path_factory.mktemp("frames")
    import_snapshots(write_generated_labels(folder), folder, store)
    return store


@pytest.fixture
def kill_after(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> Iterator[Callable[[int], None]]:
    """A function that lets the next attempt's process be killed once that epoch of the final fit is in the store."""
    wanted: list[int] = []

    class Killing(StoredCheckpoints):
        def on_event(self, event: dict[str, Any]) -> None:
            super().on_event(event)
            if wanted and event.get("file") == "final.safetensors" and event["epoch"] >= wanted[0]:
                wanted.clear()
                _kill_training(data_dir)

    monkeypatch.setattr(train, "StoredCheckpoints", Killing)
    with environment(AFTERGLOW_JOB_BACKOFF_S="0", AFTERGLOW_CHECKPOINT_S="0", AFTERGLOW_JOB_MAX_ATTEMPTS="2"):
        yield wanted.append


def _kill_training(data_dir: Path) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        words = (process / "cmdline").read_bytes().split(b"\0") if (process / "cmdline").exists() else []
        if b"ml.train" in words and any(word.startswith(os.fsencode(data_dir)) for word in words):
            os.killpg(os.getpgid(int(process.name)), signal.SIGKILL)
            return
    raise AssertionError("the training was over before it could be killed")


def _log(job_id: int) -> list[str]:
    with session_scope() as session:
        return [str(event.message) for event in jobs.job_events(session, job_id) if event.event == "log"]


def test_a_killed_training_goes_on_in_the_next_attempt_and_in_a_job_tried_again(
    labelled: FileStore, kill_after: Callable[[int], None]
) -> None:
    recipe = debug_recipe(
        trainable="last_block", epochs=EPOCHS, patience=EPOCHS, image_size=32, folds=2, evaluation="test", threads=1
    )
    with session_scope() as session:
        run, job = submit_training(session, "rating", recipe)
    assert job.id is not None and run.id is not None
    kill_after(2)
    assert run_job(job.id, "first") == "queued"
    kill_after(5)
    assert run_job(job.id, "second") == "dead"
    assert any("the final training goes on from epoch" in line for line in _log(job.id))
    with session_scope() as session:
        again, _ = retry_job(session, job.id)
    assert again.id is not None
    assert run_job(again.id, "third") == "succeeded"
    assert any(f"of attempt 2 of job {job.id}" in line for line in _log(again.id))
    with session_scope() as session:
        trained = models.get_run(session, run.id)
    assert trained.artifact_path is not None
    epochs = [json.loads(line) for line in labelled.read_file(f"{trained.artifact_path}/epochs.jsonl").splitlines()]
    assert [line["epoch"] for line in epochs] == list(range(1, EPOCHS + 1))
    attempts = [line["attempt"] for line in epochs]
    first, second, third = f"{job.id}.1", f"{job.id}.2", f"{again.id}.1"
    assert attempts == [first] * attempts.count(first) + [second] * attempts.count(second) + [third] * (
        attempts.count(third)
    )
    assert attempts.count(first) >= 2 and attempts.count(second) >= 1 and attempts.count(third) >= 1
    told = trained.params_json["training"]["resumed_from"]
    assert [each["attempt"] for each in told] == [first, second]
