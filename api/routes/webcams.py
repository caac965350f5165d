"""Webcams."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response, status

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.fields import Id, Text
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, Sort, page_of, rows_to_ask
from api.schemas.webcams import WebcamBody, WebcamView
from api.security import require
from db.queries import webcams
from db.tables import Webcam
from db.tables.access import Scope

router = APIRouter(prefix="/v1/webcams", tags=["webcams"], route_class=KeyedRoute)


@router.post(
    "",
    response_model=WebcamView,
    status_code=status.HTTP_201_CREATED,
    responses={200: {"model": WebcamView, "description": "It is known already and was left as it is."}},
    dependencies=[require(Scope.INGEST)],
    summary="Add a webcam",
)
def add_webcam(body: WebcamBody, session: SessionDep, response: Response) -> Webcam:
    """Add a webcam; one of the same source and id is left as it is, so that sending it again changes nothing."""
    facts = body.model_dump(exclude={"source", "external_id"})
    webcam, is_new = webcams.find_or_add_webcam(session, body.source, body.external_id, **facts)
    if not is_new:
        response.status_code = status.HTTP_200_OK
    return webcam


@router.get("", response_model=Page[WebcamView], dependencies=[require()], summary="List webcams")
def list_webcams(
    session: SessionDep,
    *,
    source: Annotated[Text | None, Query(description="Only those of this source.")] = None,
    external_id: Annotated[Text | None, Query(description="Only those with this id at their source.")] = None,
    country: Annotated[Text | None, Query(description="Only those in this country.")] = None,
    sort: Sort = "oldest",
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Webcams in the order in which they were added, each with its latest score."""
    rows = webcams.list_webcams(
        session, source=source, external_id=external_id, country=country, newest_first=sort == "newest",
        cursor=cursor, limit=rows_to_ask(limit),
    )  # fmt: skip
    return page_of(rows, limit)


@router.get("/{webcam_id}", response_model=WebcamView, dependencies=[require()], summary="One webcam")
def get_webcam(webcam_id: Id, session: SessionDep) -> Webcam:
    """A webcam with its latest score."""
    return webcams.get_webcam(session, webcam_id)
