"""Queries on datasets, training runs, model versions and the active one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from db.errors import NotFound
from db.queries.paging import page_rows
from db.tables import (
    Dataset,
    DatasetRow,
    ModelActivation,
    ModelTrainingRun,
    ModelTrainingSnapshotLabel,
    ModelTrainingSnapshotRating,
    ModelVersion,
    SplitAssignment,
    WebcamSnapshot,
)

BATCH = 1000
"""Rows of one INSERT; keeps the number of bound parameters below Postgres' limit of 65,535."""
MODELS_CHANNEL = "afterglow_models"
"""Notification sent when the active model of a kind changes; its payload is the kind."""

RUN_STATUS = {"failed": "failed", "dead": "failed", "cancelled": "cancelled"}
"""State in which a job ended badly -> status of its training run."""


def _insert_many(session: Session, table: type, rows: Iterable[Mapping[str, Any]], ignore: list[str] | None) -> None:
    listed = list(rows)
    for start in range(0, len(listed), BATCH):
        statement = insert(table).values([dict(row) for row in listed[start : start + BATCH]])
        if ignore is not None:
            statement = statement.on_conflict_do_nothing(index_elements=ignore)
        session.execute(statement)


# -- datasets --------------------------------------------------------------------------------------------------------


def add_dataset(session: Session, rows: Iterable[Mapping[str, Any]], **facts: Any) -> Dataset:
    """Record an export and all its rows."""
    dataset = Dataset(**facts)
    session.add(dataset)
    session.flush()
    _insert_many(session, DatasetRow, ({**row, "dataset_id": dataset.id} for row in rows), None)
    return dataset


def get_dataset(session: Session, dataset_id: int) -> Dataset:
    """The dataset of this id, or NotFound."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise NotFound(what="dataset", key=dataset_id)
    return dataset


def list_datasets(
    session: Session, *, kind: str | None = None, cursor: int | None = None, limit: int = 50
) -> Sequence[Dataset]:
    """Datasets, newest first, from beyond the row `cursor`."""
    query = select(Dataset)
    if kind is not None:
        query = query.where(col(Dataset.kind) == kind)
    return page_rows(session, query, col(Dataset.id), cursor=cursor, limit=limit, newest_first=True)


def dataset_candidates(session: Session, dataset_id: int) -> Sequence[tuple[DatasetRow, WebcamSnapshot]]:
    """All rows of a dataset with their snapshots, in order of snapshot."""
    return session.exec(
        select(DatasetRow, WebcamSnapshot)
        .join(WebcamSnapshot, col(WebcamSnapshot.id) == col(DatasetRow.snapshot_id))
        .where(col(DatasetRow.dataset_id) == dataset_id)
        .order_by(col(DatasetRow.snapshot_id))
    ).all()


def split_assignments(session: Session, kind: str) -> Sequence[SplitAssignment]:
    """All recorded assignments of a kind."""
    return session.exec(select(SplitAssignment).where(col(SplitAssignment.kind) == kind)).all()


def add_split_assignments(session: Session, rows: Iterable[Mapping[str, Any]]) -> None:
    """Record first assignments; a group that has one keeps it."""
    _insert_many(session, SplitAssignment, rows, ["kind", "group_id"])


def lock_splits(session: Session, kind: str) -> None:
    """Let one export of a kind at a time read and record assignments, until the end of the transaction."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('splits:' || :kind))"), {"kind": kind})


# -- runs ------------------------------------------------------------------------------------------------------------


