"""Evaluation cycles, evaluations of all versions, and what versions reached over time."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response, status

from api.conditional import FOR_EVER, IfNoneMatch
from api.deps import SessionDep
from api.idempotency import IdempotencyKey
from api.keyed_route import KeyedRoute
from api.routes.evaluations import UNCHANGED, answer_evaluation
from api.routes.reports import POLICY
from api.schemas.evaluations import CycleSummary, CycleView, EvaluateBody, HistoryPoint
from api.schemas.fields import Id, Text
from api.schemas.jobs import JobView
from api.schemas.models import EvaluationSummary, EvaluationView
from api.schemas.pages import DEFAULT_LIMIT, MAX_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.security import Caller, require
from db.queries import evaluations
from db.tables import Job
from db.tables.access import Scope
from ml.history import history_page
from ml.judgements import judgement
from worker.evaluating import history, submit_cycle

router = APIRouter(prefix="/v1", tags=["models"], route_class=KeyedRoute)
OfKind = Annotated[Text | None, Query(description="Only those of this kind of judgement.")]
OfVersion = Annotated[Text | None, Query(description="Only those of this version.")]
OfCycle = Annotated[Id | None, Query(description="Only those of this evaluation cycle.")]
OfRole = Annotated[
    Literal["active", "previous", "candidate"] | None, Query(description="Only of versions in this role of a cycle.")
]


@router.post("/evaluations", response_model=JobView, status_code=status.HTTP_202_ACCEPTED, summary="Evaluate a kind")
def start_cycle(
    body: EvaluateBody,
    session: SessionDep,
    caller: Annotated[Caller, require(Scope.TRAIN)],
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Measure the active version, the one before it and the newest candidate on the same rows of today's labels, none of
    which any of them learned from. Answers with the job; its `result` names the cycle and the evaluations.
    """
    return submit_cycle(session, body.kind, by=caller.by, idempotency_key=idempotency_key)[0]


@router.get("/evaluations", response_model=Page[EvaluationSummary], dependencies=[require()], summary="All evaluations")
def list_all_evaluations(
    session: SessionDep,
    *,
    kind: OfKind = None,
    model_version: OfVersion = None,
    cycle_id: OfCycle = None,
    role: OfRole = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """The evaluations of all versions without their reports, newest first."""
    rows = evaluations.list_evaluations(
        session, model_version, kind=kind, cycle_id=cycle_id, role=role, cursor=cursor, limit=rows_to_ask(limit)
    )
    return page_of(rows, limit)


@router.get(
    "/evaluations/{evaluation_id}",
    response_model=EvaluationView,
    dependencies=[require()],
    summary="One evaluation by its id",
    responses=UNCHANGED,
)
def get_one_evaluation(
    evaluation_id: Id, session: SessionDep, response: Response, if_none_match: IfNoneMatch = None
) -> Any:
    """One evaluation with its report, which never changes."""
    return answer_evaluation(evaluations.get_evaluation(session, evaluation_id), response, if_none_match, FOR_EVER)


@router.get(
    "/evaluation-cycles", response_model=Page[CycleSummary], dependencies=[require()], summary="Evaluation cycles"
)
def list_cycles(
    session: SessionDep, *, kind: OfKind = None, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """The cycles that have ended well, newest first; of others the job says what became of them."""
    return page_of(evaluations.list_cycles(session, kind=kind, cursor=cursor, limit=rows_to_ask(limit)), limit)


@router.get(
    "/evaluation-cycles/{cycle_id}", response_model=CycleView, dependencies=[require()], summary="One evaluation cycle"
)
def get_cycle(cycle_id: Id, session: SessionDep) -> dict[str, Any]:
    """One cycle with the evaluations of its versions."""
    cycle = evaluations.get_cycle(session, cycle_id)
    return {**cycle.model_dump(), "evaluations": evaluations.list_evaluations(session, cycle_id=cycle_id)}


@router.get(
    "/evaluation-metrics", response_model=Page[HistoryPoint], dependencies=[require()], summary="Metrics over time"
)
def list_metrics(
    session: SessionDep,
    *,
    kind: OfKind = None,
    model_version: OfVersion = None,
    role: OfRole = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """The primary metric of each evaluation with its interval, beside the best baseline on the same rows; newest first."""
    rows = evaluations.list_evaluations(
        session, model_version, kind=kind, role=role, cursor=cursor, limit=rows_to_ask(limit)
    )
    page = page_of(rows, limit)
    return {**page, "items": history(page["items"])}


@router.get(
    "/evaluation-metrics.html",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "The page."}},
    dependencies=[require()],
    summary="Metrics over time as a page",
)
def get_metrics_page(
    session: SessionDep, kind: Annotated[Text, Query(description="The kind of judgement.")] = "rating"
) -> Response:
    """The last 200 evaluations of a kind as one self-contained page: a line a version, with intervals and baselines."""
    judgement(kind)
    points = history(evaluations.list_evaluations(session, kind=kind, limit=MAX_LIMIT))
    return Response(
        history_page(kind, points), media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY}
    )
