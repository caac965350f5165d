"""Faults that the design survives, one by one. Where another test proves one already, it is named here.

| fault | proved by |
|---|---|
| API killed after its commit, before anything is published | here |
| worker killed before it claims | `test_deliveries` (killed before-claim) |
| worker killed after it claimed | `test_deliveries` (killed before-work) |
| worker killed in mid training | `test_kill_each` (train-worker) |
| worker killed after its files were written, before the finish | `test_deliveries` (killed after-work, in-transaction) |
| worker killed after the finish | `test_deliveries` (killed after-commit) |
| worker stopped past its lease, then woken | `test_deliveries` (zombies) |
| training process killed alone | `test_kill_each` (training) |
| training process out of memory | `worker/test_training_process`, `worker/test_jobs` |
| Redis killed | `test_kill_each` (redis) |
| Redis comes back empty | here |
| Redis away for a while | here |
| Postgres killed in mid job | `test_kill_each` (postgres) |
| Postgres away during the finish, commit unknown | `worker/test_jobs` |
| two beats, beat killed | `test_clock`; at the same moment: `worker/test_schedule` |
| no beat for a while | `worker/test_schedule` |
| the same submission many times at once | here, over HTTP |
| cancel in each state | here |
| disk full while files are written | here |
| the clock of a worker is wrong | here |
"""

from __future__ import annotations

import ast
import base64
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis
from sqlalchemy import text

from db.engine import engine, session_scope
from db.errors import Conflict
from db.queries import jobs
from db.tables.jobs import STATES
from tests.conftest import environment
from worker import dispatch
from worker.embedded import EmbeddedRedis
from worker.jobs import STAGES, Finish, JobContext, run_job
from worker.places import file_store, work_directory

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
SUBMIT_AND_DIE = """
import os, signal
from db.engine import session_scope
from worker.queue import submit
with session_scope() as session:
    job, _ = submit(session, "export_dataset", {})
print(job.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def dispatching(broker: EmbeddedRedis) -> Iterator[None]:
    """A dispatcher as its own process, on a private Redis and the module's database."""
    url = engine().url.render_as_string(hide_password=False)
    log = (broker.data_dir / "dispatch.log").open("wb")
    with (
        log,
        environment(
            DATABASE_URL=url,
            AFTERGLOW_DATA_DIR=str(broker.data_dir),
            REDIS_URL=broker.url,
            AFTERGLOW_REDISPATCH_S="0.2",
            AFTERGLOW_DISPATCH_INTERVAL_S="0.2",
        ),
        subprocess.Popen([sys.executable, "-m", "worker.dispatch"], stdout=log, stderr=log, cwd=ROOT) as process,
    ):
        yield
        assert process.poll() is None, (broker.data_dir / "dispatch.log").read_text()
        process.terminate()


def _add(kind: str = "toy") -> int:
    with session_scope() as session:
        job, _ = jobs.add_job(session, kind, {}, queue="default", max_attempts=3)
    assert job.id is not None
    return job.id


def _state(job_id: int) -> str:
    with session_scope() as session:
        return jobs.get_job(session, job_id).state


def succeed(context: JobContext) -> Finish:
    return Finish({})


def write_much(context: JobContext) -> Finish:
    """Fill the work directory with more than a file may hold here, then store it."""
    directory = work_directory(context.claim.job_id, context.claim.attempt) / "out"
    directory.mkdir()
    (directory / "weights").write_bytes(bytes(1 << 20))
    key = f"runs/{context.claim.job_id}/{context.claim.attempt}"
    file_store().put_directory(directory, key)
    return Finish({"key": key})


@pytest.fixture(autouse=True)
def _stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "toy", f"{__name__}:succeed")
    monkeypatch.setitem(STAGES, "writes", f"{__name__}:write_much")


def test_a_job_of_a_process_that_was_killed_right_after_its_commit_is_published(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[int] = []
    monkeypatch.setattr(dispatch, "publish", lambda job_id, queue, priority: published.append(job_id))
    done = subprocess.run([sys.executable, "-c", SUBMIT_AND_DIE], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == -9
    dispatch.dispatch_once()
    assert int(done.stdout) in published


def test_the_same_submission_ten_times_at_once_is_one_job(
    server: str, api_key: Callable[..., str], database: str
) -> None:
    headers = {"Authorization": f"Bearer {api_key()}", "Idempotency-Key": "f17"}

    def ask(_: int) -> tuple[int, object]:
        with httpx.Client(base_url=server, headers=headers, trust_env=False, timeout=60) as client:
            answer = client.post("/v1/training-runs", json={"kind": "rating"})
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(10)))
    assert {status for status, _ in answers} <= {200, 201, 202}, answers
    with session_scope() as session:
        same = session.execute(text("SELECT count(*) FROM jobs WHERE kind = 'train'")).scalar_one()
    assert same == 1


