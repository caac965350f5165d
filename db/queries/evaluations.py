"""Queries on evaluation reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from db.errors import NotFound
from db.queries.paging import page_rows
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


def list_evaluations(
    session: Session, model_version: str, *, cursor: int | None = None, limit: int = 50
) -> Sequence[Evaluation]:
    """The reports of a version, newest first, from beyond the row `cursor`."""
    query = select(Evaluation).where(col(Evaluation.model_version) == model_version)
    return page_rows(session, query, col(Evaluation.id), cursor=cursor, limit=limit, newest_first=True)


def get_evaluation(session: Session, model_version: str, evaluation_id: int) -> Evaluation:
    """The report of this id, or NotFound where there is none or it is of another version."""
    row = session.get(Evaluation, evaluation_id)
    if row is None or row.model_version != model_version:
        raise NotFound(what=f"evaluation of {model_version} with the id", key=evaluation_id)
    return row
