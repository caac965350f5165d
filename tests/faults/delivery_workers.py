"""Processes that take deliveries of jobs from a real Redis list and run them through `run_job`, dying on the way.

`workers` forks processes that are killed, or stopped past their lease and woken as zombies, at points that the seed,
the job and the attempt decide; a killed one is replaced. `dispatch` is the product's dispatcher and reaper, except that
each publication delivers the job three times. A fork costs milliseconds where a Celery worker would take seconds to
start, so that dozens can be killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import redis
from sqlalchemy import text
from sqlmodel import Session

from db.engine import engine, session_scope
from db.queries import jobs
from worker import dispatch
from worker.jobs import STAGES, Finish, JobContext, run_job

DELIVERIES = "deliveries"
NUM_WORKERS = 8
KILLED = ("before-work", "after-work", "in-transaction", "after-commit")
SHARE_KILLED, SHARE_ZOMBIES = 0.2, 0.1
SHARE_KILLED_BEFORE_CLAIM = 0.01
NEXT_TO_ZOMBIE_S = 0.8
SEED = 20

_contexts: list[JobContext] = []
_notes = -1


def fate(job_id: int, attempt: int) -> str:
    """What happens to an attempt."""
    chosen = random.Random(f"{SEED}:{job_id}:{attempt}")
    draw = chosen.random()
    if draw < SHARE_KILLED:
        return chosen.choice(KILLED)
    return "zombie" if draw < SHARE_KILLED + SHARE_ZOMBIES else "lives"


def note(event: str, **facts: Any) -> None:
    """Append a line that outlives the process."""
    os.write(_notes, json.dumps({"event": event, "pid": os.getpid(), **facts}).encode() + b"\n")


def die(when: str) -> None:
    """Be killed, here and now."""
    note("killed", when=when)
    os.kill(os.getpid(), signal.SIGKILL)


def write_effect(session: Session, job_id: int, attempt: int) -> None:
    """The one thing that must happen once for each job."""
    session.execute(text("INSERT INTO effects VALUES (:job, :attempt)"), {"job": job_id, "attempt": attempt})


def toy(context: JobContext) -> Finish:
    """The stage: a little work, and one effect."""
    job_id, attempt = context.claim.job_id, context.claim.attempt
    fated = fate(job_id, attempt)
    _contexts[:] = [context]
    if fated == "before-work":
        die(fated)
    # After a zombie the next attempt takes long, so that the zombie wakes, and tries to write, while it runs.
    time.sleep(NEXT_TO_ZOMBIE_S if fate(job_id, attempt - 1) == "zombie" else 0.002)
    if fated == "after-work":
        die(fated)
    if fated == "zombie":
        note("stopped", job=job_id, attempt=attempt)
        os.kill(os.getpid(), signal.SIGSTOP)

    def write(session: Session) -> None:
        write_effect(session, job_id, attempt)
        if fated == "in-transaction":
            die(fated)

    return Finish({"attempt": attempt}, write)


def work(queue_socket: str) -> None:
    """Take deliveries and run them, for ever."""
    queue = redis.Redis(unix_socket_path=queue_socket)
    luck = random.Random(f"{SEED}:{os.getpid()}")
    number = 0
    while True:
        taken: Any = queue.brpop([DELIVERIES], timeout=1)
        if taken is None:
            continue
        job_id, number = int(taken[1]), number + 1
        note("delivered", job=job_id)
        if luck.random() < SHARE_KILLED_BEFORE_CLAIM:
            die("before-claim")
        _contexts.clear()
        state = run_job(job_id, f"{os.getpid()}:{number}")
        if not _contexts:
            continue
        claim = _contexts[0].claim
        fated = fate(job_id, claim.attempt)
        if fated == "after-commit":
            die(fated)
        if fated == "zombie":
            note("woken", state=state, written=write_as_zombie(_contexts[0]))


def write_as_zombie(context: JobContext) -> bool:
    """Try to write effect and finish with the fence of an attempt that is over; whether that was let happen."""
    with Session(engine()) as session:
        write_effect(session, context.claim.job_id, context.claim.attempt)
        written = jobs.hold_fence(session, context.claim) or jobs.finish_job(session, context.claim, "succeeded")
        if written:
            session.commit()
        else:
            session.rollback()
    return written


def keep_workers(queue_socket: str, stop: threading.Event) -> None:
    """Fork workers, replace dead and stopped ones, and wake stopped ones once their job is somebody else's."""
    with session_scope() as session:  # what is compiled now is not compiled in each of dozens of processes
        jobs.list_jobs(session, limit=1)
        jobs.claim_job(session, 0, "nobody", 1)
    pids: set[int] = set()
    stopped: set[int] = set()
    looked_at = 0.0
    with psycopg.connect(os.environ["DATABASE_URL"].replace("+psycopg", ""), autocommit=True) as connection:
        while not stop.is_set():
            while len(pids - stopped) < NUM_WORKERS:
                pid = os.fork()
                if pid == 0:
                    engine().dispose(close=False)
                    with suppress(BaseException):
                        work(queue_socket)
                    os._exit(1)
                pids.add(pid)
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
                if pid == 0:
                    break
                if os.WIFSTOPPED(status):
                    stopped.add(pid)
                else:
                    pids.discard(pid)
                    if not os.WIFSIGNALED(status):
                        note("broken", status=status)
            if stopped and time.monotonic() - looked_at > 0.2:
                looked_at = time.monotonic()
                for pid in over(connection, stopped):
                    stopped.discard(pid)
                    os.kill(pid, signal.SIGCONT)
            time.sleep(0.02)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def over(connection: psycopg.Connection, pids: set[int]) -> list[int]:
    """Of these stopped processes those whose job another attempt has, or has ended."""
    lines = [json.loads(line) for line in Path(sys.argv[3]).read_text().splitlines()]
    last = {line["pid"]: (line["job"], line["attempt"]) for line in lines if line["event"] == "stopped"}
    rows = connection.execute("SELECT id, state, attempt FROM jobs WHERE state <> 'queued'").fetchall()
    now = {job_id: (state, attempt) for job_id, state, attempt in rows}
    return [pid for pid in pids if now.get(last[pid][0], ("running", last[pid][1])) != ("running", last[pid][1])]


def main() -> None:
    """`workers SOCKET NOTES` or `dispatch SOCKET NOTES`, until SIGTERM."""
    global _notes
    role, queue_socket, notes = sys.argv[1:]
    _notes = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    STAGES["toy"] = "tests.faults.delivery_workers:toy"
    sys.modules["tests.faults.delivery_workers"] = sys.modules["__main__"]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if role == "workers":
        keep_workers(queue_socket, stop)
        return
    queue = redis.Redis(unix_socket_path=queue_socket)
    dispatch.publish = lambda job_id, name, priority: queue.lpush(DELIVERIES, job_id, job_id, job_id)  # type: ignore[assignment]
    dispatch.run(stop)


if __name__ == "__main__":
    main()