def new_model_version(session: Session, prefix: str, day: datetime) -> str:
    """A version name that nobody has: `prefix_YYYY_MM_DD`, a second one on a day `_2`, and so on.

    Held by an advisory lock until the end of the transaction, in which the caller must use it.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('model_version'))"))
    stem = f"{prefix}_{day:%Y_%m_%d}"
    taken = set(
        session.exec(
            select(ModelTrainingRun.model_version).where(col(ModelTrainingRun.model_version).startswith(stem))
        ).all()
    )
    number = 1
    while (name := stem if number == 1 else f"{stem}_{number}") in taken:
        number += 1
    return name


def add_run(session: Session, **facts: Any) -> ModelTrainingRun:
    """Record a training run."""
    run = ModelTrainingRun(**facts)
    session.add(run)
    session.flush()
    return run


def get_run(session: Session, run_id: int) -> ModelTrainingRun:
    """The run of this id, or NotFound."""
    run = session.get(ModelTrainingRun, run_id)
    if run is None:
        raise NotFound(what="training run", key=run_id)
    return run


def end_run(session: Session, run_id: int | None, status: str, reason: str) -> None:
    """A run whose job ended badly says so itself (`failed` or `cancelled`), unless its model was registered."""
    if run_id is None:
        return
    run = get_run(session, run_id)
    if run.status != "registered":
        run.status, run.reason = status, reason
        session.add(run)
        session.flush()


def find_run(session: Session, model_version: str) -> ModelTrainingRun | None:
    """The run that made, or is making, this version."""
    return session.exec(
        select(ModelTrainingRun).where(col(ModelTrainingRun.model_version) == model_version)
    ).one_or_none()


def named_run(session: Session, name: str) -> ModelTrainingRun:
    """The run of this number, or else the run that made the version of this name, or NotFound."""
    found = session.get(ModelTrainingRun, int(name)) if name.isascii() and name.isdigit() and len(name) < 19 else None
    found = found or find_run(session, name)
    if found is None:
        raise NotFound(f"There is no training run {name}, neither by number nor by version; see `afterglow runs`.")
    return found


def versions_of_runs(session: Session, run_ids: Iterable[int]) -> dict[int, str]:
    """Run -> the version that it makes or made, for those of the ids that exist."""
    run = ModelTrainingRun
    rows = session.execute(select(run.id, run.model_version).where(col(run.id).in_(list(run_ids))))
    return {row.id: row.model_version for row in rows}


def list_runs(
    session: Session,
    *,
    kind: str | None = None,
    status: str | None = None,
    cursor: int | None = None,
    limit: int = 50,
) -> Sequence[ModelTrainingRun]:
    """Runs, newest first, from beyond `cursor`."""
    query = select(ModelTrainingRun)
    if kind is not None:
        query = query.where(col(ModelTrainingRun.kind) == kind)
    if status is not None:
        query = query.where(col(ModelTrainingRun.status) == status)
    return page_rows(session, query, col(ModelTrainingRun.id), cursor=cursor, limit=limit, newest_first=True)


def add_provenance(session: Session, labels: Iterable[Mapping[str, Any]], ratings: Iterable[Mapping[str, Any]]) -> None:
    """Record exactly the rows of a run and the raw ratings behind them; a second attempt adds nothing."""
    _insert_many(session, ModelTrainingSnapshotLabel, labels, ["training_run_id", "snapshot_id"])
    _insert_many(session, ModelTrainingSnapshotRating, ratings, ["training_run_id", "snapshot_id", "user_session_id"])


def provenance(
    session: Session, run_id: int, *, split: str | None = None, cursor: int | None = None, limit: int | None = None
) -> Sequence[ModelTrainingSnapshotLabel]:
    """The rows of a run in order of snapshot, from beyond the snapshot `cursor`; all of them without a limit."""
    label = ModelTrainingSnapshotLabel
    query = select(label).where(col(label.training_run_id) == run_id)
    if split is not None:
        query = query.where(col(label.split) == split)
    return page_rows(session, query, col(label.snapshot_id), cursor=cursor, limit=limit)


def provenance_ratings(session: Session, run_id: int) -> Sequence[ModelTrainingSnapshotRating]:
    """The raw ratings behind the rows of a run, in order of snapshot and rater."""
    rating = ModelTrainingSnapshotRating
    order = (col(rating.snapshot_id), col(rating.user_session_id))
    return session.exec(select(rating).where(col(rating.training_run_id) == run_id).order_by(*order)).all()


# -- versions --------------------------------------------------------------------------------------------------------


def add_version(session: Session, **facts: Any) -> ModelVersion:
    """Register a version. It never changes afterwards."""
    version = ModelVersion(**facts)
    session.add(version)
    session.flush()
    return version


def get_version(session: Session, model_version: str) -> ModelVersion:
    """The version of this name, or NotFound with the names that are registered."""
    version = session.exec(select(ModelVersion).where(col(ModelVersion.model_version) == model_version)).one_or_none()
    if version is None:
        names = session.exec(select(ModelVersion.model_version).order_by(col(ModelVersion.id).desc()).limit(5)).all()
        known = f" Registered: {', '.join(names)}." if names else " None is registered yet: train one first."
        raise NotFound(f"There is no model version {model_version}.{known}", what="model version", key=model_version)
    return version


def find_version_of_run(session: Session, run_id: int) -> ModelVersion | None:
    """The version that a run made, if it is registered."""
    return session.exec(select(ModelVersion).where(col(ModelVersion.training_run_id) == run_id)).one_or_none()


def list_versions(
    session: Session, *, kind: str | None = None, cursor: int | None = None, limit: int = 100
) -> Sequence[ModelVersion]:
    """Versions, newest first, from beyond the row `cursor`."""
    query = select(ModelVersion)
    if kind is not None:
        query = query.where(col(ModelVersion.kind) == kind)
    return page_rows(session, query, col(ModelVersion.id), cursor=cursor, limit=limit, newest_first=True)


def activations(
    session: Session, kind: str | None = None, *, cursor: int | None = None, limit: int | None = None
) -> Sequence[ModelActivation]:
    """Promotions and rollbacks (of a kind), newest first, from beyond the row `cursor`; all without a limit."""
    query = select(ModelActivation)
    if kind is not None:
        query = query.where(col(ModelActivation.kind) == kind)
    return page_rows(session, query, col(ModelActivation.id), cursor=cursor, limit=limit, newest_first=True)


def active_version(session: Session, kind: str) -> ModelVersion | None:
    """The version that serves a kind, if any."""
    return session.exec(
        select(ModelVersion)
        .join(ModelActivation, col(ModelActivation.model_version) == col(ModelVersion.model_version))
        .where(col(ModelActivation.kind) == kind)
        .order_by(col(ModelActivation.id).desc())
        .limit(1)
    ).first()


def active_versions(session: Session) -> dict[str, str]:
    """Kind -> active version, for every kind that has one."""
    rows = session.execute(
        text("SELECT DISTINCT ON (kind) kind, model_version FROM model_activations ORDER BY kind, id DESC")
    )
    return {row.kind: row.model_version for row in rows}


def lock_activation(session: Session, kind: str) -> None:
    """Let one promotion or rollback of a kind at a time decide, until the end of the transaction."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('activate:' || :kind))"), {"kind": kind})


def add_activation(session: Session, **facts: Any) -> ModelActivation:
    """Record a change of the active model and tell the servers, when the transaction commits."""
    row = ModelActivation(**facts)
    session.add(row)
    session.flush()
    session.execute(text("SELECT pg_notify(:channel, :kind)"), {"channel": MODELS_CHANNEL, "kind": row.kind})
    return row
