"""Export labels as a dataset: query rows, apply gates and splits, freeze the files and the rows."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlmodel import Session

from db.engine import session_scope
from db.errors import Conflict
from db.queries import models
from db.queries.labels import LABEL_QUERIES, settled_time
from db.tables import Dataset
from ml.export_dataset import Candidate, Gates, build_rows, meta
from ml.images.store import FileStore
from ml.judgements import judgement
from ml.manifest import manifest_sha256, write_dataset
from ml.splits import Assignment
from worker.jobs import Finish, JobContext
from worker.places import dataset_key, file_store

SALT = "afterglow-1"
"""Part of every split hash. Changing it would move rows between splits: never change it."""
ROW_COLUMNS = (
    "snapshot_id", "label_source", "label_value", "target_label", "split", "seen", "group_id", "image_sha256",
    "rating_count", "exclusion_reason",
)  # fmt: skip


def export_dataset(
    session: Session, store: FileStore, kind: str, head: str, gates: Gates, as_of: datetime | None = None
) -> Dataset:
    """Freeze the labels of a kind as they stood at `as_of` (default: now). Same time, same bytes.

    Writes the five files to the store, the dataset with all its rows, and first split assignments.

    Raises:
        Conflict: `as_of` lies in the future.
    """
    about = judgement(kind)
    settled = settled_time(session)
    if as_of is not None and as_of > settled:
        raise Conflict(
            f"labels as of {as_of:%Y-%m-%d %H:%M:%S %Z} are not settled yet: name a time up to "
            f"{settled:%Y-%m-%d %H:%M:%S} UTC, or none for now"
        )
    moment = as_of or settled
    models.lock_splits(session, kind)
    recorded = {row.group_id: Assignment(row.split, row.seen) for row in models.split_assignments(session, kind)}
    candidates = [
        Candidate(**asdict(row)) for source in about.label_sources for row in LABEL_QUERIES[source](session, moment)
    ]
    rows, assigned = build_rows(candidates, about, head, gates, SALT, recorded)
    models.add_split_assignments(
        session,
        (
            {"kind": kind, "group_id": group_id, "split": each.split, "seen": each.seen, "salt": SALT}
            for group_id, each in sorted(assigned.items())
        ),
    )
    about_rows = meta(rows, candidates, about, head, gates, SALT, moment)
    digest = manifest_sha256(rows)
    key = f"{dataset_key(digest)}/{moment.astimezone(UTC):%Y%m%dT%H%M%S%fZ}"
    with tempfile.TemporaryDirectory(prefix="afterglow-export-") as directory:
        write_dataset(Path(directory), rows, about_rows)
        store.put_directory(Path(directory), key)
    return models.add_dataset(
        session,
        ({column: getattr(row, column) for column in ROW_COLUMNS} for row in rows),
        kind=kind,
        as_of=moment,
        params=about_rows["params"],
        counts=about_rows["counts"],
        manifest_sha256=digest,
        artifact_key=key,
    )


def run(context: JobContext) -> Finish:
    """The job `export_dataset`: parameters `kind`, `head`, `min_rating_count`, `as_of` (ISO 8601 or null)."""
    params = context.params
    head = params.get("head") or judgement(params["kind"]).heads[0]
    as_of = datetime.fromisoformat(params["as_of"]) if params.get("as_of") else None
    gates = Gates(min_rating_count=int(params.get("min_rating_count") or 1))
    context.progress(0.1, "exporting labels")
    result: dict[str, Any] = {}

    def effects(session: Session) -> None:
        dataset = export_dataset(session, file_store(), params["kind"], head, gates, as_of)
        result.update(dataset_id=dataset.id, counts=dataset.counts, manifest_sha256=dataset.manifest_sha256)

    return Finish(result, effects)


def export_now(kind: str, head: str, gates: Gates, as_of: datetime | None = None) -> Dataset:
    """Export in a unit of work of its own; what the command line and a training without a dataset call."""
    with session_scope() as session:
        return export_dataset(session, file_store(), kind, head, gates, as_of)
