"""One training that is killed at every point: it goes on in mid run, and ends as one model with nothing lost.

`afterglow up` as it is started by people, on its own data directory with its own Postgres and Redis; leases of seconds.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db.embedded import EmbeddedPostgres
from db.engine import session_scope
from db.processes import is_alive, process_commands, wait_until_gone
from tests.conftest import close_engines, environment
from tests.faults.test_services import CHILDREN, Up, started_up
from tests.worker.conftest import debug_recipe, write_generated_labels
from worker.importers.snapshots import import_snapshots
from worker.places import file_store
from worker.queue import submit_training

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.faults,
    pytest.mark.timeout(600),  # two minutes on a free core; a busy machine takes its time to start processes
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
NUM_EPOCHS = 90
"""More than pass on a fast machine while everything is killed once: not all of it stops the training."""
SETTINGS = {
    "AFTERGLOW_JOB_LEASE_S": "3",
    "AFTERGLOW_JOB_HEARTBEAT_S": "0.5",
    "AFTERGLOW_JOB_BACKOFF_S": "0.1",
    "AFTERGLOW_JOB_MAX_ATTEMPTS": "20",
    "AFTERGLOW_DISPATCH_INTERVAL_S": "0.3",
    "AFTERGLOW_REDISPATCH_S": "2",
    "AFTERGLOW_CHECKPOINT_S": "0.5",
    "AFTERGLOW_TRAIN_THREADS": "1",
}
PATIENCE_S = 150.0
COUNTED = ("webcam_snapshots", "webcam_snapshot_ratings", "rating_events", "dataset_rows",
           "model_training_snapshot_labels", "model_training_snapshot_ratings")  # fmt: skip


class Training:
    """The one run, seen through its rows."""

    def __init__(self, up: Up, run_id: int, job_id: int) -> None:
        self.up, self.run_id, self.job_id = up, run_id, job_id

    def epoch(self) -> int:
        """The last epoch that a heartbeat told of; 0 while none has."""
        ((state, message),) = self.up.ask(f"SELECT state, message FROM jobs WHERE id = {self.job_id}")
        assert state in ("queued", "running"), self._history()
        found = re.search(r"epoch (\d+)/", message or "")
        return int(found[1]) if found else 0

    def goes_on_after(self, epoch: int, what: str) -> None:
        """Wait until the training is further than `epoch`."""
        deadline = time.monotonic() + PATIENCE_S
        while self.epoch() <= epoch:
            assert time.monotonic() < deadline, f"nothing goes on after {what}\n{self.up.said}\n{self._history()}"
            time.sleep(0.1)

    def process(self) -> int:
        """The process id of the training itself."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for pid, said in process_commands().items():
                if "-m ml.train " in said and str(self.up.data_dir) in said and "prctl" not in said:
                    return pid
            assert time.monotonic() < deadline, self._history()
            time.sleep(0.05)

    def _history(self) -> list[tuple[Any, ...]]:
        return self.up.ask(
            f"SELECT event, attempt, message, worker, created_at FROM job_events WHERE job_id = {self.job_id} ORDER BY id"
        )


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with started_up(**SETTINGS) as up:
        yield up


def _start_training(up: Up) -> Training:
    folder = up.data_dir / "frames"
    folder.mkdir()
    with environment(AFTERGLOW_DATA_DIR=str(up.data_dir), DATABASE_URL=EmbeddedPostgres(up.data_dir).url, **SETTINGS):
        report = import_snapshots(write_generated_labels(folder, num_webcams=6, num_days=8), folder, file_store())
        assert report.refused == []
        recipe = debug_recipe(
            trainable="all", epochs=NUM_EPOCHS, patience=NUM_EPOCHS, image_size=32, evaluation="test", folds=2
        )
        with session_scope() as session:
            run, job = submit_training(session, "rating", recipe)
    close_engines()
    assert run.id is not None
    assert job.id is not None
    return Training(up, run.id, job.id)


