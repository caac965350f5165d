"""Retention: what may be removed by age, and removing it."""

from __future__ import annotations

from fastapi import APIRouter, status

from api.deps import SessionDep
from api.idempotency import IdempotencyKey, submit_once
from api.keyed_route import KeyedRoute
from api.schemas.jobs import JobView
from api.schemas.retention import RetentionBody
from api.security import require
from db.tables import Job
from db.tables.access import Scope

router = APIRouter(prefix="/v1/retention", tags=["jobs"], route_class=KeyedRoute)


@router.post(
    "",
    response_model=JobView,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require(Scope.ADMIN)],
    summary="Remove what nobody needs",
)
def start_retention(body: RetentionBody, session: SessionDep, idempotency_key: IdempotencyKey = None) -> Job:
    """Count the images and attempts to score that are old and needed by nobody, and remove them where `dry_run` is false.
    Answers with the job; its `result` says how many stay for which reason, and how many go. A removed image cannot be
    brought back; the snapshot stays, with `image_state` `removed`.
    """
    return submit_once(session, "retain", body.model_dump(mode="json"), idempotency_key)
