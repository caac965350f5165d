"""Snapshots and what people say of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response, status

from api.conditional import FOR_EVER, IfNoneMatch, not_modified
from api.deps import ScorePoolDep, SessionDep
from api.errors import MEDIA_TYPE, PROBLEM_SCHEMA, ImageRemoved, InvalidInput
from api.idempotency import IdempotencyKey
from api.ingest import CheckedFrame, keep_frame
from api.keyed_route import KeyedRoute
from api.picture_input import read_picture
from api.routes.score import BINARY, form_schema, frame_parameters
from api.schemas.fields import Id, Moment, Phase, Text
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, Sort, page_of, rows_to_ask
from api.schemas.webcams import RatingBody, RatingView, SnapshotFields, SnapshotView
from api.security import Caller, check_rater, require
from db.errors import NotFound
from db.queries import exclusions, images, labels, webcams
from db.tables import WebcamSnapshot
from db.tables.access import Scope
from ml.images.decode import MEDIA_TYPES, inspect
from worker.places import file_store

router = APIRouter(prefix="/v1/snapshots", tags=["snapshots"], route_class=KeyedRoute)


async def read_frame(request: Request, pool: ScorePoolDep) -> CheckedFrame:
    """The picture of the request, decoded once in a scoring thread, and where and when it was taken."""
    picture = await read_picture(request)
    if picture.data is None:
        raise InvalidInput("body.url", "a snapshot is sent as bytes; to keep pictures by address, import them")
    fields = SnapshotFields.model_validate(picture.frame.model_dump())
    return CheckedFrame(picture.data, await pool.run(inspect, picture.data), fields)


@router.post(
    "",
    response_model=SnapshotView,
    status_code=status.HTTP_201_CREATED,
    responses={200: {"model": SnapshotView, "description": "This frame is known already."}},
    dependencies=[require(Scope.INGEST)],
    summary="Keep a frame",
    openapi_extra={
        "parameters": frame_parameters(),
        "requestBody": {
            "required": True,
            "content": {"image/*": BINARY, "multipart/form-data": {"schema": form_schema("image")}},
        },
    },
)
def add_snapshot(
    frame: Annotated[CheckedFrame, Depends(read_frame)], session: SessionDep, response: Response
) -> WebcamSnapshot:
    """Keep the frame of a webcam. The same picture of the same webcam and time is one snapshot: sending it again
    changes nothing.
    """
    snapshot, is_new = keep_frame(session, file_store(), frame)
    if not is_new:
        response.status_code = status.HTTP_200_OK
    return snapshot


@router.get("", response_model=Page[SnapshotView], dependencies=[require()], summary="List snapshots")
def list_snapshots(
    session: SessionDep,
    *,
    webcam_id: Annotated[Id | None, Query(description="Only those of this webcam.")] = None,
    phase: Annotated[Phase | None, Query(description="Only those of this side of the night.")] = None,
    rated: Annotated[bool | None, Query(description="Only those with, or without, a rating.")] = None,
    captured_from: Annotated[Moment | None, Query(description="Only those taken at this time or later.")] = None,
    captured_before: Annotated[Moment | None, Query(description="Only those taken before this time.")] = None,
    sort: Sort = "oldest",
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Snapshots in the order in which they were added, each with its mean rating and latest score."""
    rows = webcams.list_snapshots(
        session, webcam_id=webcam_id, phase=phase, rated=rated, captured_from=captured_from,
        captured_before=captured_before, newest_first=sort == "newest", cursor=cursor, limit=rows_to_ask(limit),
    )  # fmt: skip
    return page_of(rows, limit)


@router.get("/{snapshot_id}", response_model=SnapshotView, dependencies=[require()], summary="One snapshot")
def get_snapshot(snapshot_id: Id, session: SessionDep) -> WebcamSnapshot:
    """A snapshot with its mean rating and latest score."""
    return webcams.get_snapshot(session, snapshot_id)


