"""A retrain cycle whose workers, and then everything, are killed in the middle: one chain, one version, one verdict.

`afterglow up` as it is started by people, on its own data directory with its own Postgres and Redis; leases of seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from db.embedded import EmbeddedPostgres
from db.engine import session_scope
from db.processes import is_alive, process_commands, wait_until_gone
from tests.conftest import close_engines, environment
from tests.faults.test_kill_each import SETTINGS
from tests.faults.test_services import CHILDREN, Up, started_up
from tests.worker.conftest import debug_recipe, write_generated_labels
from worker.importers.snapshots import import_snapshots
from worker.places import file_store
from worker.retraining import STEPS, RetrainCycle, RetrainRequest, cycle_of, submit_retraining

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.faults,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
PATIENCE_S = 150.0
REQUEST = RetrainRequest("rating", debug_recipe(folds=2).model_dump(mode="json", exclude_unset=True), force=True)


@pytest.fixture
def up() -> Iterator[Up]:
    with started_up(**SETTINGS) as up:
        yield up


def _retrain(up: Up) -> RetrainCycle:
    """Begin the cycle of the one key, or find it."""
    with environment(AFTERGLOW_DATA_DIR=str(up.data_dir), DATABASE_URL=EmbeddedPostgres(up.data_dir).url, **SETTINGS):
        with session_scope() as session:
            job, _ = submit_retraining(session, REQUEST, by="test", idempotency_key="one")
            assert job.id is not None
            cycle = cycle_of(session, job.id)
        close_engines()
    return cycle


def _verbs(up: Up, verb: str) -> list[int]:
    return [
        pid for pid, said in process_commands().items()
        if f"-m {verb} " in said and str(up.data_dir) in said and "prctl" not in said
    ]  # fmt: skip


def _wait_for_verb(up: Up, verb: str) -> list[int]:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := _verbs(up, verb)):
        assert time.monotonic() < deadline, up.ask("SELECT kind, state, message, reason FROM jobs ORDER BY id")
        time.sleep(0.02)
    return found


def _kill(pids: list[int]) -> None:
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    assert wait_until_gone(pids, 30.0)


def _wait_for_the_end(up: Up) -> None:
    seen: list[tuple[Any, ...]] = []
    deadline = time.monotonic() + PATIENCE_S
    while not up.ask("SELECT 1 FROM jobs WHERE kind = 'gate' AND finished_at IS NOT NULL"):
        rows = up.ask("SELECT kind, state, message, reason FROM jobs ORDER BY id")
        if rows != seen:  # however slow the machine is: only standing still is a failure
            seen, deadline = rows, time.monotonic() + PATIENCE_S
        assert time.monotonic() < deadline, rows
        time.sleep(0.2)


def test_a_cycle_that_is_killed_in_each_link_goes_on_where_it_was_and_promotes_once(up: Up) -> None:
    folder = up.data_dir / "frames"
    folder.mkdir()
    with environment(AFTERGLOW_DATA_DIR=str(up.data_dir), DATABASE_URL=EmbeddedPostgres(up.data_dir).url, **SETTINGS):
        import_snapshots(write_generated_labels(folder), folder, file_store())
    close_engines()
    begun = _retrain(up)
    _wait_for_verb(up, "ml.train")
    _kill([up.pids()["train-worker"]])
    _kill(_wait_for_verb(up, "ml.export_onnx"))
    running = _wait_for_verb(up, "ml.evaluate")
    own = [pid for name, pid in up.pids().items() if name in (*CHILDREN, "redis", "postgres")]
    up.end(signal.SIGKILL)
    _kill([*running, *own])
    up.start()
    assert _retrain(up).job_id == begun.job_id
    _wait_for_the_end(up)
    cycle = _retrain(up)
    assert (cycle.job_id, cycle.state, cycle.progress) == (begun.job_id, "promoted", 1.0), cycle.reason
    assert up.ask("SELECT kind, state FROM jobs ORDER BY id") == [(kind, "succeeded") for kind in STEPS]
    for table in ("datasets", "model_training_runs", "model_versions", "evaluations", "model_activations"):
        assert up.ask(f"SELECT count(*) FROM {table}") == [(1,)], table
    attempts = dict(up.ask("SELECT kind, attempt FROM jobs"))
    assert min(attempts[kind] for kind in ("train", "export_onnx", "evaluate")) >= 2, attempts
