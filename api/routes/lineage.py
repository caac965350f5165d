"""Where models come from: the rows of a run, and the runs of a snapshot, an image, a rater and an import."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.deps import SessionDep
from api.errors import InvalidInput
from api.keyed_route import KeyedRoute
from api.schemas.fields import Id, Split, Text
from api.schemas.lineage import (
    ImageSha256,
    ImportView,
    RunDiffView,
    RunLineageView,
    RunOfRowView,
    RunRowView,
    RunUseView,
)
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.security import require
from db.errors import Conflict
from db.queries import exclusions, lineage, models, webcams
from db.queries.exclusions import Subject
from worker.places import file_store
from worker.stages.diff_runs import diff_two_runs

router = APIRouter(prefix="/v1", tags=["lineage"], route_class=KeyedRoute, dependencies=[require()])


@router.get("/training-runs/{run_id}/lineage", response_model=RunLineageView, summary="What a run was made of")
def get_run_lineage(run_id: Id, session: SessionDep) -> dict[str, Any]:
    """The run's dataset and the time its labels stood at, rows by split and source, its raters and imports."""
    return lineage.run_summary(session, run_id)


@router.get("/training-runs/{run_id}/rows", response_model=Page[RunRowView], summary="Rows of a training run")
def list_run_rows(
    run_id: Id,
    session: SessionDep,
    *,
    split: Annotated[Split | None, Query(description="Only the rows of this split.")] = None,
    rater: Annotated[Text | None, Query(description="Only rows that this rater has a part in.")] = None,
    label_source: Annotated[Text | None, Query(description="Only rows with a label of this source.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Exactly the rows that the run was trained, validated and tested on, with every raw rating behind their labels as
    it stood then, in order of snapshot.
    """
    models.get_run(session, run_id)
    rows = lineage.run_rows(
        session, run_id, split=split, rater=rater, label_source=label_source, cursor=cursor, limit=rows_to_ask(limit)
    )
    return page_of(rows, limit, "snapshot_id")


@router.get(
    "/training-runs/{run_id}/diff/{other_run_id}", response_model=RunDiffView, summary="What changed between two runs"
)
def diff_training_runs(
    run_id: Id, other_run_id: Id, session: SessionDep, *, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """From one run to another: rows added, removed and changed; scores that moved, on rows that neither model learned
    from; verdicts that flipped at each model's threshold. Counts are of all, lists have `limit` entries at most.
    """
    base, other = models.get_run(session, run_id), models.get_run(session, other_run_id)
    try:
        return diff_two_runs(session, file_store(), base, other, limit)
    except Conflict as error:  # nothing stored stands against it: these two cannot be compared
        raise InvalidInput("path.other_run_id", str(error)) from error


@router.get(
    "/snapshots/{snapshot_id}/lineage", response_model=Page[RunOfRowView], summary="Training runs of a snapshot"
)
def list_runs_of_snapshot(
    snapshot_id: Id, session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """The runs that used a snapshot, with the label and split that it had there, newest first."""
    webcams.get_snapshot(session, snapshot_id)
    rows = lineage.runs_of_row(session, snapshot_id=snapshot_id, cursor=cursor, limit=rows_to_ask(limit))
    return page_of(rows, limit)


@router.get("/images/{image_sha256}/lineage", response_model=Page[RunOfRowView], summary="Training runs of an image")
def list_runs_of_image(
    image_sha256: ImageSha256, session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """The runs that used an image, in whichever snapshots, newest first; none where no run did."""
    rows = lineage.runs_of_row(session, image_sha256=image_sha256, cursor=cursor, limit=rows_to_ask(limit))
    return page_of(rows, limit)


@router.get("/raters/{rater}/lineage", response_model=Page[RunUseView], summary="Training runs of a rater")
def list_runs_of_rater(
    rater: Text, session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """The runs that used a rating of this rater, with how many rows and what share of them, newest first. A run that
    was registered from elsewhere records no raters and is not among them.
    """
    return _uses(session, Subject(rater=rater), cursor, limit)


@router.get("/imports", response_model=Page[ImportView], summary="List imports")
def list_imports(session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> dict[str, Any]:
    """Files of labels that were imported, with what each brought in, newest first."""
    return page_of(exclusions.list_imports(session, cursor=cursor, limit=rows_to_ask(limit)), limit)


@router.get("/imports/{import_id}/lineage", response_model=Page[RunUseView], summary="Training runs of an import")
def list_runs_of_import(
    import_id: Id, session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """The runs that used a label of this import, with how many rows and what share of them, newest first."""
    exclusions.get_import(session, import_id)
    return _uses(session, Subject(import_id=import_id), cursor, limit)


def _uses(session: SessionDep, subject: Subject, cursor: int | None, limit: int) -> dict[str, Any]:
    rows = lineage.runs_that_used(session, [subject], cursor=cursor, limit=rows_to_ask(limit))
    return page_of(rows, limit, "run_id")
