"""Evaluations of model versions: what they reached on rows that they have not learnt from."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response, status

from api.conditional import ASK_AGAIN, FOR_EVER, IfNoneMatch, not_modified
from api.deps import SessionDep
from api.idempotency import IdempotencyKey, submit_once
from api.keyed_route import KeyedRoute
from api.schemas.fields import Id, VersionName
from api.schemas.jobs import JobView
from api.schemas.models import EvaluationSummary, EvaluationView
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.security import require
from db.errors import NotFound
from db.queries import evaluations, models
from db.tables import Evaluation, Job
from db.tables.access import Scope

router = APIRouter(prefix="/v1/models/{model_version}", tags=["models"], route_class=KeyedRoute)
UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The caller has this report: `If-None-Match` names it."},
}


@router.get(
    "/evaluation",
    response_model=EvaluationView,
    dependencies=[require()],
    summary="The last evaluation",
    responses=UNCHANGED,
)
def get_last_evaluation(
    model_version: VersionName, session: SessionDep, response: Response, if_none_match: IfNoneMatch = None
) -> Any:
    """The last evaluation: every metric with its interval, beside the baselines and the model that was active."""
    models.get_version(session, model_version)
    evaluation = evaluations.latest_evaluation(session, model_version)
    if evaluation is None:
        raise NotFound(f"{model_version} has no evaluation yet: POST /v1/models/{model_version}/evaluations makes one")
    return answer_evaluation(evaluation, response, if_none_match, ASK_AGAIN)


@router.get(
    "/evaluations", response_model=Page[EvaluationSummary], dependencies=[require()], summary="List evaluations"
)
def list_evaluations(
    model_version: VersionName, session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """The evaluations of a version without their reports, newest first."""
    models.get_version(session, model_version)
    return page_of(evaluations.list_evaluations(session, model_version, cursor=cursor, limit=rows_to_ask(limit)), limit)


@router.get(
    "/evaluations/{evaluation_id}",
    response_model=EvaluationView,
    dependencies=[require()],
    summary="One evaluation",
    responses=UNCHANGED,
)
def get_evaluation(
    model_version: VersionName,
    evaluation_id: Id,
    session: SessionDep,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> Any:
    """One evaluation of a version with its report, which never changes."""
    evaluation = evaluations.get_evaluation(session, evaluation_id, model_version=model_version)
    return answer_evaluation(evaluation, response, if_none_match, FOR_EVER)


@router.post(
    "/evaluations",
    response_model=JobView,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require(Scope.TRAIN)],
    summary="Evaluate a version",
)
def evaluate_model(model_version: VersionName, session: SessionDep, idempotency_key: IdempotencyKey = None) -> Job:
    """Measure a version on its held-out rows, beside its baselines and the active version."""
    models.get_version(session, model_version)
    return submit_once(session, "evaluate", {"model_version": model_version}, idempotency_key)


def answer_evaluation(evaluation: Evaluation, response: Response, if_none_match: str | None, keep: str) -> Any:
    """An evaluation with its tag, or that the caller has it already."""
    headers = {"ETag": f'"evaluation-{evaluation.id}"', "Cache-Control": keep}
    if (known := not_modified(headers, if_none_match)) is not None:
        return known
    response.headers.update(headers)
    return evaluation
