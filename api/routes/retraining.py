"""Retrain cycles: labels as they are now to a promoted version, or the reason why not."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, status

from api.deps import SessionDep
from api.idempotency import IdempotencyKey
from api.keyed_route import KeyedRoute
from api.remote_weights import check_remote_weights
from api.schemas.fields import Id
from api.schemas.jobs import JobView
from api.schemas.retraining import RetrainBody, RetrainView
from api.security import Caller, require
from db.tables import Job
from db.tables.access import Scope
from worker.retraining import RetrainCycle, RetrainRequest, cycle_of, recipe_of, submit_retraining

router = APIRouter(prefix="/v1/retrain", tags=["training runs"], route_class=KeyedRoute)


@router.post("", response_model=JobView, status_code=status.HTTP_202_ACCEPTED, summary="Retrain")
def start_retraining(
    body: RetrainBody,
    session: SessionDep,
    caller: Annotated[Caller, require(Scope.TRAIN)],
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Export the labels as they are now, train with the recipe of the version that serves, evaluate beside it on the same
    rows, register, and promote if the gate allows it: a chain of jobs. Answers with the first one; `GET` with its id
    says how far the whole is, and at the end whether the version was promoted, or why not.
    """
    if "weights" in body.recipe:
        check_remote_weights(recipe_of(session, body.kind, body.recipe).weights, f"afterglow retrain {body.kind}")
    request = RetrainRequest(body.kind, body.recipe, body.promote, body.force, body.notes)
    return submit_retraining(session, request, by=caller.by, idempotency_key=idempotency_key)[0]


@router.get("/{first_job_id}", response_model=RetrainView, dependencies=[require()], summary="One retrain cycle")
def get_retraining(first_job_id: Id, session: SessionDep) -> RetrainCycle:
    """How far the cycle is that began with this job, and how it ended. Trying a job again that broke it goes on from there:
    `POST /v1/jobs/{id}/retry`.
    """
    return cycle_of(session, first_job_id)
