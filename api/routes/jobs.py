"""Jobs: how far they are, why they failed, and what happens now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.deps import SessionDep
from api.schemas.fields import After, Id, Limit, Page, Text, page_of
from api.schemas.jobs import JobEventView, JobView, JobWithEvents, State
from api.security import require
from db.engine import session_scope
from db.queries import jobs
from db.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
POLL_S = 0.5
"""Seconds between two looks at a job that is followed."""
KEEP_ALIVE_POLLS = 30
"""Polls without news after which a comment keeps proxies from closing the stream."""


@router.get("", response_model=Page[JobView], dependencies=[require()], summary="List jobs")
def list_jobs(
    session: SessionDep,
    state: State | None = None,
    kind: Text | None = None,
    before_id: Id | None = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Jobs, newest first."""
    rows = jobs.list_jobs(session, state=state, kind=kind, before_id=before_id, limit=limit)
    return page_of(list(rows), limit)


@router.get("/{job_id}", response_model=JobWithEvents, dependencies=[require()], summary="One job")
def get_job(job_id: Id, session: SessionDep) -> dict[str, Any]:
    """A job with its log and the jobs that its success submitted."""
    return {
        "job": jobs.get_job(session, job_id),
        "events": jobs.job_events(session, job_id),
        "follow_ups": jobs.follow_up_jobs(session, job_id),
    }


@router.post("/{job_id}/cancel", response_model=JobView, dependencies=[require("train")], summary="Cancel a job")
def cancel_job(job_id: Id, session: SessionDep) -> Job:
    """Cancel a waiting job at once; ask a running one to stop."""
    return jobs.cancel_job(session, job_id)


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    dependencies=[require()],
    summary="Follow a job",
)
async def follow_job(
    job_id: Id,
    last_event_id: Annotated[After, Header(description="Resume after this event.")] = 0,
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
