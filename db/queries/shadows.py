"""Queries on shadows: which candidate scores along, which frames it has yet to score, and what it said beside the active."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlmodel import Session, col, select

from db.tables import Job, ModelShadow


@dataclass(frozen=True)
class PairedScore:
    """What two versions said of one snapshot: raw scores in [0, 1]."""

    snapshot_id: int
    webcam_id: int
    captured_at: datetime
    image_sha256: str
    active: float
    shadow: float


def shadow_of(session: Session, kind: str) -> ModelShadow | None:
    """The choice that holds for a kind: the newest, whose version may be null; None where there never was one."""
    return session.exec(
        select(ModelShadow).where(col(ModelShadow.kind) == kind).order_by(col(ModelShadow.id).desc()).limit(1)
    ).first()


def shadows(session: Session) -> dict[str, str]:
    """Kind -> the version that shadows, for every kind that has one."""
    rows = session.execute(
        text("SELECT DISTINCT ON (kind) kind, model_version FROM model_shadows ORDER BY kind, id DESC")
    )
    return {row.kind: row.model_version for row in rows if row.model_version is not None}


def choose_shadow(session: Session, kind: str, model_version: str | None, by: str) -> ModelShadow:
    """Have this version shadow from now on, or none."""
    row = ModelShadow(kind=kind, model_version=model_version, chosen_by=by)
    session.add(row)
    session.flush()
    return row


_UNSHADOWED = """
    FROM snapshot_ai_inferences AS said JOIN webcam_snapshots AS one ON one.id = said.snapshot_id
    WHERE said.model_version = :active AND one.image_state = 'present' AND NOT EXISTS (
        SELECT 1 FROM snapshot_ai_inferences AS other
        WHERE other.snapshot_id = said.snapshot_id AND other.model_version = :shadow)
"""


def count_unshadowed(session: Session, active: str, shadow: str) -> int:
    """How many frames the active version has scored and the shadow has not, of those whose image is here."""
    return int(
        session.execute(text(f"SELECT count(*) {_UNSHADOWED}"), {"active": active, "shadow": shadow}).scalar_one()
    )


def unshadowed(session: Session, active: str, shadow: str, *, after: int, limit: int) -> list[tuple[int, str]]:
    """Snapshot and sha256 of the image of such frames, in order of snapshot, from beyond `after`."""
    rows = session.execute(
        text(f"SELECT one.id, one.image_sha256 {_UNSHADOWED} AND one.id > :after ORDER BY one.id LIMIT :limit"),
        {"active": active, "shadow": shadow, "after": after, "limit": limit},
    )
    return [(int(row.id), str(row.image_sha256)) for row in rows]


def paired_scores(session: Session, active: str, shadow: str) -> list[PairedScore]:
    """The snapshots that both have scored, in order."""
    rows = session.execute(
        text(
            """
            SELECT one.id, one.webcam_id, one.captured_at, one.image_sha256, old.raw_score AS active, new.raw_score AS shadow
            FROM snapshot_ai_inferences AS old
            JOIN snapshot_ai_inferences AS new ON new.snapshot_id = old.snapshot_id AND new.model_version = :shadow
            JOIN webcam_snapshots AS one ON one.id = old.snapshot_id
            WHERE old.model_version = :active ORDER BY one.id
            """
        ),
        {"active": active, "shadow": shadow},
    )
    return [PairedScore(*row) for row in rows]


def last_comparison(session: Session, model_version: str) -> Job | None:
    """The newest job that let a version shadow and succeeded; its `result` has the comparison."""
    mine = col(Job.params)["model_version"].as_string() == model_version
    query = select(Job).where(col(Job.kind) == "shadow", col(Job.state) == "succeeded", mine)
    return session.exec(query.order_by(col(Job.id).desc()).limit(1)).first()
