"""The label queue: frames for a rater, kept so that nobody else is given them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.fields import Text
from api.schemas.label_queue import QueueBody, QueueCountsView, QueueView
from api.security import Caller, check_rater, require
from db.queries.label_queue import QueueCounts, Seat, count_queue, lease_frames
from db.tables.access import Scope
from ml.judgements.rating_labels import GOOD_FROM
from ml.readings import STARS_TO_BAND_END

KIND = "rating"
"""Whose review sets the frames come from: the verdicts are ratings."""
BAND = (GOOD_FROM - STARS_TO_BAND_END, GOOD_FROM + STARS_TO_BAND_END)
"""AI ratings near what people call good."""
router = APIRouter(prefix="/v1/label-queue", tags=["snapshots"], route_class=KeyedRoute)


@router.post("", response_model=QueueView, summary="Take frames to label")
def take_frames(body: QueueBody, session: SessionDep, caller: Annotated[Caller, require(Scope.RATE)]) -> dict[str, Any]:
    """Keep frames for a rater for five minutes: those that this seat has not judged yet first, in the same order
    as before, then new ones. Nobody else is given them meanwhile. Asking again renews that.
    """
    check_rater(caller, body.rater)
    seat = Seat(body.rater, body.seat, body.skipped)
    frames = lease_frames(session, seat, kind=KIND, count=body.count, band=BAND)
    return {"frames": frames, **asdict(count_queue(session, body.rater))}


@router.get("", response_model=QueueCountsView, summary="How far the labelling is")
def count_frames(
    session: SessionDep,
    caller: Annotated[Caller, require()],
    rater: Annotated[Text | None, Query(description="Whose verdicts are counted; without it the caller's own.")] = None,
) -> QueueCounts:
    """How many snapshots a rater has judged, and how many nobody has."""
    return count_queue(session, rater or caller.name)
