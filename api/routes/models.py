"""Model versions: what they reached, and which of them serves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, status

from api.deps import ModelsDep, SessionDep
from api.schemas.fields import Limit, Text, VersionName
from api.schemas.jobs import JobView
from api.schemas.models import (
    ActivationView,
    EvaluationView,
    ModelView,
    ModelWithHeadline,
    PromoteBody,
    RollbackBody,
    headline_of,
    model_facts,
)
from api.security import Caller, require
from db.errors import NotFound
from db.queries import evaluations, models
from db.tables import Evaluation, Job
from ml.judgements import judgement
from worker.queue import submit
from worker.stages.promote import promote, roll_back

router = APIRouter(prefix="/v1/models", tags=["models"])
Trainer = Annotated[Caller, require("train")]


@router.get("", response_model=list[ModelView], dependencies=[require()], summary="List model versions")
def list_models(
    session: SessionDep, serving: ModelsDep, kind: Text | None = None, limit: Limit = 100
) -> list[dict[str, Any]]:
    """Model versions, newest first."""
    active, served = models.active_versions(session), serving.served_versions()
    return [model_facts(each, active, served) for each in models.list_versions(session, kind=kind, limit=limit)]


@router.post("/rollback", response_model=ActivationView, summary="Go back to the version before")
def rollback_model(body: RollbackBody, session: SessionDep, serving: ModelsDep, caller: Trainer) -> dict[str, Any]:
    """Make the version that served before the active one active again. Servers follow within two seconds."""
    judgement(body.kind)
    activation = roll_back(session, body.kind, by=f"key:{caller.name}")
    return {**activation.model_dump(), "pinned": serving.pinned}


@router.get("/{model_version}", response_model=ModelWithHeadline, dependencies=[require()], summary="One model version")
def get_model(model_version: VersionName, session: SessionDep, serving: ModelsDep) -> dict[str, Any]:
    """A model version with the headline of its last evaluation."""
    version = models.get_version(session, model_version)
    facts = model_facts(version, models.active_versions(session), serving.served_versions())
    return {**facts, "headline": headline_of(evaluations.latest_evaluation(session, model_version))}


@router.get(
    "/{model_version}/evaluation", response_model=EvaluationView, dependencies=[require()], summary="Evaluation report"
)
def get_evaluation(model_version: VersionName, session: SessionDep) -> Evaluation:
    """The last evaluation: every metric with its interval, beside the baselines and the model that was active."""
    models.get_version(session, model_version)
    evaluation = evaluations.latest_evaluation(session, model_version)
    if evaluation is None:
        raise NotFound(f"{model_version} has no evaluation yet: POST /v1/models/{model_version}/evaluations makes one")
    return evaluation


@router.post(
    "/{model_version}/evaluations",
    response_model=JobView,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require("train")],
    summary="Evaluate a version",
)
def evaluate_model(model_version: VersionName, session: SessionDep) -> Job:
    """Measure a version on its held-out rows, beside its baselines and the active version."""
    models.get_version(session, model_version)
    return submit(session, "evaluate", {"model_version": model_version})[0]


@router.post(
    "/{model_version}/promote",
    response_model=ActivationView,
    summary="Promote a version",
    responses={409: {"description": "The gate refused; `verdict` says why in numbers."}},
)
def promote_model(
    model_version: VersionName,
    session: SessionDep,
    serving: ModelsDep,
    caller: Trainer,
    body: Annotated[PromoteBody | None, Body()] = None,
) -> dict[str, Any]:
    """Make a version the active one of its kind. Refused when it is worse, on the same rows, than the active version
    or the best baseline; `force` overrides that and is recorded. Servers follow within two seconds.
    """
    force = body.force if body is not None else False
    activation = promote(session, model_version, force=force, by=f"key:{caller.name}")
    return {**activation.model_dump(), "pinned": serving.pinned}
