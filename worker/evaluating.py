"""Evaluation cycles as they are asked for, and what evaluations say over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from db.errors import Conflict
from db.queries import models
from db.queries.evaluations import EvaluationHead
from db.tables import Evaluation, Job
from ml.history import point_of
from ml.judgements import judgement
from worker.queue import submit


def submit_cycle(
    session: Session, kind: str, *, by: str, idempotency_key: str | None = None, priority: int | None = None
) -> tuple[Job, bool]:
    """Submit an evaluation cycle of a kind; a known key gives the job that it made. Returns it and whether it is new.

    Raises:
        UnknownKind: There is no such kind.
        Conflict: No version of it serves, or the key was used for another kind.
    """
    judgement(kind)
    if models.active_version(session, kind) is None:
        raise Conflict(f"no version of {kind} serves yet, so there is nothing to evaluate: promote one first")
    params = {"kind": kind, "by": by}
    job, is_new = submit(session, "evaluate_cycle", params, idempotency_key=idempotency_key, priority=priority)
    if job.params.get("kind") != kind:
        raise Conflict(
            f"the key {ascii(idempotency_key)[:100]} was used before, for another kind, which made job {job.id}: use a "
            "new key for a new cycle"
        )
    return job, is_new


def history(evaluations: Sequence[Evaluation] | Sequence[EvaluationHead]) -> list[dict[str, Any]]:
    """The points of `ml.history` with which evaluation each is of."""
    return [
        {
            "evaluation_id": row.id,
            "model_version": row.model_version,
            "kind": row.kind,
            "cycle_id": row.cycle_id,
            "role": row.role,
            "method": row.method,
            "created_at": row.created_at.isoformat() if row.created_at else None,
            **point_of(row.report),
        }
        for row in evaluations
    ]
