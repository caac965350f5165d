"""Review sets: how each was chosen, and from how many frames."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.disagreements import ReviewSetView
from api.schemas.fields import Id, Text
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.security import require
from db.queries import disagreements
from db.tables import ReviewSet

router = APIRouter(prefix="/v1/review-sets", tags=["disagreements"], route_class=KeyedRoute, dependencies=[require()])


@router.get("", response_model=Page[ReviewSetView], summary="List review sets")
def list_review_sets(
    session: SessionDep,
    *,
    kind: Annotated[Text | None, Query(description="Only those of this kind of judgement.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Review sets, newest first: version, seed, for each way how many frames there were and how many were chosen, and what
    the controls of the version so far say of it.
    """
    return page_of(disagreements.list_review_sets(session, kind=kind, cursor=cursor, limit=rows_to_ask(limit)), limit)


@router.get("/{review_set_id}", response_model=ReviewSetView, summary="One review set")
def get_review_set(review_set_id: Id, session: SessionDep) -> ReviewSet:
    """How a review set was chosen. Its frames: `GET /v1/disagreements?review_set_id=...`."""
    return disagreements.get_review_set(session, review_set_id)
