"""Webcams."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response, status

from api.deps import SessionDep
from api.schemas.fields import After, Id, Limit, Page, Text, page_of
from api.schemas.webcams import WebcamBody, WebcamView
from api.security import require
from db.queries import webcams
from db.tables import Webcam

router = APIRouter(prefix="/v1/webcams", tags=["webcams"])


@router.post(
    "",
    response_model=WebcamView,
    status_code=status.HTTP_201_CREATED,
    responses={200: {"model": WebcamView, "description": "It is known already and was left as it is."}},
    dependencies=[require("ingest")],
    summary="Add a webcam",
)
def add_webcam(body: WebcamBody, session: SessionDep, response: Response) -> Webcam:
    """Add a webcam; one of the same source and id is left as it is."""
    facts = body.model_dump(exclude={"source", "external_id"})
    webcam, is_new = webcams.find_or_add_webcam(session, body.source, body.external_id, **facts)
    if not is_new:
        response.status_code = status.HTTP_200_OK
    return webcam


@router.get("", response_model=Page[WebcamView], dependencies=[require()], summary="List webcams")
def list_webcams(
    session: SessionDep,
    source: Annotated[Text | None, Query(description="Only those of this source.")] = None,
    after_id: After = 0,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Webcams in order of id."""
    return page_of(list(webcams.list_webcams(session, source=source, after_id=after_id, limit=limit)), limit)


@router.get("/{webcam_id}", response_model=WebcamView, dependencies=[require()], summary="One webcam")
def get_webcam(webcam_id: Id, session: SessionDep) -> Webcam:
    """A webcam with its latest score."""
    return webcams.get_webcam(session, webcam_id)
