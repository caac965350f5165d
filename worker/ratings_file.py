"""The file of raw ratings that the verbs `train` and `evaluate` read: the same rows give the same bytes."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable

from db.queries.labels import RawRating
from db.tables import ModelTrainingSnapshotRating
from ml.images.store import FileStore, StoreError
from ml.noise import NOT_A_SUNSET, RATING_COLUMNS, SUNSET


def ratings_bytes(verdicts: Iterable[RawRating | ModelTrainingSnapshotRating]) -> bytes:
    """A CSV `snapshot_id, rater, rating, verdict, label_source`, UTF-8, in order of snapshot and rater."""
    rows = [
        (one.snapshot_id, one.user_session_id, "" if one.rating is None else str(one.rating),
         SUNSET if one.is_sunset_verdict else NOT_A_SUNSET, one.label_source)
        for one in verdicts
    ]  # fmt: skip
    rows.sort()  # snapshot and rater are unique together, so nothing else decides
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(RATING_COLUMNS)
    writer.writerows(rows)
    return file.getvalue().encode()


def ratings_key(sha256: str) -> str:
    """Store key of the raw ratings that a run learned from, beside its active manifest."""
    return f"manifests/{sha256}.ratings.csv"


def read_frozen_ratings(store: FileStore, sha256: str) -> bytes:
    """The raw ratings of a run, as they were when it began.

    Raises:
        StoreError: `changed`, or they are missing or cannot be read.
    """
    data = store.read_file(ratings_key(sha256))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreError("changed", f"{ratings_key(sha256)} is not what was frozen: put it back from a backup")
    return data
