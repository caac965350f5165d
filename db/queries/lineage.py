"""Queries on where a model comes from: a run's exact rows, and the runs that used a snapshot, a rater or an import.

Answers come from what was recorded when a run began, not from labels as they are now.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlmodel import Session, col, select

from db.queries.exclusions import Subject, excluded_now
from db.queries.models import get_run
from db.queries.paging import page_rows
from db.tables import Dataset, ModelTrainingSnapshotLabel, ModelTrainingSnapshotRating

_ACTIVE = "SELECT DISTINCT ON (kind) kind, model_version FROM model_activations ORDER BY kind, id DESC"

_USED = """
    SELECT v.training_run_id, v.snapshot_id FROM model_training_snapshot_ratings v
    JOIN model_training_snapshot_labels l USING (training_run_id, snapshot_id)
    WHERE (v.user_session_id = ANY(:raters) OR v.import_id = ANY(:imports)) AND l.label_source <> 'manual_seed'
    UNION
    SELECT l.training_run_id, l.snapshot_id FROM model_training_snapshot_labels l
    JOIN webcam_snapshots s ON s.id = l.snapshot_id
    WHERE l.label_source = 'manual_seed' AND s.import_id = ANY(:imports)
"""
"""The SQL of the rows of runs whose label one of these raters, or one of these imports, has a part in."""


@dataclass(frozen=True)
class RunRow:
    """One row that a run used, with every raw rating behind its label, as they were when the run began."""

    snapshot_id: int
    image_sha256: str
    label_source: str
    label_value: float
    split: str
    included_at: datetime
    ratings: list[ModelTrainingSnapshotRating] = field(default_factory=list)


@dataclass(frozen=True)
class RunOfRow:
    """One run that used a snapshot, and as what."""

    id: int
    """Of the record, for the next page."""
    run_id: int
    model_version: str
    kind: str
    status: str
    active: bool
    """Whether its version serves now."""
    snapshot_id: int
    image_sha256: str
    label_source: str
    label_value: float
    split: str


@dataclass(frozen=True)
class RunUse:
    """One run that used labels of somebody, and how many."""

    run_id: int
    model_version: str
    kind: str
    status: str
    active: bool
    """Whether its version serves now."""
    rows: int
    train_rows: int
    num_rows: int
    """Rows of the run in all."""

    @property
    def share(self) -> float:
        """Part of the run's rows that they are, 0 to 1."""
        return self.rows / self.num_rows


@dataclass(frozen=True)
class LearnedFrame:
    """A frame that some run was trained or validated on."""

    snapshot_id: int
    webcam_id: int
    captured_at: datetime
    image_sha256: str
    """Of the image that it was then."""


def learned_frames(session: Session, run_ids: Collection[int]) -> list[LearnedFrame]:
    """The frames of these runs' train and val rows, each image of a snapshot once, in order of snapshot."""
    rows = session.execute(
        text(
            """
            SELECT DISTINCT label.snapshot_id, snapshot.webcam_id, snapshot.captured_at, label.image_sha256
            FROM model_training_snapshot_labels label JOIN webcam_snapshots snapshot ON snapshot.id = label.snapshot_id
            WHERE label.training_run_id = ANY(:runs) AND label.split <> 'test'
            ORDER BY label.snapshot_id, label.image_sha256
            """
        ),
        {"runs": list(run_ids)},
    )
    return [LearnedFrame(*row) for row in rows]


def run_rows(
    session: Session,
    run_id: int,
    *,
    split: str | None = None,
    rater: str | None = None,
    label_source: str | None = None,
    cursor: int | None = None,
    limit: int | None = None,
) -> list[RunRow]:
    """The rows of a run in order of snapshot, from beyond the snapshot `cursor`, narrowed by each filter given."""
    label, rating = ModelTrainingSnapshotLabel, ModelTrainingSnapshotRating
    query = select(label).where(col(label.training_run_id) == run_id)
    if split is not None:
        query = query.where(col(label.split) == split)
    if label_source is not None:
        query = query.where(col(label.label_source) == label_source)
    if rater is not None:
        theirs = select(rating.snapshot_id).where(
            col(rating.training_run_id) == run_id, col(rating.user_session_id) == rater
        )
        query = query.where(col(label.snapshot_id).in_(theirs))
    found = page_rows(session, query, col(label.snapshot_id), cursor=cursor, limit=limit)
    rows = {
        each.snapshot_id: RunRow(
            each.snapshot_id, each.image_sha256, each.label_source, each.label_value, each.split,
            each.included_at,  # type: ignore[arg-type]
        )
        for each in found
    }  # fmt: skip
    if rows:
        behind = (
            select(rating)
            .where(
                col(rating.training_run_id) == run_id,
                col(rating.snapshot_id) >= min(rows),
                col(rating.snapshot_id) <= max(rows),
            )
            .order_by(col(rating.snapshot_id), col(rating.user_session_id))
        )
        for one in session.exec(behind):
            if one.snapshot_id in rows:
                rows[one.snapshot_id].ratings.append(one)
    return list(rows.values())


