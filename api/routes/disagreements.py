"""Disagreements: find the frames that are worth a person's time, list them, and say what becomes of one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, status

from api.deps import SessionDep
from api.idempotency import IdempotencyKey, submit_once
from api.keyed_route import KeyedRoute
from api.schemas.disagreements import (
    BacklogView,
    DisagreementView,
    FindBody,
    Need,
    Reason,
    State,
    TriageBody,
    view_of,
)
from api.schemas.fields import Id, Text, VersionName
from api.schemas.jobs import JobView
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, rows_to_ask
from api.security import Caller, require
from db.queries import disagreements
from db.queries.backlog import Backlog, backlog
from db.tables import Job
from db.tables.access import Scope
from ml.judgements import judgement
from worker.queue import version_to_ask

router = APIRouter(prefix="/v1/disagreements", tags=["disagreements"], route_class=KeyedRoute)


@router.post(
    "",
    response_model=JobView,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require(Scope.TRAIN)],
    summary="Find disagreements",
    responses={409: {"description": "No version of this kind is active, or the one that is named is of another kind."}},
)
def find_disagreements(body: FindBody, session: SessionDep, idempotency_key: IdempotencyKey = None) -> Job:
    """Choose a review set: the frames on which people and a version are furthest apart, those for which they stand on
    opposite sides of the threshold, and random samples of what is near it and of everything. Frames that the version has
    not scored are scored first. Answers with the job; its `result` names the set.
    """
    version_to_ask(session, judgement(body.kind).name, body.model_version)
    return submit_once(session, "find_disagreements", body.model_dump(mode="json"), idempotency_key)


@router.get("", response_model=Page[DisagreementView], dependencies=[require()], summary="List disagreements")
def list_disagreements(
    session: SessionDep,
    *,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    reason: Annotated[Reason | None, Query(description="Only those that came in by this way.")] = None,
    need: Annotated[Need | None, Query(description="Only those that need this.")] = None,
    priority: Annotated[
        int | None, Query(ge=1, le=999, description="Only those of this priority or a more urgent one.")
    ] = None,
    model_version: Annotated[VersionName | None, Query(description="Only those of this version.")] = None,
    webcam_id: Annotated[Id | None, Query(description="Only frames of this webcam.")] = None,
    review_set_id: Annotated[Id | None, Query(description="Only those of this review set.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Frames of review sets, newest first; within a set in an order of chance."""
    rows = disagreements.list_disagreements(
        session, state=state, reason=reason, need=need, priority=priority, model_version=model_version,
        webcam_id=webcam_id, review_set_id=review_set_id, cursor=cursor, limit=rows_to_ask(limit),
    )  # fmt: skip
    items = [view_of(*row) for row in rows[:limit]]
    return {"items": items, "next_cursor": items[-1].id if len(rows) > limit else None}


@router.get(
    "/backlog", response_model=BacklogView, dependencies=[require()], summary="What is new for the next training"
)
def get_backlog(
    session: SessionDep, kind: Annotated[Text, Query(description="The kind of judgement.")] = "rating"
) -> Backlog:
    """How many frames people have settled since the labels that the active version was trained on, and how many wait."""
    return backlog(session, judgement(kind).name)


@router.get("/{disagreement_id}", response_model=DisagreementView, dependencies=[require()], summary="One disagreement")
def get_disagreement(disagreement_id: Id, session: SessionDep) -> DisagreementView:
    """A frame of a review set: why it is there, what was said of it, and what became of it."""
    return view_of(*disagreements.whole_disagreement(session, disagreement_id))


@router.post(
    "/{disagreement_id}/triage",
    response_model=DisagreementView,
    summary="Triage a disagreement",
    responses={409: {"description": "A rating has settled it: take that back first, or leave it."}},
)
def triage_disagreement(
    disagreement_id: Id,
    body: TriageBody,
    session: SessionDep,
    caller: Annotated[Caller, require(Scope.RATE)],
) -> DisagreementView:
    """Dismiss a frame that nobody need look at, have it wait again, or say how urgent it is. It holds for the frame in
    every review set of its kind. Repeating it changes nothing. A rating settles a frame by itself.
    """
    disagreements.triage(session, disagreement_id, by=caller.by, state=body.state, priority=body.priority)
    return view_of(*disagreements.whole_disagreement(session, disagreement_id))
