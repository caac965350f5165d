"""Where ratings came from in bulk, and whose ratings do not count: imports, and exclusions that are only ever added."""

from sqlalchemy import CheckConstraint
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, json_column, one_of, reference, sha256_check, time_column

ACTIONS = ("exclude", "lift")


class LabelImport(SQLModel, table=True):
    """One import of a file. Its counts are written once, when it ends; nothing else of it ever changes."""

    __tablename__ = "label_imports"
    __table_args__ = (
        CheckConstraint(sha256_check("file_sha256"), name="file_sha256"),
        CheckConstraint("(finished_at IS NULL) = (counts IS NULL)", name="finished_has_counts"),
    )

    id: int | None = bigint_key()
    file_name: str
    file_sha256: str
    imported_by: str
    started_at: Moment | None = time_column(now=True)
    finished_at: Moment | None = time_column(nullable=True)
    """Null while it runs, and for ever where it was interrupted; what it had brought in by then stays."""
    counts: dict | None = json_column(nullable=True)  # type: ignore[type-arg]


class LabelExclusion(SQLModel, table=True):
    """From now on ratings of a rater, or labels of an import, do not count; or they count again. Append-only."""

    __tablename__ = "label_exclusions"
    __table_args__ = (
        CheckConstraint(one_of("action", ACTIONS), name="action"),
        CheckConstraint("num_nonnulls(rater, import_id) = 1", name="one_subject"),
    )

    id: int | None = bigint_key()
    action: str
    rater: str | None = Field(default=None, index=True)
    import_id: int | None = reference("label_imports.id", nullable=True)
    reason: str
    excluded_by: str
    created_at: Moment | None = time_column(now=True)
