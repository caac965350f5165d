"""Shadows: a candidate scores the frames that the active version scores, and is never shown."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, status
from sqlmodel import Session

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.fields import VersionName
from api.schemas.jobs import JobView
from api.schemas.shadows import ShadowView
from api.security import Caller, require
from db.queries import models, shadows
from db.tables import Job
from db.tables.access import Scope
from worker.shadowing import start_shadow, stop_shadow

router = APIRouter(prefix="/v1/models/{model_version}/shadow", tags=["models"], route_class=KeyedRoute)
Trainer = Annotated[Caller, require(Scope.TRAIN)]


@router.post(
    "",
    response_model=JobView,
    status_code=status.HTTP_202_ACCEPTED,
    summary="Let a version shadow",
    responses={409: {"description": "It is the active version, or none of its kind is active."}},
)
def let_shadow(model_version: VersionName, session: SessionDep, caller: Trainer) -> Job:
    """Have a version score the frames that the active one has scored and will score, in place of any other shadow of its
    kind. Nothing of it is shown or answered. Answers with the job that scores what is there; the clock looks for new
    frames.
    """
    return start_shadow(session, model_version, by=caller.by)


@router.get("", response_model=ShadowView, dependencies=[require()], summary="A version as a shadow")
def get_shadow(model_version: VersionName, session: SessionDep) -> dict[str, Any]:
    """Whether a version shadows, and on the frames that both have scored: the mean difference from the active version, the
    share of decisions that flip, and whom people agree with, on frames that neither learned from.
    """
    return _facts(session, model_version)


@router.delete("", response_model=ShadowView, summary="Let a version shadow no longer")
def end_shadow(model_version: VersionName, session: SessionDep, caller: Trainer) -> dict[str, Any]:
    """Have a version shadow no longer. What it said stays. Repeating it changes nothing."""
    stop_shadow(session, model_version, by=caller.by)
    return _facts(session, model_version)


def _facts(session: Session, model_version: str) -> dict[str, Any]:
    version = models.get_version(session, model_version)
    choice, job = shadows.shadow_of(session, version.kind), shadows.last_comparison(session, model_version)
    mine = choice is not None and choice.model_version == model_version
    return {
        "model_version": model_version,
        "kind": version.kind,
        "shadows": mine,
        "chosen_by": choice.chosen_by if choice and mine else None,
        "chosen_at": choice.chosen_at if choice and mine else None,
        "comparison": (job.result or {}).get("comparison") if job else None,
        "compared_at": job.finished_at if job else None,
    }