@pytest.mark.parametrize("state", STATES)
def test_a_cancel_in_each_state(database: str, state: str) -> None:
    job_id = _add()
    claim = None
    if state not in ("queued", "cancelled"):
        with session_scope() as session:
            claim = jobs.claim_job(session, job_id, "w", 60)
            assert claim is not None
            if state != "running":
                jobs.finish_job(session, claim, state)
    if state in ("queued", "cancelled"):
        for _ in range(2 if state == "cancelled" else 1):
            with session_scope() as session:
                assert jobs.cancel_job(session, job_id).state == "cancelled"
        assert run_job(job_id, "w") is None
    elif state == "running":
        assert claim is not None
        with session_scope() as session:
            assert jobs.cancel_job(session, job_id).cancel_requested
            assert jobs.beat(session, claim, 60) is True
    else:
        with session_scope() as session, pytest.raises(Conflict, match="can no longer be cancelled"):
            jobs.cancel_job(session, job_id)
        assert _state(job_id) == state


@contextmanager
def _files_of_at_most(num_bytes: int) -> Iterator[None]:
    """As a full disk: writing further into any file fails, as it would there; Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_file_is_half_there_when_the_disk_is_full_and_the_job_succeeds_when_there_is_space(
    database: str, data_dir: Path
) -> None:
    with environment(DATABASE_URL=database, AFTERGLOW_DATA_DIR=str(data_dir), AFTERGLOW_JOB_BACKOFF_S="0"):
        job_id = _add("writes")
        with _files_of_at_most(200_000):
            assert run_job(job_id, "w1") == "queued"
        with session_scope() as session:
            assert "File too large" in str(jobs.get_job(session, job_id).reason)
        assert file_store().list_files(f"runs/{job_id}") == []
        assert run_job(job_id, "w2") == "succeeded"
        assert file_store().list_files(f"runs/{job_id}") == [f"runs/{job_id}/2/weights"]


def test_a_worker_whose_clock_is_wrong_neither_steals_nor_loses_a_job(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shift_s in (-3600.0, 3600.0):
        real = time.time
        monkeypatch.setattr(time, "time", lambda shift_s=shift_s, real=real: real() + shift_s)
        job_id = _add()
        with session_scope() as session:
            claim = jobs.claim_job(session, job_id, "right", 60)
            assert claim is not None
            assert job_id not in [one for one, *_ in jobs.reap_jobs(session, 0)]
            assert jobs.beat(session, claim, 60) is False
            left = "SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM jobs WHERE id = :id"
            assert 50 < session.execute(text(left), {"id": job_id}).scalar_one() <= 60
            jobs.finish_job(session, claim, "succeeded")
        assert run_job(_add(), "w") == "succeeded"
        monkeypatch.undo()
        monkeypatch.setitem(STAGES, "toy", f"{__name__}:succeed")


def test_no_query_on_jobs_takes_the_time_of_a_worker() -> None:
    """A span of time is no clock: `timedelta` is all that may come of these modules."""
    for name in ("jobs", "job_leases", "job_events"):
        tree = ast.parse((ROOT / "db" / "queries" / f"{name}.py").read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names} | {
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        clocks = {each for each in imported if each.partition(".")[0] in ("time", "datetime")}
        assert clocks <= {"datetime.timedelta"}, name


def _num_messages(broker: EmbeddedRedis, job_id: int) -> int:
    """How many messages with this job lie in the queue, whatever their priority."""
    with redis.Redis(unix_socket_path=str(broker.socket_path)) as client:
        found: list[bytes] = []
        for key in client.scan_iter("default*"):
            found += client.lrange(key, 0, -1)  # type: ignore[arg-type]
    bodies = [json.loads(base64.b64decode(json.loads(message)["body"])) for message in found]
    return sum(body[0] == [job_id] for body in bodies)


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_jobs_whose_messages_are_lost_with_redis_are_published_again(database: str, data_dir: Path) -> None:
    with EmbeddedRedis(data_dir) as broker, dispatching(broker):
        job_id = _add()
        _wait(lambda: _num_messages(broker, job_id) > 0, "never published")
        broker._stop()
        for path in (data_dir / "redis").rglob("*"):
            if path.is_file() and path.name != "redis.conf":
                path.unlink()
        broker.ensure()
        _wait(lambda: _num_messages(broker, job_id) > 0, "never published again")


def test_while_redis_is_away_jobs_wait_unmarked_and_go_when_it_is_back(database: str, data_dir: Path) -> None:
    with EmbeddedRedis(data_dir) as broker, dispatching(broker):
        first = _add()
        _wait(lambda: _num_messages(broker, first) > 0, "never published")
        broker._stop()
        job_id = _add()
        _wait(lambda: "waiting for Postgres or Redis" in (data_dir / "dispatch.log").read_text(), "nobody noticed")
        with session_scope() as session:
            assert jobs.get_job(session, job_id).dispatched_at is None
        broker.ensure()
        _wait(lambda: _num_messages(broker, job_id) > 0, "never published")
