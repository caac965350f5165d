"""The pages of jobs: the list, and one job with its log. Retrying and cancelling go through the routes under /v1."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlmodel import Session

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.fields import Id, Text
from api.schemas.jobs import State
from api.schemas.pages import Cursor, page_of, rows_to_ask
from api.security import require
from api.web.attention import who_works
from api.web.rendering import render
from db.queries import jobs, models
from db.tables import Job
from db.tables.jobs import RETRIABLE_STATES, STATES

router = APIRouter(include_in_schema=False, route_class=KeyedRoute)
ON_A_PAGE = 25
LAST_LINES = 500
"""Entries of a log that its page shows."""


@router.get("/jobs", dependencies=[require()])
def list_jobs(
    request: Request,
    session: SessionDep,
    *,
    state: State | None = None,
    kind: Annotated[Text | None, Query()] = None,
    cursor: Cursor = None,
) -> Response:
    """Jobs, newest first, and whether anybody works."""
    rows = jobs.list_jobs(session, state=state, kind=kind, before_id=cursor, limit=rows_to_ask(ON_A_PAGE))
    page = page_of(rows, ON_A_PAGE)
    counts = jobs.count_jobs(session)
    return render(
        request, "jobs.html.j2", jobs=page["items"], next_cursor=page["next_cursor"], state=state, kind=kind,
        cursor=cursor, counts=[(each, counts.get(each, 0)) for each in STATES], total=sum(counts.values()),
        versions=_versions(session, page["items"]), retriable=RETRIABLE_STATES, is_final=jobs.is_final,
        **who_works(session),
    )  # fmt: skip


@router.get("/jobs/{job_id}", dependencies=[require()])
def one_job(job_id: Id, request: Request, session: SessionDep) -> Response:
    """A job: how far it is, why it failed, what it led to, and its log."""
    job = jobs.get_job(session, job_id)
    # Read after the state: when that is final, no later event can be missing here.
    log = jobs.job_events(session, job_id, limit=LAST_LINES)
    return render(
        request, "job.html.j2", job=job, log=log, is_whole=len(log) < LAST_LINES, again=jobs.find_retry(session, job_id),
        follow_ups=jobs.follow_up_jobs(session, job_id), versions=_versions(session, [job]),
        retriable=RETRIABLE_STATES, is_final=jobs.is_final(job.state), **who_works(session),
    )  # fmt: skip


def _versions(session: Session, listed: list[Job]) -> dict[int | None, str]:
    """Job -> the version that it is about."""
    of_runs = models.versions_of_runs(session, {job.run_id for job in listed if job.run_id is not None})
    named = {job.id: _named(job) or of_runs.get(job.run_id or 0) for job in listed}
    return {job_id: name for job_id, name in named.items() if name}


def _named(job: Job) -> str | None:
    found = job.params.get("model_version") or (job.result or {}).get("model_version")
    return found if isinstance(found, str) else None
