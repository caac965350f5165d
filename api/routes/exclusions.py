"""Whose labels do not count. An exclusion is an event, and so is its lifting; nothing is deleted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, status

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.lineage import ExclusionBody, ExclusionView, LiftBody, NewExclusion
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.security import Caller, require
from db.queries import exclusions, lineage
from db.queries.exclusions import Subject
from db.tables import LabelExclusion
from db.tables.access import Scope

router = APIRouter(prefix="/v1/exclusions", tags=["lineage"], route_class=KeyedRoute)
Admin = Annotated[Caller, require(Scope.ADMIN)]


@router.get("", response_model=Page[ExclusionView], dependencies=[require()], summary="List exclusions")
def list_exclusions(session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> dict[str, Any]:
    """Every exclusion and every lifting, newest first. The last event of a rater or an import is what holds."""
    return page_of(exclusions.list_exclusions(session, cursor=cursor, limit=rows_to_ask(limit)), limit)


@router.post(
    "", response_model=NewExclusion, status_code=status.HTTP_201_CREATED, summary="Exclude a rater or an import"
)
def exclude(body: ExclusionBody, session: SessionDep, caller: Admin) -> dict[str, Any]:
    """From now on labels of this rater or import do not count: means are recomputed, and exports from now on leave them
    out. Exports as of an earlier time stay as they were. Answers with the models that learned from such labels.
    """
    subject = Subject(body.rater, body.import_id)
    event = exclusions.exclude(session, subject, reason=body.reason, by=caller.by)
    session.refresh(event)
    return {
        **event.model_dump(),
        "tainted": [each for each in lineage.runs_that_used(session, [subject]) if each.status == "registered"],
        "unknown": lineage.versions_without_raters(session),
    }


@router.post("/lift", response_model=ExclusionView, summary="Lift an exclusion")
def lift(body: LiftBody, session: SessionDep, caller: Admin) -> LabelExclusion:
    """From now on labels of this rater or import count again. The exclusion stays in the record."""
    subject = Subject(body.rater, body.import_id)
    event = exclusions.lift(session, subject, reason=body.reason, by=caller.by)
    session.refresh(event)
    return event
