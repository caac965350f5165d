"""The pages of webcams: a grid of their newest frames, and the history of one."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.fields import Id, Phase, Text
from api.schemas.pages import Cursor, page_of, rows_to_ask
from api.security import require
from api.web.filters import EMPTY_IS_ABSENT
from api.web.rendering import render
from api.web.webcam_figures import scores_over_time
from db.queries import webcam_grid, webcams
from ml.judgements.rating_labels import GOOD_FROM

router = APIRouter(include_in_schema=False, route_class=KeyedRoute)
ON_A_PAGE = 24
STRIP = 48
"""Frames of a webcam's history."""


@router.get("/webcams", dependencies=[require()])
def list_webcams(
    request: Request,
    session: SessionDep,
    *,
    region: Annotated[Text | None, EMPTY_IS_ABSENT, Query()] = None,
    phase: Annotated[Phase | None, EMPTY_IS_ABSENT, Query()] = None,
    verdict: Annotated[Literal["good", "not-good", "none"] | None, EMPTY_IS_ABSENT, Query()] = None,
    unscored: bool = False,
    cursor: Cursor = None,
) -> Response:
    """Webcams, each with its newest frame, what a model and what people say of it."""
    chosen = {"region": region, "phase": phase, "verdict": verdict, "unscored": unscored}
    rows = webcam_grid.list_sights(
        session, region=region, phase=phase, verdict=verdict, unscored=unscored, good_from=GOOD_FROM, cursor=cursor,
        limit=rows_to_ask(ON_A_PAGE),
    )  # fmt: skip
    page = page_of(rows, ON_A_PAGE)
    query = {name: "true" if value is True else value for name, value in chosen.items() if value}
    return render(
        request, "webcams.html.j2", webcams=page["items"], regions=webcam_grid.regions(session), chosen=chosen,
        more=query | {"cursor": page["next_cursor"]} if page["next_cursor"] else None,
    )  # fmt: skip


@router.get("/webcams/{webcam_id}", dependencies=[require()])
def one_webcam(webcam_id: Id, request: Request, session: SessionDep, *, cursor: Cursor = None) -> Response:
    """A webcam: its newest frames as a strip, and what was said of them over time."""
    webcam = webcams.get_webcam(session, webcam_id)
    rows = webcams.list_snapshots(
        session, webcam_id=webcam_id, newest_first=True, cursor=cursor, limit=rows_to_ask(STRIP)
    )
    page = page_of(rows, STRIP)
    return render(
        request, "webcam.html.j2", webcam=webcam, snapshots=page["items"], next_cursor=page["next_cursor"],
        plot=scores_over_time(page["items"], GOOD_FROM),
    )  # fmt: skip
