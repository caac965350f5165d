"""A Celery worker as a process: what it does when it is told to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from db.engine import session_scope
from db.processes import is_alive
from db.queries import jobs
from tests.conftest import environment
from worker.embedded import EmbeddedRedis

ROOT = Path(__file__).parents[2]
WORKER = ("-m", "celery", "-A", "tests.faults.toy_app", "worker", "-P", "threads", "-c", "1", "-Q", "train")


def test_sigterm_in_mid_job_ends_its_process_and_gives_the_job_back_at_once(
    database: str, data_dir: Path, tmp_path: Path
) -> None:
    """The lease is an hour, so nothing but the worker itself can have given it back."""
    pid_file = tmp_path / "pid"
    with session_scope() as session:
        job, _ = jobs.add_job(session, "sleep", {"pid_file": str(pid_file)}, queue="train", max_attempts=3)
        assert job.id is not None
    with ExitStack() as stack:
        redis = stack.enter_context(EmbeddedRedis(data_dir))
        stack.enter_context(
            environment(
                DATABASE_URL=database,
                AFTERGLOW_DATA_DIR=str(data_dir),
                REDIS_URL=redis.url,
                AFTERGLOW_JOB_LEASE_S="3600",
            )
        )
        log = stack.enter_context((tmp_path / "log").open("wb"))
        dispatcher, worker = (
            stack.enter_context(subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log, cwd=ROOT))
            for arguments in (("-m", "worker.dispatch"), WORKER)
        )
        stack.callback(worker.kill)
        stack.callback(dispatcher.kill)
        deadline = time.monotonic() + 120
        while not pid_file.exists() or not pid_file.read_text():
            assert worker.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        dispatcher.send_signal(signal.SIGTERM)
        dispatcher.wait(60)
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    assert not is_alive(int(pid_file.read_text()))
    with session_scope() as session:
        job = jobs.get_job(session, job.id)
        events = [event.event for event in jobs.job_events(session, job.id or 0)]
    assert (job.state, job.attempt, job.max_attempts, job.reason) == ("queued", 1, 4, "its worker was told to stop")
    assert events == ["submitted", "started", "requeued"]
