"""Submitting a job: insert its row and notify. Knows nothing of Celery, so that a job can be submitted without Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from db.errors import Conflict
from db.queries import jobs, models
from db.tables import Dataset, Job, ModelTrainingRun
from ml.judgements import judgement
from ml.judgements.base import JudgementError
from ml.training.recipe import Recipe
from worker.settings import worker_settings

QUEUES = {
    "export_dataset": "default",
    "train": "train",
    "export_onnx": "train",
    "evaluate": "train",
    "register": "train",
}
"""Kind of job -> queue that its workers read."""


def submit(
    session: Session,
    kind: str,
    params: dict[str, Any],
    *,
    idempotency_key: str | None = None,
    parent_id: int | None = None,
    retry_of: int | None = None,
    run_id: int | None = None,
) -> tuple[Job, bool]:
    """Insert a job; it starts after the caller's transaction commits. Returns it and whether it is new.

    Raises:
        LookupError: There is no such kind of job.
    """
    if kind not in QUEUES:
        raise LookupError(f"no job is called {kind!r}; known: {', '.join(sorted(QUEUES))}")
    return jobs.add_job(
        session,
        kind,
        params,
        queue=QUEUES[kind],
        max_attempts=worker_settings().max_attempts,
        idempotency_key=idempotency_key,
        parent_id=parent_id,
        retry_of=retry_of,
        run_id=run_id,
    )


def submit_training(
    session: Session,
    kind: str,
    recipe: Recipe,
    *,
    dataset_id: int | None = None,
    notes: str | None = None,
    idempotency_key: str | None = None,
) -> tuple[ModelTrainingRun, Job]:
    """Record a training run under a new version name and submit its job. A known key gives the run it already made.

    Raises:
        JudgementError: The kind has no such head.
        NotFound: There is no such dataset.
        Conflict: The dataset is of another kind, or was exported for another head or a weaker gate.
    """
    about = judgement(kind)
    if recipe.head not in about.heads:
        raise JudgementError(f"a {kind} model has no head {recipe.head!r}; choose from {', '.join(about.heads)}")
    if dataset_id is not None:
        _check_dataset(models.get_dataset(session, dataset_id), kind, recipe)
    if idempotency_key is not None:
        jobs.lock_idempotency_key(session, "train", idempotency_key)
        known = jobs.find_job(session, "train", idempotency_key)
        if known is not None and known.run_id is not None:
            return models.get_run(session, known.run_id), known
    run = models.add_run(
        session,
        model_version=models.new_model_version(session, about.version_prefix, datetime.now(UTC)),
        kind=kind,
        status="queued",
        dataset_id=dataset_id,
        notes=notes,
        params_json={"recipe": recipe.model_dump(mode="json")},
    )
    job, _ = submit(session, "train", {}, run_id=run.id, idempotency_key=idempotency_key)
    return run, job


def _check_dataset(dataset: Dataset, kind: str, recipe: Recipe) -> None:
    if dataset.kind != kind or dataset.params.get("head") != recipe.head:
        raise Conflict(
            f"dataset {dataset.id} was exported for {dataset.kind} with head {dataset.params.get('head')!r}, "
            f"not for {kind} with head {recipe.head!r}: choose that head, or leave the dataset out for a new export"
        )
    gate = int(dataset.params.get("gates", {}).get("min_rating_count", 1))
    if recipe.min_rating_count > gate:
        raise Conflict(
            f"dataset {dataset.id} was exported with min_rating_count {gate}, and a frozen dataset is not filtered "
            f"again: leave the dataset out for a new export with {recipe.min_rating_count}"
        )
