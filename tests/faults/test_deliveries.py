"""300 jobs, each delivered three times, to workers of which many die or sleep: 300 effects.

Real Postgres, a real Redis list, real processes that are really killed and really stopped. The deliveries come from the
product's dispatcher, but not through Celery: its workers take seconds to start, and some eighty are killed here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from db.engine import session_scope
from db.queries import jobs
from tests.conftest import environment
from worker.embedded import EmbeddedRedis

NUM_JOBS = 300
SETTINGS = {
    "AFTERGLOW_JOB_LEASE_S": "1.5",
    "AFTERGLOW_JOB_HEARTBEAT_S": "0.25",
    "AFTERGLOW_JOB_BACKOFF_S": "0.02",
    "AFTERGLOW_DISPATCH_INTERVAL_S": "0.2",
    "AFTERGLOW_REDISPATCH_S": "6",
    "AFTERGLOW_DB_POOL_SIZE": "2",
}


@pytest.fixture(scope="module")
def notes(database: str, data_dir: Path) -> list[dict[str, object]]:
    """What the processes wrote down, once all jobs are done and all zombies have been woken."""
    with session_scope() as session:
        session.execute(text("CREATE TABLE effects (job_id bigint, attempt int)"))
        for _ in range(NUM_JOBS):
            jobs.add_job(session, "toy", {}, queue="default", max_attempts=20)
    path = data_dir / "notes.jsonl"
    path.touch()
    with ExitStack() as stack:
        stack.enter_context(environment(DATABASE_URL=database, AFTERGLOW_DATA_DIR=str(data_dir), **SETTINGS))
        queue = stack.enter_context(EmbeddedRedis(data_dir))
        log = stack.enter_context((data_dir / "processes.log").open("wb"))
        processes: list[subprocess.Popen[bytes]] = []
        for role in ("workers", "dispatch", "dispatch"):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.delivery_workers", role, str(queue.socket_path), str(path)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            processes.append(process)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        deadline = time.monotonic() + 150
        while not _is_done(path):
            said = (data_dir / "processes.log").read_text()[-3000:]
            assert time.monotonic() < deadline, said
            assert all(process.poll() is None for process in processes), said
            time.sleep(0.2)
    return _read(path)


def _read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _is_done(path: Path) -> bool:
    with session_scope() as session:
        counts = jobs.count_jobs(session)
    seen = Counter(line["event"] for line in _read(path))
    return counts == {"succeeded": NUM_JOBS} and seen["stopped"] == seen["woken"]


def test_every_job_succeeded_with_its_effect_once(notes: list[dict[str, object]]) -> None:
    with session_scope() as session:
        rows = session.execute(text("SELECT job_id, attempt FROM effects")).all()
        winners = {row.id: row.attempt for row in session.execute(text("SELECT id, attempt FROM jobs"))}
    assert len(rows) == NUM_JOBS
    assert {row.job_id: row.attempt for row in rows} == winners


def test_each_was_delivered_three_times_and_many_attempts_were_killed(notes: list[dict[str, object]]) -> None:
    with session_scope() as session:
        attempts = session.execute(text("SELECT count(*) FROM job_events WHERE event = 'started'")).scalar_one()
    delivered = Counter(note["job"] for note in notes if note["event"] == "delivered")
    killed = Counter(note["when"] for note in notes if note["event"] == "killed")
    num_killed = sum(killed.values()) - killed["before-claim"]
    assert len(delivered) == NUM_JOBS
    assert min(delivered.values()) >= 3
    assert 0.15 < num_killed / attempts < 0.25, (num_killed, attempts)
    assert set(killed) == {"before-claim", "before-work", "after-work", "in-transaction", "after-commit"}
    assert not [note for note in notes if note["event"] == "broken"]


def test_every_write_of_a_zombie_was_refused(notes: list[dict[str, object]]) -> None:
    woken = [note for note in notes if note["event"] == "woken"]
    assert len(woken) > 0.05 * NUM_JOBS
    assert {(note["state"], note["written"]) for note in woken} == {(None, False)}


def test_what_happened_to_each_job_is_one_history(notes: list[dict[str, object]]) -> None:
    """Attempts never overlap: each start but the first follows a taking back, and the end comes once, last."""
    with session_scope() as session:
        rows = session.execute(text("SELECT job_id, event, attempt FROM job_events ORDER BY job_id, id")).all()
    histories: dict[int, list[tuple[str, int]]] = {}
    for row in rows:
        histories.setdefault(row.job_id, []).append((row.event, row.attempt))
    assert len(histories) == NUM_JOBS
    for history in histories.values():
        last = history[-1][1]
        expected = [("submitted", 0)]
        for attempt in range(1, last):
            expected += [("started", attempt), ("requeued", attempt)]
        assert history == [*expected, ("started", last), ("succeeded", last)]