@router.get(
    "/{snapshot_id}/image",
    response_class=Response,
    responses={
        200: {"content": dict.fromkeys(MEDIA_TYPES.values(), BINARY), "description": "The picture."},
        304: {"description": "The caller has this picture: `If-None-Match` names it."},
        410: {"description": "Retention has removed it.", "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}},
    },
    dependencies=[require()],
    summary="The picture of a snapshot",
)
def get_image(snapshot_id: Id, session: SessionDep, if_none_match: IfNoneMatch = None) -> Response:
    """The picture, byte for byte as it was kept. It never changes, and may be gone one day."""
    snapshot = webcams.get_snapshot(session, snapshot_id)
    if snapshot.image_state == "removed":
        raise ImageRemoved(f"the picture of snapshot {snapshot_id} was removed by retention; what was said of it stays")
    if snapshot.image_sha256 is None:
        raise NotFound(f"the picture of snapshot {snapshot_id} is not kept here ({snapshot.image_state})")
    headers = {"ETag": f'"{snapshot.image_sha256}"', "Cache-Control": FOR_EVER, "Content-Disposition": "attachment"}
    known = not_modified(headers, if_none_match)
    if known is not None:
        return known
    content = images.get_image(session, snapshot.image_sha256)
    # Sent to be shown within a page; opened by itself it is saved, since a picture's bytes may hold more than a picture.
    return Response(file_store().image(content.sha256), media_type=content.media_type, headers=headers)


@router.post(
    "/{snapshot_id}/ratings",
    response_model=SnapshotView,
    summary="Rate a snapshot",
)
def rate_snapshot(
    snapshot_id: Id,
    body: RatingBody,
    session: SessionDep,
    caller: Annotated[Caller, require(Scope.RATE)],
    idempotency_key: IdempotencyKey = None,
) -> WebcamSnapshot:
    """Say what a person thinks of a snapshot; answers with the snapshot and its new mean. A rater has one verdict on a
    snapshot, so that sending the same again leaves the mean as it is; with an `Idempotency-Key` it is recorded once.
    """
    check_rater(caller, body.rater)
    labels.rate_snapshot(session, snapshot_id=snapshot_id, **body.model_dump(), idempotency_key=idempotency_key)
    return webcams.get_snapshot(session, snapshot_id)


@router.get(
    "/{snapshot_id}/ratings", response_model=Page[RatingView], dependencies=[require()], summary="Ratings of a snapshot"
)
def list_ratings(
    snapshot_id: Id, session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """The current verdict of every rater, the first rater first. Those of an excluded rater or import are marked: they
    do not count.
    """
    webcams.get_snapshot(session, snapshot_id)
    page = page_of(labels.list_ratings(session, snapshot_id, cursor=cursor, limit=rows_to_ask(limit)), limit)
    excluded = exclusions.excluded_now(session)
    page["items"] = [
        {**row.model_dump(), "excluded": exclusions.is_excluded(excluded, row.user_session_id, row.import_id)}
        for row in page["items"]
    ]
    return page


@router.delete(
    "/{snapshot_id}/ratings/{rater}",
    response_model=SnapshotView,
    summary="Take a rating back",
)
def retract_rating(
    snapshot_id: Id,
    rater: Text,
    session: SessionDep,
    caller: Annotated[Caller, require(Scope.RATE)],
    *,
    restore: Annotated[bool, Query(description="Whether the verdict that this one replaced counts once more.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> WebcamSnapshot:
    """Undo a rater's verdict. Both, verdict and undoing, stay in the record."""
    check_rater(caller, rater)
    if not labels.retract_rating(
        session, snapshot_id=snapshot_id, rater=rater, restore=restore, idempotency_key=idempotency_key
    ):
        raise NotFound(f"{rater} has no rating of snapshot {snapshot_id} that could be taken back")
    return webcams.get_snapshot(session, snapshot_id)
