"""Projects of photos, and taking photos into one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, status

from api.deps import SessionDep
from api.idempotency import IdempotencyKey, submit_once
from api.keyed_route import KeyedRoute
from api.schemas.jobs import JobView
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.schemas.projects import PhotoView, ProjectName, ProjectView, ScanBody
from api.security import require
from db.queries import photos
from db.tables import Job
from db.tables.access import Scope

router = APIRouter(prefix="/v1/projects", tags=["photos"], route_class=KeyedRoute)
Project = Annotated[ProjectName, Path(description="Name of the project.")]


@router.get("", response_model=Page[ProjectView], dependencies=[require()], summary="List projects")
def list_projects(session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> dict[str, Any]:
    """Projects with their number of photos, oldest first."""
    rows = photos.list_projects(session, cursor=cursor, limit=rows_to_ask(limit))
    return page_of([ProjectView(**row.model_dump(), photos=count) for row, count in rows], limit)


@router.get("/{project}/photos", response_model=Page[PhotoView], dependencies=[require()], summary="List photos")
def list_photos(
    project: Project, session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """The photos of a project, oldest first. One content is one photo, under however many paths it was seen."""
    project_id = photos.get_project(session, project).id
    assert project_id is not None
    return page_of(photos.list_photos(session, project_id, cursor=cursor, limit=rows_to_ask(limit)), limit)


@router.post(
    "/{project}/scan",
    response_model=JobView,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require(Scope.INGEST)],
    summary="Scan a directory into a project",
)
def start_scan(project: Project, body: ScanBody, session: SessionDep, idempotency_key: IdempotencyKey = None) -> Job:
    """Take the photos under a directory into the project, which is made if there is none of that name. Files are only
    read; a photo that is known under another path stays one photo. Answers with the job; its `result` counts what was
    added, and names files that cannot be read with the reason. A scan that was stopped goes on where it was when it is
    asked for again.
    """
    return submit_once(session, "scan", {"project": project, "directory": body.directory}, idempotency_key)
