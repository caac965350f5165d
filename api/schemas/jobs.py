"""Jobs and what happened to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from api.schemas.fields import View

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "dead"]


class JobView(View):
    """One piece of work: how far it is, and why it failed."""

    id: int
    kind: str
    state: State
    progress: float
    """How far it is, in [0, 1]."""
    message: str | None
    """What it is doing now."""
    reason: str | None
    """Why it failed."""
    params: dict[str, Any]
    result: dict[str, Any] | None
    run_id: int | None
    parent_id: int | None
    """The job whose success submitted this one."""
    retry_of: int | None
    """The job that this one tries again."""
    attempt: int
    max_attempts: int
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None


class JobEventView(View):
    """One thing that happened to a job."""

    id: int
    job_id: int
    attempt: int
    event: str
    """What happened, in a word: `submitted`, `started`, `log`, a state that was reached, and the like."""
    message: str | None
    worker: str | None
    created_at: datetime


class JobWithEvents(View):
    """A job with its log and the jobs that its success submitted."""

    job: JobView
    events: list[JobEventView]
    """The beginning of its log, oldest first."""
    next_cursor: int | None
    """Where the log goes on: the `cursor` for its `/log`; null when all of it is here."""
    follow_ups: list[JobView]
