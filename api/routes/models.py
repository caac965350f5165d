"""Model versions: what they reached, and which of them serves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, status

from api.deps import ModelsDep, SessionDep
from api.idempotency import IdempotencyKey, submit_once
from api.keyed_route import KeyedRoute
from api.schemas.fields import Text, VersionName
from api.schemas.jobs import JobView
from api.schemas.models import (
    ActivationView,
    ModelView,
    ModelWithHeadline,
    PastActivation,
    PromoteBody,
    RollbackBody,
    headline_of,
    model_facts,
)
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.security import Caller, require
from db.queries import evaluations, lineage, models
from db.tables import Job
from db.tables.access import Scope
from ml.judgements import judgement
from worker.queue import check_reproducible
from worker.stages.promote import promote, roll_back

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=KeyedRoute)
Trainer = Annotated[Caller, require(Scope.TRAIN)]
OfKind = Annotated[Text | None, Query(description="Only those of this kind of judgement.")]


@router.get("", response_model=Page[ModelView], dependencies=[require()], summary="List model versions")
def list_models(
    session: SessionDep,
    serving: ModelsDep,
    *,
    kind: OfKind = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Model versions, newest first."""
    active, served = models.active_versions(session), serving.served_versions()
    page = page_of(models.list_versions(session, kind=kind, cursor=cursor, limit=rows_to_ask(limit)), limit)
    tainted = lineage.tainted_versions(session)
    return {**page, "items": [model_facts(each, active, served, tainted) for each in page["items"]]}


@router.get(
    "/activations", response_model=Page[PastActivation], dependencies=[require()], summary="Promotions and rollbacks"
)
def list_activations(
    session: SessionDep, *, kind: OfKind = None, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """Every change of the active model with its verdict and whose key made it, newest first."""
    return page_of(models.activations(session, kind, cursor=cursor, limit=rows_to_ask(limit)), limit)


@router.post("/rollback", response_model=ActivationView, summary="Go back to the version before")
def rollback_model(body: RollbackBody, session: SessionDep, serving: ModelsDep, caller: Trainer) -> dict[str, Any]:
    """Make the version that served before the active one active again. Servers follow within two seconds."""
    judgement(body.kind)
    activation = roll_back(session, body.kind, by=caller.by)
    return {**activation.model_dump(), "pinned": serving.pinned}


@router.get("/{model_version}", response_model=ModelWithHeadline, dependencies=[require()], summary="One model version")
def get_model(model_version: VersionName, session: SessionDep, serving: ModelsDep) -> dict[str, Any]:
    """A model version with the headline of its last evaluation."""
    version = models.get_version(session, model_version)
    tainted = lineage.tainted_versions(session)
    facts = model_facts(version, models.active_versions(session), serving.served_versions(), tainted)
    return {**facts, "headline": headline_of(evaluations.latest_evaluation(session, model_version))}


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
    """Make a version the active one of its kind. Refused when it is not better, on the same rows, than the active version
    and than all that is simpler, when a slice gets clearly worse, or when it is too slow; `verdict` lists every check with
    its numbers. `force` overrides that and is recorded. Servers follow within two seconds.
    """
    force = body.force if body is not None else False
    activation = promote(session, model_version, force=force, by=caller.by)
    return {**activation.model_dump(), "pinned": serving.pinned}


@router.post(
    "/{model_version}/reproduce",
    response_model=JobView,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require(Scope.TRAIN)],
    summary="Reproduce a version",
    responses={409: {"description": "It was trained elsewhere, so its rows and its recipe are not known here."}},
)
def reproduce_model(model_version: VersionName, session: SessionDep, idempotency_key: IdempotencyKey = None) -> Job:
    """Rebuild the manifest from provenance, train again in a fresh process and compare. The job's result says which
    promise holds: `identical`, `same-predictions` (within a thousandth of a rating) or `not-reproduced`, with figures,
    and how what is installed differs from what was recorded. Nothing is registered.
    """
    check_reproducible(session, model_version)
    return submit_once(session, "reproduce", {"model_version": model_version}, idempotency_key)
