"""What a stage sees of its job: parameters, progress, and whether to stop; and the ways in which an attempt ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlmodel import Session

from db.engine import session_scope
from db.queries import jobs
from db.queries.jobs import Claim
from worker.settings import worker_settings

log = structlog.get_logger("jobs")

STOPPING = threading.Event()
"""Set when this worker was told to stop: running jobs are given back, and no other one is begun."""

SAFE_SHARE_OF_LEASE = 0.75
"""An attempt stops by itself when no heartbeat was written for this share of its lease: the job may be another's soon."""


class JobFailed(Exception):
    """This job cannot succeed as it was submitted; the message tells people why and what to do."""


class JobCancelled(Exception):
    """Somebody asked for this job to stop."""


class FenceLost(Exception):
    """Another attempt owns this job now; nothing of this one may be written."""


class LeaseAtRisk(FenceLost):
    """No heartbeat could be written for most of a lease, so another attempt may own this job soon."""


class WorkerStops(Exception):
    """This worker was told to stop; the job goes back to the queue."""


class ProcessLost(Exception):
    """The process ended without a result; it may be tried again."""


class OutOfMemory(ProcessLost):
    """The process needed more memory than there is; it is tried again once."""


@dataclass
class Finish:
    """How a stage ends: a result for people and the effects that go into the finishing transaction."""

    result: dict[str, Any]
    effects: Callable[[Session], None] = field(default=lambda session: None)
    """Writes rows, nothing else: called again when the database was away and the first transaction came to nothing."""


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
        self._renewed_at = time.monotonic()

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
        """Append a line to the job's log at once; left out while the database is away, which costs no attempt."""
        claim = self.claim
        try:
            with session_scope() as session:
                jobs.add_job_event(session, claim.job_id, claim.attempt, "log", message[:4000], claim.owner)
        except DBAPIError as error:
            if not is_outage(error):
                raise
            log.warning("log line lost", job=claim.job_id, line=message)

    def check(self) -> None:
        """Raise FenceLost, JobCancelled or WorkerStops if this attempt must stop."""
        if self.fenced.is_set():
            raise FenceLost()
        if self.cancelled.is_set():
            raise JobCancelled()
        if STOPPING.is_set():
            raise WorkerStops()
        if time.monotonic() - self._renewed_at > SAFE_SHARE_OF_LEASE * worker_settings().lease_s:
            raise LeaseAtRisk()

    def heartbeat(self, stop: threading.Event) -> None:
        """Keep the lease alive until `stop`; runs in its own thread. Progress is written at most twice a second."""
        settings = worker_settings()
        while not stop.is_set():
            asked_at = time.monotonic()  # the lease counts from before the question, however long the answer takes
            try:
                with session_scope() as session:
                    answer = jobs.beat(
                        session, self.claim, settings.lease_s, progress=self._progress, message=self._message
                    )
            except Exception as error:  # noqa: BLE001  the database may be away for a moment; the lease allows for that
                log.warning("heartbeat failed", job=self.claim.job_id, error=str(error).splitlines()[0])
                stop.wait(min(1.0, settings.heartbeat_s))
                continue
            if answer is None:
                self.fenced.set()
                return
            self._renewed_at = asked_at
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


def is_outage(error: BaseException) -> bool:
    """Whether a database error says nothing about what was asked: the connection broke, or the server is away."""
    return isinstance(error, DBAPIError) and (
        isinstance(error, (OperationalError, InterfaceError)) or error.connection_invalidated
    )
