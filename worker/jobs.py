"""Running one job: claim it, keep its lease alive, do its stage, and finish in one transaction with its effects."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from db.engine import session_scope
from db.errors import DatabaseError
from db.queries import jobs
from db.queries.models import RUN_STATUS, end_run
from ml.bundle import BundleError
from ml.manifest import ManifestError
from worker.job_context import (
    STOPPING,
    FenceLost,
    Finish,
    JobCancelled,
    JobContext,
    JobFailed,
    OutOfMemory,
    ProcessLost,
    WorkerStops,
    is_outage,
)
from worker.settings import worker_settings
from worker.sweep import sweep_succeeded

__all__ = [
    "STAGES",
    "FenceLost",
    "Finish",
    "JobCancelled",
    "JobContext",
    "JobFailed",
    "OutOfMemory",
    "ProcessLost",
    "run_job",
]

log = structlog.get_logger("jobs")
T = TypeVar("T")

STAGES = {
    "export_dataset": "worker.stages.export_dataset:run",
    "train": "worker.stages.train:run",
    "export_onnx": "worker.stages.export_onnx:run",
    "evaluate": "worker.stages.evaluate:run",
    "evaluate_cycle": "worker.stages.evaluate_cycle:run",
    "register": "worker.stages.register:run",
    "reproduce": "worker.stages.reproduce:run",
    "retain": "worker.stages.retain:run",
    "scan": "worker.stages.scan:run",
    "find_disagreements": "worker.stages.find_disagreements:run",
    "retrain": "worker.stages.retrain:run",
    "gate": "worker.stages.gate:run",
    "shadow": "worker.stages.shadow:run",
}
"""Kind of job -> function `(JobContext) -> Finish`."""

MAX_MEMORY_LOSSES = 2
"""A job that ran out of memory is tried again once: the machine may have been full of something else."""

STOPPING_PATIENCE_S = 5.0
"""How long a worker that was told to stop asks a database that is away to take a job back; then its lease runs out."""


def run_job(job_id: int, owner: str) -> str | None:
    """Run a job if it is to be had.

    Args:
        job_id: Which.
        owner: Who runs it; two attempts never share a name.

    Returns:
        The state it was left in; None when it was not to be had, another attempt took it over, or its end could not be
        written while the database was away (its lease runs out then).
    """
    if STOPPING.is_set():
        return None
    with session_scope() as session:
        claim = jobs.claim_job(session, job_id, owner, worker_settings().lease_s)
    if claim is None:
        log.info("not to be had", job=job_id)
        return None
    context = JobContext(claim)
    stop = threading.Event()
    beating = threading.Thread(target=context.heartbeat, args=(stop,), name=f"heartbeat-{job_id}", daemon=True)
    beating.start()
    try:
        return _run_claimed(context)
    except DBAPIError as error:
        if not is_outage(error):
            raise
        log.warning("left to its lease, since the database is away", job=job_id, attempt=claim.attempt)
        return None
    finally:
        stop.set()
        beating.join(timeout=10)


def _run_claimed(context: JobContext) -> str | None:
    claim = context.claim
    log.info("started", job=claim.job_id, kind=claim.kind, attempt=claim.attempt)
    try:
        module, _, function = STAGES[claim.kind].partition(":")
        finish: Finish = getattr(import_module(module), function)(context)
        if context.cancelled.is_set():
            raise JobCancelled()
        _finish(context, finish)
    except FenceLost as error:
        log.warning("fence lost", job=claim.job_id, attempt=claim.attempt, why=type(error).__name__)
        return None
    except JobCancelled:
        return _end(context, "cancelled", "cancelled on request")
    except (JobFailed, DatabaseError, BundleError, ManifestError) as error:  # asking again would change nothing
        return _end(context, "failed", str(error))
    except WorkerStops:
        return _return(context)
    except OutOfMemory as error:
        return _note_memory_loss(context, str(error))
    except Exception as error:
        log.exception("attempt failed", job=claim.job_id, attempt=claim.attempt)
        told = getattr(error, "orig", None) or error  # of a database error only what the database said
        return _give_back(context, f"{type(error).__name__}: {told}"[:2000])
    sweep_succeeded(claim.job_id, claim.kind, claim.run_id)
    return "succeeded"


def _write(context: JobContext, write: Callable[[Session], T], patience_s: float | None = None) -> T:
    """Run `write` in one transaction, again and again while the database is away, for as long as a lease.

    When the connection breaks during a commit, nobody knows whether it happened. So `write` must begin with the fence:
    it holds it only while nothing of this attempt's end is committed, and waits for a commit that is still under way.

    Raises:
        DBAPIError: The database stayed away; what `write` does may have happened or not.
    """
    patience_s = worker_settings().lease_s if patience_s is None else patience_s
    gives_up_at: float | None = None
    while True:
        try:
            with session_scope() as session:
                return write(session)
        except DBAPIError as error:
            now = time.monotonic()
            gives_up_at = gives_up_at or now + patience_s
            if not is_outage(error) or now > gives_up_at:
                raise
            log.warning("the end of an attempt is not written yet", job=context.claim.job_id, error=str(error.orig))
            time.sleep(min(0.5, patience_s / 10))


def _finish(context: JobContext, finish: Finish) -> None:
    claim = context.claim

    def write(session: Session) -> bool:
        if not jobs.hold_fence(session, claim, worker_settings().lease_s):
            return jobs.ended_as(session, claim, "succeeded")  # by a commit whose answer never came
        finish.effects(session)
        return jobs.finish_job(session, claim, "succeeded", result=finish.result)

    if not _write(context, write):
        raise FenceLost()


def _end(context: JobContext, state: str, reason: str) -> str | None:
    claim = context.claim

    def write(session: Session) -> bool:
        if not jobs.finish_job(session, claim, state, reason=reason):
            return jobs.ended_as(session, claim, state)
        end_run(session, claim.run_id, RUN_STATUS[state], reason)
        return True

    ended = _write(context, write)
    log.info("ended", job=claim.job_id, state=state, reason=reason)
    return state if ended else None


def _give_back(context: JobContext, reason: str) -> str | None:
    claim = context.claim

    def write(session: Session) -> str | None:
        state = jobs.give_back_job(session, claim, reason, worker_settings().backoff_s)
        if state in RUN_STATUS:
            end_run(session, claim.run_id, RUN_STATUS[state], reason)
        return state

    return _write(context, write)


def _return(context: JobContext) -> str | None:
    claim, reason = context.claim, "its worker was told to stop"

    def write(session: Session) -> str | None:
        state = jobs.return_job(session, claim, reason)
        if state in RUN_STATUS:
            end_run(session, claim.run_id, RUN_STATUS[state], reason)
        return state

    state = _write(context, write, STOPPING_PATIENCE_S)
    log.info("given back", job=claim.job_id, state=state, reason=reason)
    return state


def _note_memory_loss(context: JobContext, reason: str) -> str | None:
    claim = context.claim

    def write(session: Session) -> int | None:
        if not jobs.hold_fence(session, claim, worker_settings().lease_s):
            return None
        if not jobs.count_job_events(session, claim.job_id, "out-of-memory", claim.attempt):
            jobs.add_job_event(session, claim.job_id, claim.attempt, "out-of-memory", reason[:4000], claim.owner)
        return jobs.count_job_events(session, claim.job_id, "out-of-memory")

    losses = _write(context, write)
    if losses is None:
        return None
    log.warning("out of memory", job=claim.job_id, attempt=claim.attempt, reason=reason)
    if losses >= MAX_MEMORY_LOSSES:
        return _end(context, "failed", f"It ran out of memory {losses} times. {reason}")
    return _give_back(context, reason)
