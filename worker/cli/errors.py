"""Which errors are for people: their message says what was wrong and what to do."""

from __future__ import annotations


def explain(error: Exception) -> str | None:
    """The line to print for an error that people can mend; None for a fault of ours, which keeps its trace."""
    from sqlalchemy.exc import OperationalError

    from db.errors import DatabaseError
    from ml.bundle import BundleError
    from ml.images.fetch import FetchError
    from ml.images.store import StoreError
    from ml.judgements import UnknownKind
    from ml.judgements.base import JudgementError
    from ml.manifest import ManifestError
    from ml.thresholds import ThresholdError
    from ml.training.recipe import RecipeError
    from worker.cli.follow import JobEndedBadly
    from worker.importers.snapshots import ImportRefused
    from worker.jobs import JobFailed

    plain = (
        DatabaseError, BundleError, FetchError, StoreError, UnknownKind, JudgementError, ManifestError, ThresholdError,
        RecipeError, ImportRefused, JobFailed, JobEndedBadly,
    )  # fmt: skip
    if isinstance(error, plain):
        return str(error.args[0]) if isinstance(error, LookupError) else str(error)
    if isinstance(error, OperationalError):
        return f"the database does not answer: {str(error.orig).strip().splitlines()[0]}"
    return None
