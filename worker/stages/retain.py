"""Retention: remove the images of old frames that nobody needs, and old attempts to score that kept no frame.

First the rows say that an image is removed, and its content is noted; then, in another transaction, the bytes go and the
note with them. So no row ever names missing bytes as present, and whatever is killed is finished by the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from db.engine import session_scope
from db.queries import retention
from db.queries.webcams import database_time
from ml.images.store import FileStore
from worker.jobs import Finish, JobContext
from worker.places import file_store
from worker.settings import worker_settings

FRAMES_AT_ONCE, EVENTS_AT_ONCE = 200, 5000
"""Rows of one transaction: short enough that nobody who rates or scores waits for long."""


@dataclass(frozen=True)
class Ages:
    """How old what nobody needs becomes, in days."""

    frames_days: float
    events_days: float


def configured_ages(frames_days: float | None = None, events_days: float | None = None) -> Ages:
    """Ages as given, else those of the settings."""
    settings = worker_settings()
    return Ages(
        settings.retain_frames_days if frames_days is None else frames_days,
        settings.retain_events_days if events_days is None else events_days,
    )


def plan(session: Session, ages: Ages) -> dict[str, Any]:
    """What would stay, and why, and what would go; changes nothing. `kept` and `removed` make `total`."""
    frames_before, events_before = _cutoffs(session, ages)
    counts = retention.count_frames(session, frames_before)
    events = retention.count_events(session, events_before)
    kept = {row.reason: {"frames": row.frames, "bytes": row.bytes} for row in counts if row.reason is not None}
    gone = next(({"frames": row.frames, "bytes": row.bytes} for row in counts if row.reason is None), None)
    return {
        "frames_days": ages.frames_days,
        "events_days": ages.events_days,
        "frames": {
            "total": {"frames": sum(row.frames for row in counts), "bytes": sum(row.bytes for row in counts)},
            "kept": kept,
            "removed": gone or {"frames": 0, "bytes": 0},
        },
        "events": {
            "total": events.total,
            "kept": {"recent": events.recent, "with-snapshot": events.with_snapshot},
            "removed": events.old,
        },
    }


def retain(store: FileStore, ages: Ages, between: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Remove what `plan` names, in short transactions of its own; safe to repeat and to stop at any moment.

    Args:
        store: Where the images are.
        ages: What is older may go.
        between: Called after each transaction with what was done; may raise to stop.

    Returns:
        How many `frames`, `images` (contents, with their `bytes`) and `events` were removed. Fewer frames than planned
        where somebody came to need one meanwhile; fewer bytes where snapshots share a content.
    """
    with session_scope() as session:
        frames_before, events_before = _cutoffs(session, ages)
    frames = _remove_frames(frames_before, between)
    images, freed = _remove_images(store, between)
    events = _remove_events(events_before, between)
    return {"frames": frames, "images": images, "bytes": freed, "events": events}


def _cutoffs(session: Session, ages: Ages) -> tuple[datetime, datetime]:
    now = database_time(session)
    return now - timedelta(days=ages.frames_days), now - timedelta(days=ages.events_days)


def _remove_frames(cutoff: datetime, between: Callable[[str], None]) -> int:
    removed, after = 0, 0
    while True:
        with session_scope() as session:
            found = retention.frames_to_remove(session, cutoff, after=after, limit=FRAMES_AT_ONCE)
            removed += retention.remove_frames(session, found, cutoff) if found else 0
        between(f"{removed} frames removed")
        if len(found) < FRAMES_AT_ONCE:
            return removed
        after = found[-1]


def _remove_images(store: FileStore, between: Callable[[str], None]) -> tuple[int, int]:
    """Also what a run before this one has noted and not removed."""
    removed, freed, after = 0, 0, ""
    while True:
        with session_scope() as session:
            found = retention.images_to_remove(session, after=after, limit=FRAMES_AT_ONCE)
            free = retention.release_images(session, found)
            for sha256 in free:
                store.delete_image(sha256)
        removed, freed = removed + len(free), freed + sum(free.values())
        between(f"{removed} images removed")
        if len(found) < FRAMES_AT_ONCE:
            return removed, freed
        after = found[-1]


def _remove_events(cutoff: datetime, between: Callable[[str], None]) -> int:
    removed = 0
    last: int | None = 0
    while last is not None:
        with session_scope() as session:
            num, last = retention.remove_events(session, cutoff, after=last, limit=EVENTS_AT_ONCE)
        removed += num
        between(f"{removed} attempts to score removed")
    return removed


def run(context: JobContext) -> Finish:
    """The job `retain`: parameters `dry_run`, `frames_days` and `events_days` (null: as set)."""
    params = context.params
    ages = configured_ages(params.get("frames_days"), params.get("events_days"))
    with session_scope() as session:
        result = {"dry_run": bool(params["dry_run"]), **plan(session, ages)}
    if not params["dry_run"]:
        result["done"] = retain(file_store(), ages, lambda message: context.progress(0.5, message))
    return Finish(result)
