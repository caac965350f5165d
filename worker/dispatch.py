"""The dispatcher: publishes queued jobs to Celery, and takes back those whose worker was lost.

The queued row is its own outbox: a message that gets lost is published again after a while. Several dispatchers may
run at once. Run as `python -m worker.dispatch`.
"""

from __future__ import annotations

import signal
import threading

import psycopg
import structlog
from kombu.exceptions import OperationalError
from sqlalchemy.exc import OperationalError as DatabaseOperationalError

from db.engine import listening, session_scope
from db.queries import jobs, models
from worker.settings import worker_settings

log = structlog.get_logger("dispatch")
REAP_INTERVAL_S = 10.0


def publish(job_id: int, queue: str, priority: int) -> None:
    """Send a job's id to its Celery queue; raises kombu's OperationalError when Redis is away."""
    from worker.app import app

    app.send_task(
        "run_job", [job_id], queue=queue, ignore_result=True, retry=False, priority=message_priority(priority)
    )


def message_priority(priority: int) -> int:
    """The level of a job's message, of those that kombu keeps a list each for in Redis; the lowest is read first."""
    if priority < jobs.USUAL_PRIORITY:
        return 0
    return 3 if priority == jobs.USUAL_PRIORITY else 6


def dispatch_once() -> int:
    """Publish what is due; returns how many. When Redis is away nothing is marked and the jobs wait."""
    with session_scope() as session:
        due = jobs.take_for_dispatch(session, worker_settings().redispatch_s)
        for job_id, queue, priority in due:
            publish(job_id, queue, priority)  # raising here rolls the marks back
    return len(due)


def reap_once() -> int:
    """Take back jobs whose lease ran out; returns how many."""
    with session_scope() as session:
        reaped = jobs.reap_jobs(session, worker_settings().backoff_s)
        for _, state, run_id in reaped:
            if state in models.RUN_STATUS:
                models.end_run(session, run_id, models.RUN_STATUS[state], jobs.LOST_WORKER)
    for job_id, state, _ in reaped:
        log.warning("worker lost", job=job_id, now=state)
    return len(reaped)


def run(stop: threading.Event) -> None:
    """Dispatch and reap until `stop`, through outages of Postgres and Redis."""
    interval = worker_settings().dispatch_interval_s
    rounds_per_reap = max(1, round(min(REAP_INTERVAL_S, worker_settings().lease_s / 6) / interval))
    while not stop.is_set():
        try:
            with listening(jobs.JOBS_CHANNEL) as connection:
                rounds = 0
                while not stop.is_set():
                    dispatch_once()
                    if rounds % rounds_per_reap == 0:
                        reap_once()
                    rounds += 1
                    for _ in connection.notifies(timeout=interval, stop_after=1):
                        pass
        except (OperationalError, DatabaseOperationalError, psycopg.OperationalError) as error:
            log.warning("waiting for Postgres or Redis", error=str(error).splitlines()[0])
            stop.wait(interval)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log.info("dispatcher started")
    run(stop)


if __name__ == "__main__":
    main()
