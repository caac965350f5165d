"""Requests that may be sent twice: the same `Idempotency-Key` and body give what the first one made."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from sqlmodel import Session

from api.schemas.fields import Text
from db.errors import Conflict
from db.tables import Job
from worker.queue import submit

IdempotencyKey = Annotated[
    Text | None,
    Header(
        description="Any text of the caller's own. A second request with the same key and body gives what the first one "
        "made; with another body it is refused with 409."
    ),
]


def submit_once(session: Session, kind: str, params: dict[str, Any], key: str | None) -> Job:
    """Submit a job, or give the one that the same request submitted before.

    Raises:
        Conflict: The key was used for other parameters.
    """
    job, is_new = submit(session, kind, params, idempotency_key=key)
    if not is_new and job.params != params:
        raise other_body(f"job {job.id}", key)
    return job


def other_body(made: str, key: str | None) -> Conflict:
    """The refusal of a key that was used before for something else."""
    return Conflict(
        f"the Idempotency-Key {ascii(key)[:100]} was used before, for a request with another body, which made {made}: "
        "use a new key for a new request"
    )
