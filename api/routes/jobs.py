"""Jobs: how far they are, why they failed, and what happens now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response, status
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.fields import Id, Text
from api.schemas.jobs import JobEventView, JobView, JobWithEvents, State
from api.schemas.pages import DEFAULT_LIMIT, MAX_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.security import require
from db.engine import session_scope
from db.queries import jobs
from db.tables import Job
from db.tables.access import Scope
from worker.queue import retry_job as try_again

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=KeyedRoute)
POLL_S = 0.5
"""Seconds between two looks at a job that is followed."""
KEEP_ALIVE_POLLS = 30
"""Polls without news after which a comment keeps proxies from closing the stream."""

EVENT_SCHEMA = {
    "description": "Each event of the stream.",
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "description": "Of an entry of the log: where to resume."},
        "event": {"type": "string", "description": "What happened, `progress`, or `end`."},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}


@router.get("", response_model=Page[JobView], dependencies=[require()], summary="List jobs")
def list_jobs(
    session: SessionDep,
    *,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    kind: Annotated[Text | None, Query(description="Only those of this kind, e.g. `train`.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Jobs, newest first."""
    rows = jobs.list_jobs(session, state=state, kind=kind, before_id=cursor, limit=rows_to_ask(limit))
    return page_of(rows, limit)


@router.get("/{job_id}", response_model=JobWithEvents, dependencies=[require()], summary="One job")
def get_job(job_id: Id, session: SessionDep) -> dict[str, Any]:
    """A job with the beginning of its log and the jobs that its success submitted."""
    job = jobs.get_job(session, job_id)
    page = page_of(jobs.job_events(session, job_id, limit=rows_to_ask(MAX_LIMIT)), MAX_LIMIT)
    return {
        "job": job,
        "events": page["items"],
        "next_cursor": page["next_cursor"],
        "follow_ups": jobs.follow_up_jobs(session, job_id),
    }


@router.get("/{job_id}/log", response_model=Page[JobEventView], dependencies=[require()], summary="The log of a job")
def get_log(job_id: Id, session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> dict[str, Any]:
    """What happened to a job so far, oldest first: its changes of state and the lines that it logged."""
    jobs.get_job(session, job_id)
    return page_of(jobs.job_events(session, job_id, after_id=cursor or 0, limit=rows_to_ask(limit)), limit)


@router.post(
    "/{job_id}/cancel",
    response_model=JobView,
    dependencies=[require(Scope.TRAIN)],
    summary="Cancel a job",
    responses={
        200: {"description": "It waited and is cancelled now, or was cancelled before."},
        202: {"model": JobView, "description": "It runs, and was asked to stop; its state says when it has."},
        409: {"description": "It has ended otherwise and can no longer be cancelled."},
    },
)
def cancel_job(job_id: Id, session: SessionDep, response: Response) -> Job:
    """Cancel a waiting job at once; ask a running one to stop. Repeating it changes nothing."""
    job = jobs.cancel_job(session, job_id)
    if not jobs.is_final(job.state):
        response.status_code = status.HTTP_202_ACCEPTED
    return job


@router.post(
    "/{job_id}/retry",
    response_model=JobView,
    status_code=status.HTTP_201_CREATED,
    dependencies=[require(Scope.TRAIN)],
    summary="Try a job again",
    responses={
        200: {"model": JobView, "description": "It is tried again already; this is that job."},
        409: {"description": "It waits, runs or has succeeded, or what it was for was reached by other means."},
    },
)
def retry_job(job_id: Id, session: SessionDep, response: Response) -> Job:
    """Try a job that failed, died or was cancelled again, as a new job. A training goes on from its last checkpoint,
    under the same version. Asking twice makes one job.
    """
    job, is_new = try_again(session, job_id)
    if not is_new:
        response.status_code = status.HTTP_200_OK
    return job


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": EVENT_SCHEMA}}}},
    dependencies=[require()],
    summary="Follow a job",
)
async def follow_job(
    job_id: Id,
    last_event_id: Annotated[int, Field(ge=0, le=2**63 - 1), Header(description="Resume after this event.")] = 0,
) -> StreamingResponse:
    """What happens to a job, as server-sent events: one per entry of its log (with an id, so that a client that was cut
    off goes on where it was), `progress` when it changes, and at the end `end` with the final state.
    """
    await run_in_threadpool(_look, job_id, last_event_id)
    return StreamingResponse(
        _events(job_id, last_event_id), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


def _look(job_id: int, after_id: int) -> tuple[JobView, list[JobEventView]]:
    with session_scope() as session:
        job = JobView.model_validate(jobs.get_job(session, job_id))
        # Read after the state: when that is final, no later event can be missing here.
        return job, [JobEventView.model_validate(each) for each in jobs.job_events(session, job_id, after_id=after_id)]


async def _events(job_id: int, after_id: int) -> AsyncIterator[str]:
    shown: tuple[Any, ...] = ()
    quiet = 0
    while True:
        job, entries = await run_in_threadpool(_look, job_id, after_id)
        for entry in entries:
            after_id = entry.id
            yield f"id: {entry.id}\nevent: {entry.event}\ndata: {entry.model_dump_json()}\n\n"
        progress = (job.state, job.progress, job.message)
        if progress != shown:
            yield f"event: progress\ndata: {job.model_dump_json(include={'id', 'state', 'progress', 'message'})}\n\n"
        if jobs.is_final(job.state) and not entries:
            yield f"event: end\ndata: {job.model_dump_json()}\n\n"
            return
        quiet = 0 if entries or progress != shown else quiet + 1
        if quiet >= KEEP_ALIVE_POLLS:
            quiet = 0
            yield ": still here\n\n"
        shown = progress
        if not entries:
            await asyncio.sleep(POLL_S)
