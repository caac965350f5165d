"""What the clock starts. Beat may run twice or not at all for a while: a slot of time is an idempotency key."""

from __future__ import annotations

from datetime import datetime

import structlog

from db.engine import session_scope
from db.queries import models, shadows
from db.queries.webcams import database_time
from worker.cron import last_due, read_cron
from worker.queue import CLOCK_PRIORITY, submit
from worker.settings import worker_settings

log = structlog.get_logger("schedule")


def slot(interval_s: float, now_s: float) -> int:
    """Number of the interval that a moment lies in, counted from the epoch."""
    return int(now_s // interval_s)


def submit_retention(now_s: float | None = None) -> int | None:
    """Submit one removal of what nobody needs, once per slot, if `AFTERGLOW_RETAIN_EVERY_H` asks for any.

    Returns:
        The id of the new job; None where there is none.
    """
    every_h = worker_settings().retain_every_h
    if every_h == 0:
        return None
    with session_scope() as session:
        now_s = database_time(session).timestamp() if now_s is None else now_s
        params = {"dry_run": False, "frames_days": None, "events_days": None}
        key = f"clock:retain:{slot(every_h * 3600, now_s)}"
        job, added = submit(session, "retain", params, idempotency_key=key, priority=CLOCK_PRIORITY)
        return job.id if added else None


def submit_shadows(now_s: float | None = None) -> list[int]:
    """Submit the scoring of new frames by each shadow, once per slot, where there are any. Returns the ids of new jobs."""
    every_s = worker_settings().shadow_every_min * 60
    if every_s == 0:
        return []
    new = []
    with session_scope() as session:
        now_s = database_time(session).timestamp() if now_s is None else now_s
        active = models.active_versions(session)
        for kind, shadow in shadows.shadows(session).items():
            if active.get(kind) in (None, shadow) or not shadows.count_unshadowed(session, active[kind], shadow):
                continue
            key = f"clock:{shadow}:{slot(every_s, now_s)}"
            job, added = submit(
                session, "shadow", {"model_version": shadow}, idempotency_key=key, priority=CLOCK_PRIORITY
            )
            if added and job.id is not None:
                new.append(job.id)
    return new


def submit_cycles(now: datetime | None = None) -> list[int]:
    """Submit an evaluation cycle of each kind that a version serves, once per slot. Returns the ids of new jobs.

    A slot is the last moment at which `AFTERGLOW_EVALUATE_CRON` was due. `now` is the database's time if it is not given:
    machines whose clocks differ agree on the slot. However long nothing ticked, the next tick submits for the last slot
    and for no other.
    """
    if not worker_settings().evaluates:
        return []
    new = []
    with session_scope() as session:
        due = last_due(read_cron(worker_settings().evaluate_cron), now or database_time(session))
        slot_name = f"{due:%Y-%m-%dT%H:%MZ}"
        for kind in models.active_versions(session):
            job, added = submit(
                session,
                "evaluate_cycle",
                {"kind": kind, "by": "clock", "slot": slot_name},
                idempotency_key=f"clock:{kind}:{slot_name}",
                priority=CLOCK_PRIORITY,
            )
            if added and job.id is not None:
                new.append(job.id)
    log.info("evaluation cycles", slot=slot_name, new=len(new))
    return new
