"""Which candidate shadows: it scores what the active version has scored, and is never shown."""

from __future__ import annotations

from sqlmodel import Session

from db.errors import Conflict
from db.queries import models, shadows
from db.tables import Job, ModelVersion
from ml.judgements import judgement
from worker.queue import submit


def check_shadow(session: Session, model_version: str) -> tuple[ModelVersion, ModelVersion]:
    """The version that is to shadow, and the active one beside which it does.

    Raises:
        NotFound: There is no such version.
        Conflict: No version of its kind is active, it is the active one itself, or its kind keeps no scores of frames.
    """
    version = models.get_version(session, model_version)
    if not judgement(version.kind).scores_snapshots:
        raise Conflict(f"scores of the kind {version.kind} are not kept with frames, so there is nothing to shadow")
    active = models.active_version(session, version.kind)
    if active is None:
        raise Conflict(f"no {version.kind} version is active, so {model_version} has nothing to shadow: promote it")
    if active.model_version == model_version:
        raise Conflict(f"{model_version} is the active {version.kind} version itself: name a candidate")
    return version, active


def start_shadow(session: Session, model_version: str, *, by: str, priority: int | None = None) -> Job:
    """Have a version shadow from now on, in place of any other, and submit the job that scores what is there.

    Raises:
        NotFound, Conflict: See `check_shadow`.
    """
    version, _ = check_shadow(session, model_version)
    if shadows.shadows(session).get(version.kind) != model_version:
        shadows.choose_shadow(session, version.kind, model_version, by)
    job, _ = submit(session, "shadow", {"model_version": model_version}, priority=priority)
    return job


def stop_shadow(session: Session, model_version: str, *, by: str) -> None:
    """Have a version shadow no longer; what it said stays. Repeating it changes nothing.

    Raises:
        NotFound: There is no such version.
    """
    version = models.get_version(session, model_version)
    if shadows.shadows(session).get(version.kind) == model_version:
        shadows.choose_shadow(session, version.kind, None, by)