def _counts(up: Up) -> dict[str, int]:
    return {table: up.ask(f"SELECT count(*) FROM {table}")[0][0] for table in COUNTED}


def _postgres_processes(up: Up) -> list[int]:
    marker = EmbeddedPostgres(up.data_dir)._marker(up.data_dir / "postgres")
    backends = [pid for pid, said in process_commands().items() if said.startswith(f"postgres: {marker}:")]
    return [*EmbeddedPostgres(up.data_dir)._server_pids(), *backends]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    assert wait_until_gone(pids, 30.0)


def test_a_training_survives_a_kill_of_each_process_and_of_all_at_once(up: Up) -> None:
    training = _start_training(up)
    training.goes_on_after(1, "its start")
    counts = _counts(up)
    for name in ("training", "train-worker", "dispatcher", "api", "redis", "postgres", "all"):
        epoch = training.epoch()
        if name == "training":
            _kill([training.process()])
        elif name == "postgres":
            _kill(_postgres_processes(up))
        elif name == "all":
            own = [pid for name, pid in up.pids().items() if name in (*CHILDREN, "redis")]
            everything = [training.process(), *own, *_postgres_processes(up)]
            up.end(signal.SIGKILL)
            _kill(everything)
            up.start()
        else:
            _kill([up.pids()[name]])
        training.goes_on_after(epoch + 1, f"the kill of {name}")
    _wait_for_the_end(training)
    assert _counts(up) == counts
    _check_rows(training)
    _check_epochs(training)
    up.end(signal.SIGTERM)
    EmbeddedPostgres(up.data_dir)._stop()
    assert [said for said in process_commands().values() if str(up.data_dir) in said] == []


def _wait_for_the_end(training: Training) -> None:
    seen: list[tuple[Any, ...]] = []
    deadline = time.monotonic() + PATIENCE_S
    while not (done := training.up.ask("SELECT 1 FROM jobs WHERE kind = 'evaluate' AND finished_at IS NOT NULL")):
        rows = training.up.ask("SELECT kind, state, message, reason FROM jobs ORDER BY id")
        if rows != seen:  # however slow the machine is: only standing still is a failure
            seen, deadline = rows, time.monotonic() + PATIENCE_S
        assert time.monotonic() < deadline, rows
        assert {state for _, state, *_ in rows} <= {"queued", "running", "succeeded"}, rows
        time.sleep(0.2)
    assert done


def _check_rows(training: Training) -> None:
    ask = training.up.ask
    assert ask("SELECT kind, state FROM jobs ORDER BY id") == [
        ("train", "succeeded"), ("export_onnx", "succeeded"), ("evaluate", "succeeded")
    ]  # fmt: skip
    assert ask("SELECT status FROM model_training_runs") == [("registered",)]
    assert ask("SELECT count(*) FROM model_versions") == [(1,)]
    assert ask("SELECT count(*) FROM evaluations") == [(1,)]
    events = ask(
        f"SELECT event, attempt FROM job_events WHERE job_id = {training.job_id} AND event <> 'log' ORDER BY id"
    )
    starts = [attempt for event, attempt in events if event == "started"]
    assert starts == list(range(1, len(starts) + 1))
    assert len(starts) >= 4  # the training, its worker and everything were killed while it ran


def _check_epochs(training: Training) -> None:
    ((artifact,),) = training.up.ask("SELECT artifact_path FROM model_training_runs")
    stored = (Path(training.up.data_dir) / "store" / artifact / "epochs.jsonl").read_text()
    epochs = [json.loads(line) for line in stored.splitlines()]
    assert [each["epoch"] for each in epochs] == list(range(1, NUM_EPOCHS + 1))
    attempts = [tuple(map(int, each["attempt"].split("."))) for each in epochs]
    assert attempts == sorted(attempts)
    assert len(set(attempts)) >= 4
    assert not list((Path(training.up.data_dir) / "store" / "checkpoints").rglob("*.safetensors"))