def run_summary(session: Session, run_id: int) -> dict[str, Any]:
    """What a run was made of: its dataset and as-of, rows by split and by source, and its raters and imports with rows.

    Raises:
        NotFound: There is no such run.
    """
    run = get_run(session, run_id)
    dataset = session.get(Dataset, run.dataset_id) if run.dataset_id is not None else None
    given = {"run_id": run_id}

    def counted(column: str, table: str) -> dict[Any, int]:
        sql = f"SELECT {column} AS name, count(*) AS n FROM {table} WHERE training_run_id = :run_id AND {column} IS NOT NULL"
        return {row.name: row.n for row in session.execute(text(f"{sql} GROUP BY 1 ORDER BY 2 DESC, 1"), given)}

    labels, ratings = "model_training_snapshot_labels", "model_training_snapshot_ratings"
    excluded = excluded_now(session)
    return {
        "run_id": run_id,
        "model_version": run.model_version,
        "kind": run.kind,
        "status": run.status,
        "dataset_id": run.dataset_id,
        "as_of": dataset.as_of if dataset is not None else None,
        "manifest_sha256": run.manifest_sha256,
        "splits": counted("split", labels),
        "sources": counted("label_source", labels),
        "raters": [
            {"rater": name, "ratings": n, "excluded": Subject(rater=name) in excluded}
            for name, n in counted("user_session_id", ratings).items()
        ],
        "imports": [
            {"import_id": name, "ratings": n, "excluded": Subject(import_id=name) in excluded}
            for name, n in counted("import_id", ratings).items()
        ],
    }


def runs_of_row(
    session: Session,
    *,
    snapshot_id: int | None = None,
    image_sha256: str | None = None,
    cursor: int | None = None,
    limit: int | None = None,
) -> list[RunOfRow]:
    """The runs that used a snapshot, or any snapshot of an image, newest first, from beyond the record `cursor`."""
    rows = session.execute(
        text(
            f"""
            SELECT l.id, r.id AS run_id, r.model_version, r.kind, r.status, a.model_version IS NOT NULL AS active,
                   l.snapshot_id, l.image_sha256, l.label_source, l.label_value, l.split
            FROM model_training_snapshot_labels l JOIN model_training_runs r ON r.id = l.training_run_id
            LEFT JOIN ({_ACTIVE}) a ON a.model_version = r.model_version
            WHERE (CAST(:snapshot_id AS bigint) IS NULL OR l.snapshot_id = :snapshot_id)
              AND (CAST(:image_sha256 AS text) IS NULL OR l.image_sha256 = :image_sha256)
              AND (CAST(:cursor AS bigint) IS NULL OR l.id < :cursor)
            ORDER BY l.id DESC LIMIT :limit
            """
        ),
        {"snapshot_id": snapshot_id, "image_sha256": image_sha256, "cursor": cursor, "limit": limit},
    )
    return [RunOfRow(**row) for row in rows.mappings()]


def runs_that_used(
    session: Session, subjects: Collection[Subject], *, cursor: int | None = None, limit: int | None = None
) -> list[RunUse]:
    """The runs with a row that these raters and imports have a part in, newest first, from beyond the run `cursor`.

    A run that was registered from elsewhere records no raters, so none of them is found: see `versions_without_raters`.
    """
    rows = session.execute(
        text(
            f"""
            WITH used AS ({_USED})
            SELECT r.id AS run_id, r.model_version, r.kind, r.status, a.model_version IS NOT NULL AS active,
                   count(*) AS rows, count(*) FILTER (WHERE l.split = 'train') AS train_rows,
                   (SELECT count(*) FROM model_training_snapshot_labels t WHERE t.training_run_id = r.id) AS num_rows
            FROM used JOIN model_training_snapshot_labels l USING (training_run_id, snapshot_id)
            JOIN model_training_runs r ON r.id = used.training_run_id
            LEFT JOIN ({_ACTIVE}) a ON a.model_version = r.model_version
            WHERE CAST(:cursor AS bigint) IS NULL OR r.id < :cursor
            GROUP BY r.id, a.model_version ORDER BY r.id DESC LIMIT :limit
            """
        ),
        {
            "raters": [each.rater for each in subjects if each.rater is not None],
            "imports": [each.import_id for each in subjects if each.import_id is not None],
            "cursor": cursor,
            "limit": limit,
        },
    )
    return [RunUse(**row) for row in rows.mappings()]


def tainted_versions(session: Session) -> dict[str, RunUse]:
    """Version -> its use of labels that do not count any more, for versions that have any."""
    excluded = excluded_now(session)
    if not excluded:
        return {}
    return {use.model_version: use for use in runs_that_used(session, excluded.keys())}


def versions_without_raters(session: Session) -> Sequence[str]:
    """Registered versions whose runs record rows but no raters, newest first: whose labels they used is not known."""
    rows = session.execute(
        text(
            """
            SELECT v.model_version FROM model_versions v
            WHERE EXISTS (SELECT 1 FROM model_training_snapshot_labels l WHERE l.training_run_id = v.training_run_id
                          AND l.label_source <> 'manual_seed')
              AND NOT EXISTS (SELECT 1 FROM model_training_snapshot_ratings s
                              WHERE s.training_run_id = v.training_run_id)
            ORDER BY v.id DESC
            """
        )
    )
    return [row.model_version for row in rows]
