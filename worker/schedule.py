"""What the clock starts. Beat may run twice or not at all for a while: a slot of time is an idempotency key."""

from __future__ import annotations

import time

import structlog

from db.engine import session_scope
from db.queries import models
from worker.queue import submit
from worker.settings import worker_settings

log = structlog.get_logger("schedule")


def slot(interval_s: float, now_s: float | None = None) -> int:
    """Number of the interval that a moment lies in, counted from the epoch."""
    return int((time.time() if now_s is None else now_s) // interval_s)


def submit_evaluations(now_s: float | None = None) -> list[int]:
    """Submit one evaluation of each active model on current labels, once per slot. Returns the ids of new jobs."""
    number = slot(worker_settings().evaluate_every_h * 3600, now_s)
    new = []
    with session_scope() as session:
        for version in models.active_versions(session).values():
            job, added = submit(
                session,
                "evaluate",
                {"model_version": version, "fresh": True},
                idempotency_key=f"clock:{version}:{number}",
            )
            if added and job.id is not None:
                new.append(job.id)
    log.info("evaluations", slot=number, new=len(new))
    return new
