"""Running one job: claim it, keep its lease alive, do its stage, and finish in one transaction with its effects."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import structlog
from sqlmodel import Session

from db.engine import session_scope
from db.errors import DatabaseError
from db.queries import jobs
from db.queries.jobs import Claim
from db.queries.models import RUN_STATUS, end_run
from worker.places import sweep_work_directory
from worker.settings import worker_settings

log = structlog.get_logger("jobs")

STAGES = {
    "export_dataset": "worker.stages.export_dataset:run",
    "train": "worker.stages.train:run",
    "export_onnx": "worker.stages.export_onnx:run",
    "evaluate": "worker.stages.evaluate:run",
    "register": "worker.stages.register:run",
}
"""Kind of job -> function `(JobContext) -> Finish`."""


class JobFailed(Exception):
    """This job cannot succeed as it was submitted; the message tells people why and what to do."""


class JobCancelled(Exception):
    """Somebody asked for this job to stop."""


class FenceLost(Exception):
    """Another attempt owns this job now; nothing of this one may be written."""


@dataclass
class Finish:
    """How a stage ends: a result for people and the effects that go into the finishing transaction."""

    result: dict[str, Any]
    effects: Callable[[Session], None] = field(default=lambda session: None)


class JobContext:
    """What a stage sees of its job: parameters, progress, and whether to stop."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.params = claim.params
        self.cancelled = threading.Event()
        self.fenced = threading.Event()
        self._progress: float | None = None
        self._message: str | None = None
        self._changed = threading.Event()

    @property
    def run_id(self) -> int:
        """The training run that this job is for.

        Raises:
            JobFailed: It names none.
        """
        if self.claim.run_id is None:
            raise JobFailed(f"job {self.claim.job_id} ({self.claim.kind}) names no training run: submit it with one")
        return self.claim.run_id

    def progress(self, fraction: float, message: str) -> None:
        """Tell how far the work is, in [0, 1], and what is done now; written with the next heartbeat."""
        self._progress, self._message = min(max(fraction, 0.0), 1.0), message
        self._changed.set()
        self.check()

    def log(self, message: str) -> None:
        """Append a line to the job's log at once."""
        with session_scope() as session:
            jobs.add_job_event(session, self.claim.job_id, self.claim.attempt, "log", message[:4000], self.claim.owner)

    def check(self) -> None:
        """Raise JobCancelled or FenceLost if this attempt must stop."""
        if self.fenced.is_set():
            raise FenceLost()
        if self.cancelled.is_set():
            raise JobCancelled()

    def heartbeat(self, stop: threading.Event) -> None:
        """Keep the lease alive until `stop`; runs in its own thread. Progress is written at most twice a second."""
        settings = worker_settings()
        while not stop.is_set():
            try:
                with session_scope() as session:
                    answer = jobs.beat(
                        session, self.claim, settings.lease_s, progress=self._progress, message=self._message
                    )
            except Exception as error:  # noqa: BLE001  the database may be away for a moment; the lease allows for that
                log.warning("heartbeat failed", job=self.claim.job_id, error=str(error).splitlines()[0])
                stop.wait(1.0)
                continue
            if answer is None:
                self.fenced.set()
                return
            if answer:
                self.cancelled.set()
            self._changed.clear()
            stop.wait(0.5)
            self._wait(stop, settings.heartbeat_s - 0.5)

    def _wait(self, stop: threading.Event, seconds: float) -> None:
        waited = 0.0
        while waited < seconds and not stop.is_set() and not self._changed.is_set():
            stop.wait(0.25)
            waited += 0.25


def run_job(job_id: int, owner: str) -> str | None:
    """Run a job if it is to be had.

    Args:
        job_id: Which.
        owner: Who runs it; two attempts never share a name.

    Returns:
        The state it was left in; None when it was not to be had, or another attempt took it over.
    """
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
    finally:
        stop.set()
        beating.join(timeout=10)


def _run_claimed(context: JobContext) -> str | None:
    claim = context.claim
    log.info("started", job=claim.job_id, kind=claim.kind, attempt=claim.attempt)
    try:
        module, _, function = STAGES[claim.kind].partition(":")
        finish: Finish = getattr(import_module(module), function)(context)
        context.check()
        with session_scope() as session:
            if not jobs.hold_fence(session, claim):
                raise FenceLost()
            finish.effects(session)
            if not jobs.finish_job(session, claim, "succeeded", result=finish.result):
                raise FenceLost()
        sweep_work_directory(claim.job_id)
        return "succeeded"
    except FenceLost:
        log.warning("fence lost", job=claim.job_id, attempt=claim.attempt)
        return None
    except JobCancelled:
        return _end(context, "cancelled", "cancelled on request")
    except (JobFailed, DatabaseError) as error:  # asking again would change nothing
        return _end(context, "failed", str(error))
    except Exception as error:
        log.exception("attempt failed", job=claim.job_id, attempt=claim.attempt)
        told = getattr(error, "orig", None) or error  # of a database error only what the database said
        reason = f"{type(error).__name__}: {told}"[:2000]
        with session_scope() as session:
            state = jobs.give_back_job(session, claim, reason)
            if state in ("dead", "cancelled"):
                end_run(session, claim.run_id, RUN_STATUS[state], reason)
        return state


def _end(context: JobContext, state: str, reason: str) -> str | None:
    with session_scope() as session:
        ended = jobs.finish_job(session, context.claim, state, reason=reason)
        if ended:
            end_run(session, context.claim.run_id, RUN_STATUS[state], reason)
    log.info("ended", job=context.claim.job_id, state=state, reason=reason)
    return state if ended else None
