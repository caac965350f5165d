"""Submitting a job: insert its row and notify. Knows nothing of Celery, so that a job can be submitted without Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from db.errors import Conflict
from db.queries import jobs, models
from db.tables import Dataset, Job, ModelTrainingRun, ModelVersion
from db.tables.jobs import RETRIABLE_STATES
from ml.judgements import judgement
from ml.judgements.base import JudgementError
from ml.training.recipe import Recipe
from worker.settings import worker_settings

QUEUES = {
    "export_dataset": "default",
    "train": "train",
    "export_onnx": "train",
    "evaluate": "train",
    "evaluate_cycle": "train",
    "register": "train",
    "reproduce": "train",
    "retain": "default",
    "scan": "default",
    "find_disagreements": "train",
    "retrain": "default",
    "gate": "default",
    "shadow": "default",
}
"""Kind of job -> queue that its workers read."""

COMMAND_PRIORITY = 10
"""For the jobs of a command that somebody waits for: they go before those that lie in the queue."""
CLOCK_PRIORITY = 200
"""For what the clock submits: it can wait."""


def submit(
    session: Session,
    kind: str,
    params: dict[str, Any],
    *,
    idempotency_key: str | None = None,
    parent_id: int | None = None,
    retry_of: int | None = None,
    run_id: int | None = None,
    priority: int | None = None,
) -> tuple[Job, bool]:
    """Insert a job; it starts after the caller's transaction commits. Returns it and whether it is new.

    Lower priorities go first (`COMMAND_PRIORITY` for what a person waits for); None takes the parent's.

    Raises:
        LookupError: There is no such kind of job.
    """
    if kind not in QUEUES:
        raise LookupError(f"no job is called {kind!r}; known: {', '.join(sorted(QUEUES))}")
    if priority is None:
        priority = jobs.USUAL_PRIORITY if parent_id is None else jobs.get_job(session, parent_id).priority
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
        priority=priority,
    )


def retry_job(session: Session, job_id: int) -> tuple[Job, bool]:
    """Try a failed, dead or cancelled job again, as one new job with full attempts.

    Its training run waits again under the same version, so that a training goes on from its last checkpoint. Asking
    again gives the job that exists.

    Returns:
        The new job and whether this call made it.

    Raises:
        NotFound: There is no such job.
        Conflict: It is in another state, or what it was for has succeeded by other means.
    """
    job = jobs.lock_job(session, job_id)
    if job.state not in RETRIABLE_STATES:
        raise Conflict(f"job {job_id} is {job.state}; only one that failed, died or was cancelled can be tried again")
    known = jobs.find_retry(session, job_id)
    if known is not None:
        return known, False
    if job.run_id is not None:
        _reopen_run(session, job)
    again, _ = submit(
        session,
        job.kind,
        job.params,
        parent_id=job.parent_id,
        retry_of=job_id,
        run_id=job.run_id,
        priority=job.priority,
    )
    jobs.add_job_event(session, job_id, job.attempt, "retried", f"tried again as job {again.id}")
    return again, True


def _reopen_run(session: Session, job: Job) -> None:
    assert job.run_id is not None
    run = models.get_run(session, job.run_id)
    if run.status == "registered" or (job.kind == "train" and run.artifact_sha256 is not None):
        done = "registered" if run.status == "registered" else "trained"
        raise Conflict(f"job {job.id} is not tried again: {run.model_version} was {done} meanwhile")
    run.status, run.reason = "queued", None
    session.add(run)
    session.flush()


def submit_training(
    session: Session,
    kind: str,
    recipe: Recipe,
    *,
    dataset_id: int | None = None,
    notes: str | None = None,
    idempotency_key: str | None = None,
    parent_id: int | None = None,
    priority: int | None = None,
) -> tuple[ModelTrainingRun, Job]:
    """Record a training run under a new version name and submit its job. A known key gives the run it already made.

    Raises:
        JudgementError: The kind has no such head.
        NotFound: There is no such dataset.
        Conflict: The dataset is of another kind, or was exported for another head or a weaker gate.
    """
    check_head(kind, recipe)
    if dataset_id is not None:
        _check_dataset(models.get_dataset(session, dataset_id), kind, recipe)
    if idempotency_key is not None:
        jobs.lock_idempotency_key(session, "train", idempotency_key)
        known = jobs.find_job(session, "train", idempotency_key)
        if known is not None and known.run_id is not None:
            return models.get_run(session, known.run_id), known
    run = models.add_run(
        session,
        model_version=models.new_model_version(session, judgement(kind).version_prefix, datetime.now(UTC)),
        kind=kind,
        status="queued",
        dataset_id=dataset_id,
        notes=notes,
        params_json={"recipe": recipe.model_dump(mode="json")},
    )
    job, _ = submit(
        session,
        "train",
        {"dataset_id": dataset_id},
        run_id=run.id,
        idempotency_key=idempotency_key,
        parent_id=parent_id,
        priority=priority,
    )
    return run, job


def check_head(kind: str, recipe: Recipe) -> None:
    """Refuse a recipe for a head that the kind has not.

    Raises:
        JudgementError: It has not.
    """
    heads = judgement(kind).heads
    if recipe.head not in heads:
        raise JudgementError(f"a {kind} model has no head {recipe.head!r}; choose from {', '.join(heads)}")


def version_to_ask(session: Session, kind: str, model_version: str | None) -> ModelVersion:
    """The version that is named, or else the active one of the kind.

    Raises:
        NotFound: There is no such version.
        Conflict: It is of another kind, or none is active.
    """
    version = (
        models.active_version(session, kind) if model_version is None else models.get_version(session, model_version)
    )
    if version is None:
        raise Conflict(f"no {kind} model is active: train one with `afterglow train {kind}`, then `afterglow promote`")
    if version.kind != kind:
        raise Conflict(f"{version.model_version} judges {version.kind}, not {kind}: name a version of {kind}")
    return version


def check_reproducible(session: Session, model_version: str) -> None:
    """Refuse to reproduce what was not trained here from a dataset.

    Raises:
        NotFound: There is no such version.
        Conflict: It was trained elsewhere, so neither its rows nor its recipe are here.
    """
    run = models.get_run(session, models.get_version(session, model_version).training_run_id)
    if run.dataset_id is None or run.manifest_sha256 is None or run.artifact_path is None:
        raise Conflict(
            f"{model_version} was trained elsewhere and registered here: its rows and its recipe are not known, so it "
            "can only be reproduced where it was trained"
        )


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
