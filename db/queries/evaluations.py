"""Queries on evaluation reports."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from db.tables import Evaluation


def add_evaluation(session: Session, **facts: Any) -> Evaluation:
    """Append a report."""
    row = Evaluation(**facts)
    session.add(row)
    session.flush()
    return row


def latest_evaluation(session: Session, model_version: str) -> Evaluation | None:
    """The newest report of a version, if any."""
    return session.exec(
        select(Evaluation)
        .where(col(Evaluation.model_version) == model_version)
        .order_by(col(Evaluation.id).desc())
        .limit(1)
    ).first()
